"""Resume a run exactly: its state in one file, without pickles, and the checks that the state belongs to the run."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import prod
from pathlib import Path
from typing import Any, get_type_hints

import torch
from torch import Tensor, nn

from hatnet.checks import require_kind, shown
from hatnet.files import write_whole
from hatnet.training.learner import Learner
from hatnet.training.recipes import NETWORK, Recipe, from_json, to_json, with_absolute_paths
from hatnet.training.run_folder import RunFolder
from hatnet.weights.checkpoints import CheckpointError, require_match
from hatnet.weights.facts import check_fact, config_of
from hatnet.weights.tensor_file import STATE, read, to_parts

DAMAGED = (
    "Put a copy of the file back, or start a new run: give --out another folder, and --weights the last.safetensors of "
    "this one to begin with what it has learnt"
)
MEASURED = {"epoch", "step", "seconds", "images_per_second", "memory_mb"}  # columns that the end of a run needs
PARTS = ("train", "validation", "test")


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
    normalisation: dict[str, list[float]] = field(default_factory=dict)  # mean and std of pixels; empty: the data's
    threads: dict[str, Any] = field(default_factory=dict)  # `hatnet.device.thread_facts`


FACTS = [entry.name for entry in fields(State) if entry.name != "tensors"]


def save_state(path: Path, state: State, recipe: Recipe) -> None:
    """Write the file whole or not at all: on an OSError, such as for a full disk, the last good file is kept."""
    facts = {key: value for key, value in vars(state).items() if key != "tensors"}
    write_whole(path, *to_parts(STATE, {"recipe": to_json(recipe), "state": facts}, state.tensors))


def load_state(path: Path) -> tuple[State, Recipe]:
    """Read what `save_state` wrote. Raises CheckpointError if the file is damaged or holds something else."""
    file = read(Path(path), DAMAGED)
    if file.kind != STATE:
        raise CheckpointError(f"{path} does not hold the state of a training")
    try:
        facts = _checked(file.facts.get("state"))
        if facts.get("network"):  # empty in old states
            config_of(facts["network"], len(file.shapes), sum(map(prod, file.shapes.values())))
        recipe = from_json(file.facts.get("recipe", {}))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} does not hold a whole state: {error}. {DAMAGED}") from error
    return State(tensors=file.tensors(), **facts), recipe


def _checked(facts: Any) -> dict[str, Any]:
    """The facts of a state. Raises ValueError or TypeError unless each is there and of the right type."""
    if not isinstance(facts, dict) or "step" not in facts:
        raise ValueError("it has no facts")
    kinds = get_type_hints(State)
    for key, value in facts.items():
        if key not in FACTS:
            raise ValueError(f"it has the unknown fact {key!r:.100}")
        require_kind(key, value, kinds[key])
    if facts["step"] < 0:
        raise ValueError(f"step={facts['step']}")
    if not all(set(row) >= MEASURED for row in facts.get("history", [])):
        raise ValueError(f"a row of its history lacks one of {', '.join(sorted(MEASURED))}")
    if unknown := set(facts.get("left_out", {})) - set(PARTS):
        raise ValueError(f"left_out has the unknown parts {shown(unknown)}")
    for name, numbers in facts.get("normalisation", {}).items():
        if name not in ("mean", "std") or not numbers:
            raise ValueError(f"normalisation by {name!r:.100} is {numbers!r:.100}")
        check_fact(f"normalisation.{name}", name, numbers)
    return facts


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
    folder.require_new(resume)
    if not folder.state.exists():
        if folder.is_under_way():
            raise ValueError(f"{folder.state} has gone, so its run cannot be resumed; give --out another folder")
        return None
    if folder.facts.exists():
        folder.read_facts()  # raises if it is damaged, before work starts
    state, other = load_state(folder.state)
    require_same(folder.state, "recipe", _comparable(other), _comparable(recipe))
    return state


def _comparable(recipe: Recipe) -> dict[str, Any]:
    """The recipe without the fields of its network, which is compared itself, and with absolute paths."""
    return {name: value for name, value in vars(with_absolute_paths(recipe)).items() if name not in NETWORK}


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


def restore(learner: Learner, state: State, path: Path) -> None:
    """Put the learner where it was when the state at `path` was saved. Raises CheckpointError unless all is there."""
    missing = {"loss_sum", "seconds"} - set(state.running)
    if missing or state.step > learner.sampler.steps:
        facts = f"lacks {', '.join(sorted(missing))}" if missing else f"step={state.step} of {learner.sampler.steps}"
        raise CheckpointError(f"{path} does not hold a whole state: {facts}. {DAMAGED}")
    require_match(state.tensors, _shapes(learner, state), {}, str(path))
    for section, network in learner.networks.items():
        network.load_state_dict(
            {name.removeprefix(section): part for name, part in state.tensors.items() if name.startswith(section)}
        )
    restore_optimiser(learner.optimiser, learner.names, state.tensors)
    if state.scaler:
        try:
            learner.scaler.load_state_dict(state.scaler)
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"{path} holds a broken loss scaling: {error!r}. {DAMAGED}") from error
    learner.step = state.step


def _shapes(learner: Learner, state: State) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors that the state of a learner must have."""
    shapes = {
        f"{section}{name}": tuple(tensor.shape)
        for section, network in learner.networks.items()
        for name, tensor in network.state_dict().items()
    }
    if state.step:  # AdamW has no state before its first step
        for parameter, name in learner.names.items():
            moments = {f"optimiser.{key}.{name}": tuple(parameter.shape) for key in ("exp_avg", "exp_avg_sq")}
            shapes |= moments | {f"optimiser.step.{name}": ()}
    return shapes
