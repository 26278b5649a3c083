"""Data sets, single clouds in and out, augmentation, and the Lightning data module."""
