"""The record of the bug lab: every bug on every small map, and the noise of PyTorch on the same maps."""

import itertools
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from builder.live_changes import BUGS
from hatnet.hierarchical_attention import HMHSA

sys.path.append(str(Path(__file__).resolve().parents[1] / "live"))  # as in the browser, where they are no package

import driver
import lab

SIDES, WINDOWS = range(2, 9), range(1, 5)


def lab_record(texts: Mapping[str, str]) -> dict[str, Any]:
    """Run all bugs on all sizes.

    Returns:
        `grid`, the sizes (H, W, G1) in order; `bugs`, each with its `departures` by weights and its `landings`, one
        entry per size; and `noise`, by weights and precision, likewise. A landing is null if all tokens are in place.
    """
    right = driver.load_reference(texts)
    grid = list(itertools.product(SIDES, SIDES, WINDOWS))
    outputs = {weights: [lab.output(right, *size, weights) for size in grid] for weights in lab.WEIGHTS}
    locals_ = [lab.local(right, *size) for size in grid]
    bugs = []
    for bug in BUGS:
        wrong = driver.load_reference(driver.edited(texts, bug.changes))
        departures = {
            weights: [
                lab.departure(each, lab.output(wrong, *size, weights)) for each, size in zip(of, grid, strict=True)
            ]
            for weights, of in outputs.items()
        }
        landings = [lab.landing(each, lab.local(wrong, *size)) for each, size in zip(locals_, grid, strict=True)]
        bugs.append(
            asdict(bug)
            | {"departures": {weights: _short(each) for weights, each in departures.items()}}
            | {"landings": [_moved(landing) for landing in landings]}
        )
    return {
        "grid": grid, "bugs": bugs, "G2": lab.G2,
        "noise": {weights: noise(grid, of, weights) for weights, of in outputs.items()},
    }  # fmt: skip


def _short(values: list[float]) -> list[float]:
    return [float(f"{value:.4g}") for value in values]


def _moved(landing: list[int]) -> list[int] | None:
    return None if landing == list(range(len(landing))) else landing


def noise(grid: list[tuple[int, int, int]], outputs: list[lab.Array], weights: str) -> dict[str, list[float]]:
    """The difference of PyTorch, without a bug, from these outputs of the reference, in float32 and in float64."""
    found: dict[str, list[float]] = {"float32": [], "float64": []}
    for (H, W, G1), expected in zip(grid, outputs, strict=True):
        x, params = lab.case(H, W, weights)
        layer = HMHSA(lab.C, lab.HEADS, G1, lab.G2).eval()
        for name, errors in found.items():
            dtype = getattr(torch, name)
            layer.double().load_state_dict({name: torch.from_numpy(value) for name, value in params.items()})
            map_ = torch.from_numpy(x)[None].to(dtype)
            with torch.inference_mode():
                output = layer.to(dtype)(map_) + map_
            errors.append(lab.departure(expected, output[0].double().numpy()))
    return {name: _short(errors) for name, errors in found.items()}
