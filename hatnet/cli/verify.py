"""The command `hatnet verify`: compare PyTorch with the reference, layer by layer."""

import sys
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from hatnet.cli.console import cell, console, progress
from hatnet.cli.weights import WEIGHTS_OWN, Windows, open_source
from hatnet.data.image_file import WHITE
from hatnet.data.photo import read_picture, size_when_read, to_image
from hatnet.device import usable_device
from hatnet.equivalence import (
    TOLERANCES,
    Agreement,
    by_block,
    compare_traces,
    first_difference,
    run_model,
    run_reference,
    worst,
)
from hatnet.maps.memory import GIB, require_memory
from hatnet.network import HATNet

LIMIT = 4 * GIB  # for the attention weights of each implementation, which both keep


def verify(
    variant: str | None = None,
    image: Path | None = None,
    background: str = WHITE,
    weights: str | None = None,
    device: str = "cpu",
    dtype: Literal["float64", "float32", "float16", "bfloat16"] = "float64",
    size: int | None = None,
    seed: int = 0,
    windows: Windows = WEIGHTS_OWN,
) -> None:
    """Compare PyTorch with the float64 reference, layer by layer; exit status 1 if they disagree.

    Args:
        variant: tiny, small, medium, large or micro; by default that of the weights, or tiny.
        image: an image file; by default the bundled photo.
        background: the colour behind transparent pixels, such as white, black or '#ff8800'.
        weights: fashion-mnist (comes with the package), a file of ours (.safetensors) or of the authors (.pth), or the
            folder of a run; random weights if none are given.
        device: the device for PyTorch, such as cpu or cuda.
        dtype: the precision of PyTorch; the reference always uses float64.
        size: side of the square cut from the image, in pixels; by default that of the training images.
        seed: of the random weights.
        windows: G1, G2 and strides.
    """
    precision: torch.dtype = getattr(torch, dtype)
    target = usable_device(device)
    source = open_source(weights, windows, variant, seed)
    config, size = source.model.config, source.image_size if size is None else size
    size_when_read(image, size, square=True)  # raises for a size out of range
    config.layout(size, size)  # raises if the image is too small
    require_memory(config, size, size, 1, item=8, limit=LIMIT, advice="give a smaller --size")
    picture = read_picture(image, config.in_channels, size, True, background)
    pixels = to_image(picture, source.mean, source.std)
    console.print(f"HAT-Net {config.name.capitalize()} on {size} x {size} pixels, PyTorch in {dtype} on {target}")
    agreements, _ = run_both(source.model.to(target, precision), pixels.numpy())
    print_agreement(agreements, precision, TOLERANCES[precision])
    if first_difference(agreements, TOLERANCES[precision]):
        sys.exit(1)


def run_both(model: HATNet, pixels: NDArray[np.float64]) -> tuple[list[Agreement], dict[str, float]]:
    """Run both on one image (C, H, W), with progress bars: the agreement of all intermediates, and the seconds."""
    torch.set_num_threads(1)  # on a busy machine waiting threads cost seconds, on an idle one they save tenths
    images = torch.from_numpy(pixels)[None].to(next(model.parameters()).dtype)  # both get the same rounded pixels
    start = time.perf_counter()
    with progress("PyTorch") as step:
        got = run_model(model, images, step)
    middle = time.perf_counter()
    with progress("NumPy reference", total=len(got)) as step:
        want = run_reference(model, images[0].double().numpy(), step)
    seconds = {"PyTorch": middle - start, "NumPy reference": time.perf_counter() - middle}
    return list(compare_traces(got, [want])), seconds


def print_agreement(agreements: list[Agreement], dtype: torch.dtype, tolerance: float) -> None:
    """Print one row per block with its worst intermediate, one per intermediate outside blocks, and the verdict."""
    table = Table(title="Agreement of PyTorch with the NumPy reference", box=box.SIMPLE_HEAD)
    for column in ("stage", "block", "shape", "worst intermediate", "difference"):
        table.add_column(column, justify="left" if column == "worst intermediate" else "right", no_wrap=True)
    for place, members in by_block(agreements):
        most = worst(members)
        error = f"{most.error:.1e}" if most.error <= tolerance else f"[bold red]{most.error:.1e} ![/]"
        table.add_row(cell(place.stage), cell(place.block), cell(members[-1].shape), most.place.name, error)
    console.print(table)
    console.print(_verdict(agreements, str(dtype).removeprefix("torch."), tolerance))
    console.print("Differences are relative: max |PyTorch - NumPy| / max |NumPy|.")


def _verdict(agreements: list[Agreement], dtype: str, tolerance: float) -> str:
    most, first = worst(agreements), first_difference(agreements, tolerance)
    limit = f"(limit for {dtype}: {tolerance:.0e})"
    if first is None:
        return f"[bold green]They agree:[/] all {len(agreements)} intermediates to {most.error:.1e} {limit}."
    return (
        f"[bold red]They differ:[/] first at {first.name} by {first.error:.1e}, "
        f"most at {most.name} by {most.error:.1e} {limit}."
    )
