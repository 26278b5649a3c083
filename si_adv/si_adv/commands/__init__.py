"""The commands, a module each: `python attack.py`, `python -m si_adv attack` and `si-adv attack` are the same."""
