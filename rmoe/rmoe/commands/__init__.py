"""The commands, a module each: `python train.py`, `python -m rmoe train` and `rmoe train` are the same."""
