"""Resume a run exactly: find its state, compare it with what is asked for now, save and restore the learner."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from hatnet.training.learner import Learner
from hatnet.training.recipes import Recipe, differences
from hatnet.training.run_folder import RunFolder
from hatnet.training.state import State, load_state, optimiser_tensors, restore_optimiser
from hatnet.weights.checkpoints import CheckpointError


def find_state(folder: RunFolder, recipe: Recipe, resume: bool) -> State | None:
    """The state to resume from; None to start.

    Raises:
        ValueError: if the folder holds a run that is not to be resumed, or cannot be.
        CheckpointError: (a ValueError) if the state is damaged or belongs to another recipe.
    """
    if not resume and (folder.state.exists() or folder.facts.exists()):
        raise ValueError(f"{folder.path} holds a run already: give --resume to go on, or --out another folder")
    if not folder.state.exists():
        if folder.is_under_way():
            raise ValueError(f"{folder.state} has gone, so its run cannot be resumed; give --out another folder")
        return None
    state, other = load_state(folder.state)
    different = differences(recipe, other)
    if different:
        raise CheckpointError(f"{folder.state} is of another recipe, so cannot resume:\n" + "\n".join(different))
    return state


def require_same(path: Path, what: str, there: Mapping[str, Any], here: Mapping[str, Any], advice: str = "") -> None:
    """Raise a CheckpointError with all differences between a state at `path` and this run."""
    different = [
        f"{key}: {here.get(key)} here, {other} there" for key, other in there.items() if here.get(key) != other
    ]
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
