"""The commands, a module each: `python track.py`, `python -m mot_occlusion track` and `mot-occlusion track` are the same."""
