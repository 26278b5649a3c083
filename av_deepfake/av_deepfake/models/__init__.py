"""The networks: torch modules and nothing of Lightning."""
