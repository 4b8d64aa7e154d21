"""Weights: files of ours, the authors' checkpoints, and those that ship with the package."""
