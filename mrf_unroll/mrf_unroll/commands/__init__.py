"""The commands, a module each: `python reconstruct.py`, `python -m mrf_unroll reconstruct` and `mrf-unroll reconstruct`."""
