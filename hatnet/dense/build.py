"""Build a dense model by name and task, as `create_model` does for all tasks."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from hatnet.checks import require_type
from hatnet.config import TASKS, get_config
from hatnet.dense.backbone import CHANNELS, load_source
from hatnet.dense.files import MODELS, Model, change_dense_windows, load_dense
from hatnet.weights.checkpoints import CheckpointError, holds_task
from hatnet.weights.pretrained import SHIPPED, existing_weights
from hatnet.weights.source import find_source
from hatnet.weights.windows import change_windows


def build(
    name: str, task: str, pretrained: str | os.PathLike[str] | None, width: int | None, overrides: dict[str, Any]
) -> Model:
    """The model of a dense task, in training mode if its heads are new. Arguments and errors: `create_model`."""
    get_config(name)  # raises for an unknown variant
    classes, channels = overrides.get("num_classes", TASKS[task]), CHANNELS if width is None else width
    others = {key: value for key, value in overrides.items() if key != "num_classes"}
    if pretrained is None:
        config = get_config(name, **others)
        return MODELS[task](replace(config, num_classes=classes, **_windows(config, others)), width=channels)
    require_type("pretrained", pretrained, (str, os.PathLike), "a text or a path: weights of the model or its backbone")
    weights = pretrained if isinstance(pretrained, str) else Path(pretrained)
    file = existing_weights(weights)
    if holds_task(file) not in (None, "classification"):
        return _whole(name, task, file, width, overrides)
    source = find_source(weights)
    own = source.model.config
    _require_variant(source.name, own.name, name)
    changed = change_windows(source.model, source.name, **_windows(own, others) | others)
    model = MODELS[task](replace(changed.config, num_classes=classes), width=channels)
    load_source(model, source)
    return model


def _whole(name: str, task: str, file: Path, width: int | None, overrides: dict[str, Any]) -> Model:
    """The dense model in a file, with other windows if some are given."""
    model, _ = load_dense(file, task)
    if file in SHIPPED.values():
        model = model.float()  # the package stores them in 16 bits
    _require_variant(str(file), model.config.name, name)
    if width not in (None, model.width):
        raise CheckpointError(f"{file} holds a model of width {model.width}, not {width}; leave width out")
    return change_dense_windows(model, str(file), **overrides)


def _require_variant(source: str, own: str, name: str) -> None:
    if own != name:
        raise ValueError(f"{source} holds weights of {own!r}, not of {name!r}")


def _windows(config: Any, overrides: dict[str, Any]) -> dict[str, Any]:
    """The windows for dense tasks, except those that are given."""
    dense = config.with_dense_windows()
    return {name: getattr(dense, name) for name in ("grid_sizes", "pool_sizes") if name not in overrides}
