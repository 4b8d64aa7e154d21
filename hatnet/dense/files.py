"""Load files of dense models that `hatnet.save` wrote."""

import os
from collections.abc import Mapping
from typing import Any

from hatnet.checks import require_kind, shown
from hatnet.dense.detectors import MaskRCNN, RetinaNet
from hatnet.dense.semantic_fpn import SemanticFPN
from hatnet.weights.checkpoints import checked_facts, read_weights, require_task, task_of, tensors_of
from hatnet.weights.tensor_file import DENSE, CheckpointError, TensorFile
from hatnet.weights.windows import changed_config

Model = SemanticFPN | RetinaNet | MaskRCNN
MODELS: dict[str, type[Model]] = {model.task: model for model in (SemanticFPN, RetinaNet, MaskRCNN)}
KINDS = {"task": str, "width": int, "mean": list[float], "std": list[float], "settings": dict[str, Any]}  # of facts


def load_dense(path: str | os.PathLike[str], task: str | None = None) -> tuple[Model, dict[str, Any]]:
    """The model in a file, in evaluation mode, and what `about` returns; of any dense task if `task` is None.

    Raises what `hatnet.load` does.
    """
    file = read_weights(path)
    found = task_of(file.facts, path)
    if task is not None or found not in MODELS:
        require_task(file, task or "segmentation")
    config, known = checked_facts(file)
    facts = _facts(file)
    try:
        model = MODELS[found].from_facts(config, facts)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds facts that cannot be: {error}") from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(tensors_of(file, expected), strict=True, assign=True)
    return model.eval(), known


def change_dense_windows(model: Model, source: str, **changes: Any) -> Model:
    """The model with other windows, which shares the parameters. Arguments and errors: `change_windows`."""
    config = changed_config(model.config, source, **changes)
    again = type(model).from_facts(config, model.facts())
    again.load_state_dict(model.state_dict(), strict=True, assign=True)
    return again.train(model.training)


def _facts(file: TensorFile) -> Mapping[str, Any]:
    """The facts of a dense model. Raises CheckpointError unless all are there, and of the right type."""
    facts = file.facts[DENSE]
    if facts.keys() != KINDS.keys():
        raise CheckpointError(f"{file.path} holds the facts {shown(list(facts))}, not {', '.join(KINDS)}")
    try:
        for name, kind in KINDS.items():
            require_kind(name, facts[name], kind)
    except TypeError as error:
        raise CheckpointError(f"{file.path} holds facts that cannot be: {error}") from error
    return facts
