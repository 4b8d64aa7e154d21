"""Check the facts in a weights file, its configuration and how it was trained, once, when they are read."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from hatnet.checks import is_number, shown
from hatnet.config import HATNetConfig

MOST_BLOCKS = 1000  # Large has 41


def config_of(found: object, tensors: int, elements: int) -> HATNetConfig:
    """The configuration in a file with this number of tensors, and of elements in all of them.

    Raises ValueError for anything but a configuration, and for a network too large for that many elements, so that
    nothing is built which a small file could not fill.
    """
    if not isinstance(found, Mapping):
        raise ValueError("there is none")
    try:
        config = HATNetConfig(**found)
    except TypeError as error:
        raise ValueError(str(error)) from error
    if len(config.name) > 100:
        raise ValueError(f"name={shown(config.name)} is too long")
    blocks, least = sum(config.depths), config.fewest_parameters
    if blocks > min(MOST_BLOCKS, tensors) or least > elements:
        raise ValueError(
            f"it describes a network of {blocks:,} blocks (at most {MOST_BLOCKS}) and at least {least:,} "
            f"parameters, but there are {tensors:,} tensors with {elements:,}"
        )
    return config


def are_numbers(value: object, low: float, high: float) -> bool:
    """Whether a value is a list of finite numbers from `low` to `high`, not empty."""
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(is_number(entry) and isfinite(entry) and low <= entry <= high for entry in value)
    )


def _is_whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value)


KNOWN: dict[str, tuple[str, Callable[[Any], bool]]] = {  # what a fact must be, and its check
    "data": ("a text", lambda value: isinstance(value, str)),
    "classes": ("a list of names", _are_names),
    "mean": ("a list of numbers from -1000 to 1000", lambda value: are_numbers(value, -1e3, 1e3)),
    "std": ("a list of numbers from 1e-6 to 1000", lambda value: are_numbers(value, 1e-6, 1e3)),
    "image_size": ("a whole number from 1 to 4096", lambda value: _is_whole(value, 1, 4096)),
    "epoch": ("a whole number of at least 0", lambda value: _is_whole(value, 0, 2**63)),
    "test_accuracy": ("a number", is_number),
    "recipe": ("a table of settings", lambda value: isinstance(value, Mapping)),
    "started_from": ("a table of facts", lambda value: isinstance(value, Mapping)),
}


def check_about(known: object, config: HATNetConfig) -> None:
    """Raise ValueError, naming the fact, unless every fact that this package reads is what it must be.

    There must be as many classes and channels as the network has. The facts of weights that training started from may
    have other numbers. Unknown facts may be anything.
    """
    where, first = "", known
    while known is not None:
        if not isinstance(known, Mapping):
            raise ValueError(f"about{where}={known!r:.100} must be a table of facts")
        for name, (words, holds) in KNOWN.items():
            if name in known and not holds(known[name]):
                raise ValueError(f"{name}={known[name]!r:.100} in about{where} must be {words}")
        known, where = known.get("started_from"), f"{where}.started_from"[:100]
    assert isinstance(first, Mapping)
    counts = {"classes": (config.num_classes,), "mean": (1, config.in_channels), "std": (1, config.in_channels)}
    for name, allowed in counts.items():
        if first.get(name) and len(first[name]) not in allowed:
            raise ValueError(f"{name} in about has {len(first[name])} entries, but the network has {allowed[-1]}")
