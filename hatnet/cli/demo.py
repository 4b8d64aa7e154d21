"""The command `hatnet demo`: run both implementations on a photo and write a report."""

import platform
import sys
from collections.abc import Mapping
from datetime import date
from html import escape
from pathlib import Path

import numpy as np
import torch

from hatnet.checks import require_whole
from hatnet.cli.console import console, print_path
from hatnet.cli.output_files import require_writable
from hatnet.cli.verify import print_agreement, run_both
from hatnet.data.photo import load_photo, normalise
from hatnet.equivalence import TOLERANCES, Agreement, compare, first_difference, randomise, worst
from hatnet.maps.explorer import Start
from hatnet.maps.report import scene_section, write_report
from hatnet.models import create_model

RANDOM_WEIGHTS = (
    "The weights are random (fan-in scaled, drawn from a seed): the maps show how hierarchical attention works, "
    "not what a trained network looks at."
)
NO_SCENE = "To see a trained network on a scene in colour, too, install torchvision and run this again: {}"
INSTALL = 'python -m pip install -c constraints.txt -e ".[train]"'
EYE = Start(query=(76, 84), stage=1, block=1, kind="global")  # the cat's right eye, in the photo of 224 x 224 pixels


def demo(out: Path = Path("hatnet-demo.html"), seed: int = 0) -> None:
    """Run HAT-Net Tiny in NumPy and in PyTorch on a photo, compare layer by layer, and show its attention.

    Args:
        out: the report to write, one HTML file.
        seed: of the random weights.
    """
    require_writable("--out", out, "hatnet-demo.html")
    require_whole("seed", seed, 0)
    limit, photo = TOLERANCES[torch.float64], load_photo()
    console.print(f"HAT-Net Tiny in float64 on a photo of {photo.shape[1]} x {photo.shape[2]} pixels; seconds on a CPU")
    model = create_model("tiny")
    randomise(model, seed)
    model = model.double().eval()
    agreements, seconds = run_both(model, normalise(photo))
    print_agreement(agreements, torch.float64, limit)
    section, of_scene = _scene(limit)
    write_report(
        out, model=model, photo=photo, normalise=normalise, agreements=agreements, tolerance=limit,
        facts=_facts(seed, seconds), weights=RANDOM_WEIGHTS, name="Chelsea the cat", start=EYE, scene=section,
    )  # fmt: skip
    console.print("The report shows the agreement, attention maps, and the sizes of the network:")
    print_path(out)
    if any(first_difference(each, limit) for each in (agreements, of_scene)):
        sys.exit(1)


def _scene(limit: float) -> tuple[str, list[Agreement]]:
    """A trained network on a scene in colour, for the report, and its agreement with the reference."""
    try:
        from hatnet.maps.colour_scene import colour_scene
    except ImportError:
        console.print(NO_SCENE.format(INSTALL), markup=False)
        return f"<p>{NO_SCENE.format(f'<code>{escape(INSTALL)}</code>')}</p>", []
    try:
        scene = colour_scene()
        data = scene.encode()
    except ValueError as error:  # the rest of the report is needed most when something is wrong
        return f'<p class="verdict bad">The attention maps cannot be shown: {escape(str(error))}</p>', []
    agreements = [each for each in compare(scene.network, scene.image[None]) if each.name != "logits"]
    words = "agree" if first_difference(agreements, limit) is None else "do not agree"
    console.print(
        f"A trained HAT-Net on a scene in colour: its {len(agreements)} intermediates {words} "
        f"(largest difference {worst(agreements).error:.1e})"
    )
    return scene_section(data, agreements, limit), agreements


def _facts(seed: int, seconds: Mapping[str, float]) -> dict[str, str]:
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, one thread",
        "versions": f"Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {np.__version__}",
        "precision": "float64 on both sides",
        "seed": str(seed),
        **{f"time, {name}": f"{value:.2f} s" for name, value in seconds.items()},
        "photo": "Chelsea the cat, by Stéfan van der Walt, CC0 1.0",
    }
