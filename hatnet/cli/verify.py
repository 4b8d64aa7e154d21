"""The command `hatnet verify`: PyTorch against the reference, layer by layer."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from hatnet.cli.console import console, print_agreement, progress
from hatnet.data.photo import read_picture, to_image
from hatnet.device import usable_device
from hatnet.equivalence import TOLERANCES, Agreement, compare_traces, first_difference, run_model, run_reference
from hatnet.network import HATNet
from hatnet.weights.source import find_source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def verify(
    variant: str | None = None,
    image: Path | None = None,
    checkpoint: Path | None = None,
    pretrained: str | None = None,
    device: str = "cpu",
    dtype: Literal["float64", "float32", "bfloat16"] = "float64",
    size: int | None = None,
    seed: int = 0,
) -> None:
    """Check PyTorch against the float64 reference, layer by layer; exit status 1 where they disagree.

    Args:
        variant: tiny, small, medium, large or micro; where not given, that of the weights, or tiny.
        image: an image file; the bundled photo where none is given.
        checkpoint: weights of ours (.safetensors, or the folder of a run) or of the authors (.pth).
        pretrained: weights that come with the package, by name, such as fashion-mnist. Without either, they are random.
        device: where PyTorch runs, such as cpu or cuda.
        dtype: what PyTorch computes in; the reference always uses float64.
        size: of the square cut from the image, in pixels; where not given, that of the images it was trained on.
        seed: of the random weights.
    """
    precision: torch.dtype = getattr(torch, dtype)
    target = usable_device(device)
    source = find_source(checkpoint, pretrained, variant, seed)
    config, size = source.model.config, source.image_size if size is None else size
    pixels = to_image(read_picture(image, config.in_channels, size, square=True), source.mean, source.std)
    config.layout(size, size)  # raises where the image is too small
    console.print(f"HAT-Net {config.name.capitalize()} on {size} x {size} pixels, PyTorch in {dtype} on {target}")
    agreements, _, _ = run_both(source.model.to(target, precision), pixels.numpy())
    print_agreement(agreements, precision, TOLERANCES[precision])
    if first_difference(agreements, TOLERANCES[precision]):
        sys.exit(1)


def run_both(
    model: HATNet, pixels: NDArray[np.float64]
) -> tuple[list[Agreement], dict[str, NDArray[np.float64]], dict[str, float]]:
    """Both traces under progress bars: the comparison, the reference's trace, and the seconds each took."""
    torch.set_num_threads(1)  # on a busy machine waiting threads cost seconds, on an idle one they save tenths
    images = torch.from_numpy(pixels)[None].to(next(model.parameters()).dtype)  # both see the same rounded pixels
    start = time.perf_counter()
    with progress("PyTorch") as step:
        got = run_model(model, images, step)
    middle = time.perf_counter()
    with progress("NumPy reference", total=len(got)) as step:
        want = run_reference(model, images[0].double().numpy(), step)
    seconds = {"PyTorch": middle - start, "NumPy reference": time.perf_counter() - middle}
    return list(compare_traces(got, [want])), want, seconds
