"""Attacks over data sets: the clouds, the experiment that is kept batch by batch, its tables and its figures."""
