"""Trunks, heads and the networks of fine-tuning."""
