"""Evaluating a whole set: each sample once, whatever the number of processes."""
