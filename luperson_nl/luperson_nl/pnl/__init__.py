"""Pre-training on noisy labels, step by step as in the paper, and its baselines."""
