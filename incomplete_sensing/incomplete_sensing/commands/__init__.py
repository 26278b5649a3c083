"""The commands, a module each: `python train.py`, `python -m incomplete_sensing train` and `incomplete-sensing train` are one."""
