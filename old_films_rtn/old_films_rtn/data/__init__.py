"""Clips, defects and degradation."""
