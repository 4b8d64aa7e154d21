"""Check the facts in a weights file, its configuration and how it was trained, once, when they are read."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite
from typing import Any

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
    for field in fields(HATNetConfig):
        value, expected = getattr(config, field.name), type(field.default)
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise ValueError(f"{field.name}={value!r:.100} must be of type {expected.__name__}")
    if len(config.name) > 100:
        raise ValueError(f"name={config.name!r:.100} is too long")
    if any(
        number >= 2**31 for sizes in (config.stem_strides, config.grid_sizes, config.pool_sizes) for number in sizes
    ):
        raise ValueError("stem_strides, grid_sizes and pool_sizes must be below 2**31")
    blocks, least = sum(config.depths), fewest_parameters(config)
    if blocks > min(MOST_BLOCKS, tensors) or least > elements:
        raise ValueError(
            f"it describes a network of {_short(blocks)} blocks (at most {MOST_BLOCKS}) and at least {_short(least)} "
            f"parameters, but there are {tensors:,} tensors with {elements:,}"
        )
    return config


def fewest_parameters(config: HATNetConfig) -> int:
    """A lower bound of the number of parameters, from the largest layers: stem, MLPs and classifier."""
    stages = zip(config.channels, config.depths, config.kernel_sizes, config.expansions, strict=True)
    blocks = sum(depth * E * C * (2 * C + K * K) for C, depth, K, E in stages)
    return (
        9 * config.stem_channels * (config.in_channels + config.channels[0])
        + blocks
        + (config.num_classes * (config.channels[-1] + 1))
    )


def _short(number: int) -> str:
    return f"{number:,}" if number < 10**15 else "more than 10^15"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def are_numbers(value: object, low: float, high: float) -> bool:
    """Whether a value is a list of finite numbers from `low` to `high`, not empty."""
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(_is_number(entry) and isfinite(entry) and low <= entry <= high for entry in value)
    )


def _is_whole(value: object, low: int, high: int) -> bool:
    return _is_number(value) and isinstance(value, int) and low <= value <= high


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(entry, str) for entry in value)


KNOWN: dict[str, tuple[str, Callable[[Any], bool]]] = {  # what a fact must be, and its check
    "data": ("a text", lambda value: isinstance(value, str)),
    "drawn_from": ("a text", lambda value: isinstance(value, str)),
    "classes": ("a list of names", _are_names),
    "mean": ("a list of numbers from -1000 to 1000", lambda value: are_numbers(value, -1e3, 1e3)),
    "std": ("a list of numbers from 1e-6 to 1000", lambda value: are_numbers(value, 1e-6, 1e3)),
    "image_size": ("a whole number from 1 to 4096", lambda value: _is_whole(value, 1, 4096)),
    "epoch": ("a whole number of at least 0", lambda value: _is_whole(value, 0, 2**63)),
    "test_accuracy": ("a number", _is_number),
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
