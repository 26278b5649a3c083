"""Data sets: procedural heads, folders of maps, and the Lightning data module that measures them."""
