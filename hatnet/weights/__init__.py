"""Weights: our files, the authors' checkpoints, and the trained weights that ship with the package."""
