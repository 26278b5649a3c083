"""Colour that is carried from key-frames to the other frames of a shot."""
