"""The commands, a module each: `python train.py`, `python -m luperson_nl train` and `luperson_nl train` are the same."""
