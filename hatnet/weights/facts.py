"""Check the facts in a weights file when it is read: its configuration, and how it was trained."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hatnet.checks import require_between, require_kind, shown
from hatnet.config import HATNetConfig

MOST_BLOCKS = 1000  # Large has 41


def config_of(found: object, tensors: int, elements: int, task: str = "classification") -> HATNetConfig:
    """The configuration in a file with this number of tensors, and this number of elements in total.

    Raises ValueError for anything but a configuration, and for a network with more parameters than the file has
    elements, so that a small file cannot make us build a large network.
    """
    if not isinstance(found, Mapping):
        raise ValueError("there is none")
    try:
        config = HATNetConfig(**found)
    except TypeError as error:
        raise ValueError(str(error)) from error
    if len(config.name) > 100:
        raise ValueError(f"name={shown(config.name)} is too long")
    least = (config if task == "classification" else replace(config, num_classes=1)).fewest_parameters
    blocks = sum(config.depths)
    if blocks > min(MOST_BLOCKS, tensors) or least > elements:
        raise ValueError(
            f"it describes a network of {blocks:,} blocks (at most {MOST_BLOCKS}) and at least {least:,} "
            f"parameters, but there are {tensors:,} tensors with {elements:,}"
        )
    return config


KINDS: dict[str, Any] = {  # of the facts that this package reads
    "data": str, "drawn_from": str, "classes": Sequence[str], "mean": Sequence[float], "std": Sequence[float],
    "image_size": int, "epoch": int, "test_accuracy": float, "recipe": Mapping[str, Any],
    "started_from": Mapping[str, Any], "card": Mapping[str, str], "test_mean_IoU": float, "test_mask_AP50": float,
}  # fmt: skip
BOUNDS = {"mean": (-1e3, 1e3), "std": (1e-6, 1e3), "image_size": (1, 4096), "epoch": (0, 2**63)}  # both included


def check_about(known: object, config: HATNetConfig) -> None:
    """Raise ValueError, naming the fact, unless every fact that this package reads is valid.

    Classes and channels must be as many as the network's, except in the facts of the weights that training started
    from. Unknown facts may be anything.
    """
    if not isinstance(known, Mapping):
        raise ValueError(f"about={shown(known)} must be a table of facts")
    where = "about"
    facts: Mapping[str, Any] | None = known  # then those of the weights that it started from, and so on
    while facts is not None:
        for name in KINDS.keys() & facts.keys():
            check_fact(f"{where}.{name}", name, facts[name])
        where, facts = f"{where}.started_from"[:100], facts.get("started_from")
    counts = {"classes": (0, config.num_classes), "mean": (1, config.in_channels), "std": (1, config.in_channels)}
    for name, allowed in counts.items():
        if name in known and len(known[name]) not in allowed:
            raise ValueError(f"{name} in about has {len(known[name])} entries, but the network has {allowed[-1]}")


def check_fact(title: str, name: str, value: Any) -> None:
    """Raise ValueError, with the title, unless a fact has the kind and the bounds of its name."""
    try:
        require_kind(title, value, KINDS[name])
    except TypeError as error:
        raise ValueError(str(error)) from error
    if name in BOUNDS:
        for number in value if isinstance(value, Sequence) else (value,):
            require_between(title, number, *BOUNDS[name])
