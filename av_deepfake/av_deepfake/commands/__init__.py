"""The commands, a module each: `python train.py`, `python -m av_deepfake train` and `av-deepfake train` are the same."""
