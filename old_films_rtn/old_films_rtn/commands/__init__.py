"""The commands, a module each: `python train.py`, `python -m old_films_rtn train` and `old-films-rtn train` are the same."""
