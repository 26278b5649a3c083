"""How other people's checkpoints are laid out, and how they map onto our modules, both ways."""
