"""Millions of crops on disk, with an index of memory-mapped arrays."""
