"""Frames, boxes and pairs for training, in the layouts that people have on disk, and a procedural crowd."""
