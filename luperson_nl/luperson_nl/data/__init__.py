"""Data sets, their file formats and augmentations, and the procedural default."""
