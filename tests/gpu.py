"""The device of tests that are marked `cuda`."""

import os

import torch

# `python -m tests.on_gpu --miniature` sets it to cpu: the tests themselves then run without a GPU.
GPU = os.environ.get("HATNET_TEST_GPU", "cuda")
NUMBERED = "cuda:0" if GPU == "cuda" else GPU


def gpu_is_there() -> bool:
    """Return True if the tests marked `cuda` can run."""
    return GPU != "cuda" or torch.cuda.is_available()
