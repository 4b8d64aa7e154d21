"""The command `hatnet demo`: both implementations on a photo, and a report."""

from __future__ import annotations

import platform
import sys
from datetime import date
from pathlib import Path

import numpy as np
import torch

from hatnet.cli.console import console
from hatnet.cli.verify import print_agreement, run_both
from hatnet.complexity.summary import summarise
from hatnet.equivalence import TOLERANCES, first_difference, randomise
from hatnet.models import create_model
from hatnet.network import HATNet

RANDOM_WEIGHTS = (
    "The weights are random (fan-in scaled, drawn from a seed): the maps show how hierarchical attention works, "
    "not what a trained network looks at."
)


def demo(out: Path = Path("hatnet-demo.html"), seed: int = 0) -> None:
    """Run HAT-Net Tiny in NumPy and in PyTorch on a photo, compare layer by layer, and draw its attention.

    Args:
        out: where the report goes, one HTML file.
        seed: of the random weights.
    """
    from hatnet.data.photo import load_photo, normalise
    from hatnet.maps.report import write_report

    if not out.parent.is_dir():
        raise ValueError(f"no folder {out.parent} to write {out.name} to; create it first")
    if out.is_dir():
        raise ValueError(f"{out} is a folder; give the report a file name, such as {out / 'hatnet-demo.html'}")
    photo = load_photo()
    console.print(f"HAT-Net Tiny in float64 on a photo of {photo.shape[1]} x {photo.shape[2]} pixels; seconds on a CPU")
    model = random_model("tiny", torch.float64, seed)
    agreements, trace, seconds = run_both(model, normalise(photo))
    print_agreement(agreements, torch.float64, TOLERANCES[torch.float64])
    write_report(
        out,
        photo=photo,
        config=model.config,
        agreements=agreements,
        trace=trace,
        parameters={row.part: row.parameters for row in summarise(model.config)},
        facts={
            "date": date.today().isoformat(),
            "machine": f"{platform.system()} {platform.machine()}, one thread",
            "versions": f"Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {np.__version__}",
            "precision": "float64 on both sides",
            "seed": str(seed),
            **{f"time, {name}": f"{value:.2f} s" for name, value in seconds.items()},
            "photo": "Chelsea the cat, by Stéfan van der Walt, CC0 1.0",
        },
        tolerance=TOLERANCES[torch.float64],
        weights=RANDOM_WEIGHTS,
    )
    console.print("The report draws the agreement, attention over the photo, and the model's sizes:")
    print(out.resolve())  # plainly, so that a long path is not broken
    if first_difference(agreements, TOLERANCES[torch.float64]):
        sys.exit(1)


def random_model(variant: str, dtype: torch.dtype, seed: int) -> HATNet:
    """A variant with the random weights of `randomise`, in evaluation mode."""
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative")
    model = create_model(variant)
    randomise(model, seed)
    return model.to(dtype).eval()
