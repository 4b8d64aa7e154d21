"""Resume a run exactly: its state in one file, without pickles, and the checks that the state belongs to the run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hatnet.files import write_whole
from hatnet.former_names import current_name
from hatnet.training.learner import Learner
from hatnet.training.recipes import Recipe, from_json, to_json
from hatnet.training.run_folder import RunFolder
from hatnet.weights.checkpoints import CheckpointError


@dataclass
class State:
    """Tensors by name, and the numbers that go with them; no state of a generator. Fields are the keys in the file."""

    step: int  # steps done
    tensors: dict[str, Tensor]  # model.NAME, average.NAME where there is one, optimiser.KEY.NAME
    history: list[dict[str, float]] = field(default_factory=list)  # one row per epoch
    running: dict[str, float] = field(default_factory=dict)  # sums over the unfinished epoch
    scaler: dict[str, Any] = field(default_factory=dict)  # loss scaling for float16
    origin: dict[str, Any] = field(default_factory=dict)  # description of the weights that the training started from
    data: dict[str, Any] = field(default_factory=dict)  # images and labels: `hatnet.data.fingerprint`
    left_out: dict[str, list[int]] = field(default_factory=dict)  # unreadable files: `hatnet.data.left_out`
    network: dict[str, Any] = field(default_factory=dict)  # configuration
    threads: dict[str, Any] = field(default_factory=dict)  # `hatnet.device.thread_facts`


def save_state(path: Path, state: State, recipe: Recipe) -> None:
    """Write the file whole or not at all: on an OSError, such as for a full disk, the last good file is kept."""
    from safetensors.torch import save

    facts = {key: value for key, value in vars(state).items() if key != "tensors"}
    metadata = {"format": "hatnet training", "recipe": json.dumps(to_json(recipe)), "state": json.dumps(facts)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors.items()}
    write_whole(path, save(tensors, metadata))


def load_state(path: Path) -> tuple[State, Recipe]:
    """Read what `save_state` wrote. Raises CheckpointError if the file is damaged or holds something else."""
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
    """The inverse of `optimiser_tensors`. PyTorch moves each tensor to its device."""
    entries: dict[str, dict[str, Tensor]] = {}
    for path, tensor in tensors.items():
        if path.startswith("optimiser."):
            _, key, name = path.split(".", 2)
            entries.setdefault(name, {})[key] = tensor
    for parameter, name in names.items():
        for key, tensor in entries.get(name, {}).items():
            if tensor.shape == parameter.shape:  # gets its memory layout too, since fused AdamW ignores strides
                entries[name][key] = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
    ordered = [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]
    state = {place: entries[name] for place, name in enumerate(ordered) if name in entries}  # empty before step 1
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def find_state(folder: RunFolder, recipe: Recipe, resume: bool) -> State | None:
    """The state to resume from; None to start. Raises ValueError for a run that cannot be, or is not to be, resumed."""
    if not resume and (folder.state.exists() or folder.facts.exists()):
        raise ValueError(f"{folder.path} holds a run already: give --resume to go on, or --out another folder")
    if not folder.state.exists():
        if folder.is_under_way():
            raise ValueError(f"{folder.state} has gone, so its run cannot be resumed; give --out another folder")
        return None
    state, other = load_state(folder.state)
    require_same(folder.state, "recipe", vars(other), vars(recipe))
    return state


def require_same(path: Path, what: str, there: Mapping[str, Any], here: Mapping[str, Any], advice: str = "") -> None:
    """Raise a CheckpointError with all differences between a state at `path` and this run."""
    pairs = {key: (here.get(key), other) for key, other in there.items()}
    different = [f"{key}: {ours} here, {other} there" for key, (ours, other) in pairs.items() if ours != other]
    if different:
        raise CheckpointError(f"{path} is of another {what}, so cannot resume{advice}.\n" + "\n".join(different))


def tensors_of(learner: Learner) -> dict[str, Tensor]:
    """All tensors of a state: weights, their average if there is one, and the optimiser's moments."""
    weights = {
        f"{section}{name}": tensor
        for section, network in learner.networks.items()
        for name, tensor in network.state_dict().items()
    }
    return weights | optimiser_tensors(learner.optimiser, learner.names)


def restore(learner: Learner, state: State) -> None:
    """Put the learner where it was when the state was saved."""
    for section, network in learner.networks.items():
        network.load_state_dict(
            {name.removeprefix(section): part for name, part in state.tensors.items() if name.startswith(section)}
        )
    restore_optimiser(learner.optimiser, learner.names, state.tensors)
    if state.scaler:
        learner.scaler.load_state_dict(state.scaler)
    learner.step = state.step
