"""The commands that are not training."""
