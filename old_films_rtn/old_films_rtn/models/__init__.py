"""Architectures: torch modules and nothing else."""
