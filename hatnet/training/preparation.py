"""Check everything before work starts, and prepare the network and the data for training."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from hatnet.config import VARIANTS, HATNetConfig
from hatnet.data import DataError, Split, fingerprint, leave_out, left_out
from hatnet.data.split_off import split_off
from hatnet.training.distributed import Processes
from hatnet.training.initial_weights import random_network
from hatnet.training.networks import Build, Network, normalise_inside
from hatnet.training.recipes import Recipe, to_json, with_absolute_paths
from hatnet.training.resuming import State, find_state, require_same
from hatnet.training.run_folder import RunFolder
from hatnet.training.sampling import BatchSampler
from hatnet.training.seeds import derive
from hatnet.training.task import Task
from hatnet.training.trained_weights import (
    AnySource,
    differences,
    find_weights,
    normalised_as,
    start_from,
    trained_config,
    tuned_config,
)
from hatnet.weights.source import find_source
from hatnet.weights.windows import WINDOWS

Clean = Callable[[Split], Split] | None  # leaves out files that cannot be read
LABELS = {
    "classification": "one class per image",
    "segmentation": "one class per pixel",
    "objects": "boxes and masks of objects",
}


@dataclass(frozen=True)
class Start:
    """Recipe, data and network that a training starts or resumes with."""

    recipe: Recipe  # with absolute paths, and the variant and windows of the network
    data: Split  # without unreadable files; a resumed run leaves out the same files as at its start
    fingerprint: dict[str, int | str]
    left_out: dict[str, list[int]]  # unreadable files, indexed as before the validation part was split off
    model: Network
    started_from: dict[str, Any]  # description of the weights that the run started from
    lines: tuple[str, ...]  # to print: every difference between the weights, the recipe and the network
    state: State | None  # to resume from


def prepare(
    recipe: Recipe, data: Split, folder: RunFolder, processes: Processes, build: Build, resume: bool, clean: Clean
) -> Start:
    """Check the arguments of `Training`, cheap checks first: those without images, then all files, then their sizes."""
    require_kind_of(data, folder.task)
    state = find_state(folder, recipe, resume)
    if state is not None:
        data = leave_out(data, state.left_out)  # the loop handles files that became unreadable later
    BatchSampler.of(recipe, len(with_validation(recipe, data).train)).share(processes.size)  # raises for too few images
    if processes.differ(0 if state is None else state.step):  # before a process waits for the others forever
        raise ValueError(
            f"not all processes see the state in {folder.path}: it must lie on a disk that all machines share"
        )

    source = None if recipe.weights is None or state is not None else _source(recipe)
    config, lines = _network(recipe, data, folder.task, source, state)
    recipe = _recorded(recipe, config)
    model, started_from = random_network(recipe, config, build), {}
    if state is not None:
        require_same(folder.state, "network", state.network, json.loads(json.dumps(vars(model.config))))
        data, started_from = normalised_as(data, state.normalisation), state.origin
    if source is not None:
        data, changes = start_from(source, model, data)
        lines, started_from = [*lines, *changes], source.origin

    if clean is not None and state is None:
        data = clean(data)
    places, data = left_out(data), with_validation(recipe, data)
    found = fingerprint(data)
    if state is not None:
        require_same(folder.state, "data set", state.data, found, "; images that have gone must be put back first")
    folder.task.require_fit(recipe, data)
    normalise_inside(model, data.mean, data.std)
    if processes.differ(derive(0, json.dumps(to_json(recipe)), json.dumps(found))):
        raise ValueError("not all processes were given the same recipe and see the same images and labels")
    return Start(recipe, data, found, places, model, started_from, tuple(lines), state)


def require_kind_of(data: Split, task: Task) -> None:
    """Raise a DataError unless the data has labels of the kind that a task needs."""
    if data.kind != task.kind:
        raise DataError(f"{data.name} has {LABELS[data.kind]}, but the task needs {LABELS[task.kind]}")


def with_validation(recipe: Recipe, data: Split) -> Split:
    """The data with the recipe's validation part, split off the training images class by class with the recipe's seed.

    Raises DataError if the data has a validation part already, or a class has too few images.
    """
    if not recipe.validation:
        return data
    if data.validation is not None:
        raise DataError(f"{data.name} has a validation part of its own: leave --validation out")
    seed = derive(recipe.seed, "validation")
    train, validation = split_off(data.train, recipe.validation, seed, data.classes, "validation")
    return replace(data, train=train, validation=validation)


def _source(recipe: Recipe) -> AnySource:
    """The weights to start from. Raises CheckpointError for those of a dense model in classification."""
    assert recipe.weights is not None
    return find_source(recipe.weights) if recipe.task == "classification" else find_weights(recipe.weights)


def _network(
    recipe: Recipe, data: Split, task: Task, source: AnySource | None, state: State | None
) -> tuple[HATNetConfig, list[str]]:
    """The network to train, and one line per difference from the network of the weights or of the recipe."""
    untuned = replace(recipe, stem_strides=None, grid_sizes=None, pool_sizes=None)  # they refer to the weights' stages
    if source is not None:
        own = task.config(untuned, data)
        config = tuned_config(recipe, own, trained_config(recipe, source))
        return config, differences(recipe, own, source, config)
    if recipe.weights is not None and state is not None and state.network:  # old states lack it, but have all windows
        return tuned_config(recipe, task.config(untuned, data), HATNetConfig(**state.network)), []
    return task.config(recipe, data), []


def _recorded(recipe: Recipe, config: HATNetConfig) -> Recipe:
    """The recipe to record: it works from any folder, and names the network that is trained."""
    recipe = with_absolute_paths(recipe)
    if recipe.weights is None:
        return recipe
    variant = config.name if config.name in VARIANTS else recipe.variant
    return replace(recipe, variant=variant, **{name: getattr(config, name) for name in WINDOWS})


def precision_of(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Precision of matrix products. Raises ValueError for float16 on a CPU."""
    if recipe.precision != "auto":
        chosen: torch.dtype = getattr(torch, recipe.precision)
        if chosen is torch.float16 and device.type == "cpu":
            raise ValueError("precision='float16' is for GPUs; use float32 or bfloat16 on a CPU")
        return chosen
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
