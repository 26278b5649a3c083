"""Whole films through the recurrence: streaming, tiles, and what goes back into the picture."""
