"""Change windows, merging and stem strides under trained weights. They have no parameters."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Unpack

from hatnet.config import HATNetConfig, Overrides, nearest
from hatnet.network import HATNet
from hatnet.weights.checkpoints import CheckpointError, assemble, require_as_configured

WINDOWS = ("grid_sizes", "pool_sizes", "stem_strides")
RATES = ("drop_rate", "drop_path_rate", "classifier_drop_rate")  # used in training only
GIVERS = {"num_classes": "the data's", "in_channels": "the data's", **dict.fromkeys(RATES, "the recipe's")}


def change_windows(model: HATNet, source: str = "the model", **changes: Unpack[Overrides]) -> HATNet:
    """Return the network with other windows: a new model, in the same mode, that shares the parameters of `model`.

    Args:
        model: a HAT-Net. It is not changed, but training either model changes the weights of both.
        source: origin of the weights, for the error message.
        changes: `grid_sizes` (G1), `pool_sizes` (G2), `stem_strides`, or a drop rate. Other fields of `HATNetConfig`
            belong to the trained weights and are accepted with their present value only.

    Accuracy usually falls, because the weights were trained with other windows: see docs/own-images.md. Raises
    CheckpointError (a ValueError) that names the fields that cannot change, ValueError for impossible values, TypeError
    for an unknown field.

    >>> from hatnet.models import create_model
    >>> change_windows(create_model("micro"), grid_sizes=(4, 4)).config.grid_sizes
    (4, 4)
    """
    if not isinstance(model, HATNet):
        raise TypeError(f"model must be a HATNet, got {type(model).__name__}")
    require_as_configured(model)
    return assemble(changed_config(model.config, source, **changes), model.state_dict()).train(model.training)


def changed_config(own: HATNetConfig, source: str, **changes: Unpack[Overrides]) -> HATNetConfig:
    """The configuration with other windows; errors as in `change_windows`."""
    known = [field.name for field in fields(own)]
    for name in changes:
        if name not in known:
            raise TypeError(f"unknown field {name!r}{nearest(name, known)}; known: {', '.join(known)}")
    config = replace(own, **changes)
    fixed = [field for field in changed_fields(own, config) if field not in (*WINDOWS, *RATES)]
    if fixed:
        differences = ", ".join(f"{name}={getattr(config, name)!r} (its own: {getattr(own, name)!r})" for name in fixed)
        raise CheckpointError(
            f"{source} cannot be given {differences}: without training, only {', '.join((*WINDOWS, *RATES))} can change"
        )
    return config


def changed_fields(before: HATNetConfig, after: HATNetConfig) -> list[str]:
    """The names of the fields in which two configurations differ."""
    return [field.name for field in fields(after) if getattr(before, field.name) != getattr(after, field.name)]


def describe_changes(
    before: HATNetConfig,
    after: HATNetConfig,
    owner: str = "the weights'",
    giver: str = "given",
    but: Sequence[str] = (),
) -> list[str]:
    """One line per field that differs, without the fields in `but`: old value and owner, new value and giver.

    >>> from hatnet.config import get_config
    >>> describe_changes(get_config("micro"), get_config("micro", grid_sizes=(4, 4)))
    ["grid_sizes: 8 4 (the weights') -> 4 4 (given)"]
    """
    return [
        f"{name}: {_words(getattr(before, name))} ({owner}) -> "
        f"{_words(getattr(after, name))} ({GIVERS.get(name, giver)})"
        for name in changed_fields(before, after)
        if name not in but
    ]


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
