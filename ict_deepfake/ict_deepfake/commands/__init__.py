"""The commands, a module each: `python train.py`, `python -m ict_deepfake train` and `ict-deepfake train` are the same."""
