"""Landmarks of faces: found in a video, read from files, and told apart by their number (5, 68 or 468)."""
