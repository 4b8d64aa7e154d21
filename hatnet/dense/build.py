"""Build a dense model by name and task, as `create_model` does for all tasks."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from hatnet.checks import require_type
from hatnet.config import TASKS, get_config
from hatnet.dense.backbone import load_source
from hatnet.dense.detectors import MaskRCNN, RetinaNet
from hatnet.dense.semantic_fpn import SemanticFPN
from hatnet.weights.source import find_source
from hatnet.weights.windows import change_windows

MODELS = {"segmentation": SemanticFPN, "detection": RetinaNet, "instances": MaskRCNN}


def build(
    name: str, task: str, pretrained: str | os.PathLike[str] | None, overrides: dict[str, Any]
) -> SemanticFPN | RetinaNet | MaskRCNN:
    """The model of a dense task, in training mode, since its heads are new. Arguments and errors: `create_model`."""
    classes = overrides.pop("num_classes", TASKS[task])
    if pretrained is None:
        config = get_config(name, **overrides)
        return MODELS[task](replace(config, num_classes=classes, **_windows(config, overrides)))
    get_config(name)  # raises for an unknown variant
    require_type("pretrained", pretrained, (str, os.PathLike), "a text or a path: weights for the backbone")
    source = find_source(pretrained if isinstance(pretrained, str) else Path(pretrained))
    own = source.model.config
    if own.name != name:
        raise ValueError(f"{source.name} holds weights of {own.name!r}, not of {name!r}")
    changed = change_windows(source.model, source.name, **_windows(own, overrides) | overrides)
    model = MODELS[task](replace(changed.config, num_classes=classes))
    load_source(model, source)
    return model


def _windows(config: Any, overrides: dict[str, Any]) -> dict[str, Any]:
    """The windows for dense tasks, except those that are given."""
    dense = config.with_dense_windows()
    return {name: getattr(dense, name) for name in ("grid_sizes", "pool_sizes") if name not in overrides}
