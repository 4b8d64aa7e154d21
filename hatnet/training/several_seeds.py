"""Train one recipe with several seeds: one folder per seed, then the mean and spread of every metric."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from hatnet.files import json_bytes, write_whole
from hatnet.training.recipes import Recipe, to_json
from hatnet.training.task import Metric, Row


def seed_runs(recipe: Recipe, seeds: Sequence[int], base: Path) -> dict[Path, Recipe]:
    """The recipe of each seed, by the folder of its run: `base` followed by -seed-0 and so on.

    Raises ValueError for a repeated seed, and for a seed out of range.
    """
    repeated = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    if repeated:
        raise ValueError(f"seeds: {', '.join(map(str, repeated))} must be given once, not several times")
    return {base.with_name(f"{base.name}-seed-{seed}"): replace(recipe, seed=seed) for seed in seeds}


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation, with n - 1 in the denominator; None for one value.

    >>> spread([1.0, 3.0]), spread([1.0])
    (1.4142135623730951, None)
    """
    return stdev(values) if len(values) > 1 else None


def write_seeds(rows: Mapping[int, Row], metrics: Sequence[Metric], recipe: Recipe, base: Path) -> Path:
    """Write the metrics of each seed, their mean and their spread to a JSON file beside the runs. Returns its path.

    `rows` holds the result of each seed on the test images.
    """
    values = {metric.name: [row[metric.column()] for row in rows.values()] for metric in metrics}
    facts: dict[str, Any] = {
        "format": "hatnet seeds",
        "version": 1,
        "recipe": {key: value for key, value in to_json(recipe).items() if key != "seed"},
        "seeds": [*rows],
        "metrics": values,
        "mean": {name: fmean(found) for name, found in values.items()},
        "sample standard deviation": {name: spread(found) for name, found in values.items()},
    }
    path = base.with_name(f"{base.name}-seeds.json")
    write_whole(path, json_bytes(facts))
    return path
