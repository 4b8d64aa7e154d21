"""The state of a training in one file, without pickles: everything that an exact resume needs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hatnet.files import write_whole
from hatnet.former_names import current_name
from hatnet.training.recipes import Recipe, from_json, to_json
from hatnet.weights.checkpoints import CheckpointError


@dataclass
class State:
    """Tensors by name, and the numbers that go with them. The names of the fields are the keys in the file.

    There is no generator state, since every draw is seeded by its purpose (`hatnet.training.seeds`).
    """

    step: int  # steps done
    tensors: dict[str, Tensor]  # model.NAME, average.NAME where there is one, optimiser.KEY.NAME
    history: list[dict[str, float]] = field(default_factory=list)  # one row per epoch
    running: dict[str, float] = field(default_factory=dict)  # sums over the unfinished epoch
    scaler: dict[str, Any] = field(default_factory=dict)  # loss scaling for float16
    origin: dict[str, Any] = field(default_factory=dict)  # description of the weights that the training started from
    data: dict[str, Any] = field(default_factory=dict)  # images and labels: `hatnet.data.fingerprint`
    left_out: dict[str, list[int]] = field(default_factory=dict)  # unreadable files: `hatnet.data.left_out`
    network: dict[str, Any] = field(default_factory=dict)  # configuration


def save_state(path: Path, state: State, recipe: Recipe) -> None:
    """Write the file whole or not at all.

    Raises:
        OSError: if it cannot be written, for instance because the disk is full; the last good file is then kept.
    """
    from safetensors.torch import save

    facts = {key: value for key, value in vars(state).items() if key != "tensors"}
    metadata = {"format": "hatnet training", "recipe": json.dumps(to_json(recipe)), "state": json.dumps(facts)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    write_whole(path, save(tensors, metadata))


def load_state(path: Path) -> tuple[State, Recipe]:
    """Read what `save_state` wrote.

    Raises:
        CheckpointError: if the file is damaged or holds something else.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {current_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if metadata.get("format") != "hatnet training":
        raise CheckpointError(f"{path} does not hold the state of a training")
    return State(tensors=tensors, **json.loads(metadata["state"])), from_json(json.loads(metadata["recipe"]))


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: Mapping[nn.Parameter, str]) -> dict[str, Tensor]:
    """The optimiser's state by parameter name; empty before its first step."""
    return {
        f"optimiser.{key}.{name}": value
        for parameter, name in names.items()
        for key, value in optimiser.state[parameter].items()
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, names: Mapping[nn.Parameter, str], tensors: dict[str, Tensor]
) -> None:
    """The inverse of `optimiser_tensors`. PyTorch moves each tensor to its device.

    Tensors shaped like a parameter get its memory layout too, since fused AdamW ignores strides.
    """
    entries: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        if path.startswith("optimiser."):
            _, key, name = path.split(".", 2)
            entries.setdefault(name, {})[key] = tensor
    for parameter, name in names.items():
        for key, tensor in entries.get(name, {}).items():
            if tensor.shape == parameter.shape:
                entries[name][key] = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
    ordered = [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]
    state = {place: entries[name] for place, name in enumerate(ordered) if name in entries}  # empty before step 1
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
