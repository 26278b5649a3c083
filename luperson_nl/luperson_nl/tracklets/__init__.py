"""From video and boxes to crops with noisy identities."""
