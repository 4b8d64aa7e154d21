"""Everything that is checked before work starts, and the network and data that training starts with."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from hatnet.config import HATNetConfig
from hatnet.data import DataError, Split, absolute, fingerprint, leave_out, left_out
from hatnet.data.split_off import split_off
from hatnet.data.transforms import require_fit
from hatnet.network import HATNet
from hatnet.training.distributed import Processes
from hatnet.training.initial_weights import Build, random_network
from hatnet.training.recipes import Recipe, to_json
from hatnet.training.resuming import State, find_state, require_same
from hatnet.training.run_folder import RunFolder
from hatnet.training.sampling import BatchSampler
from hatnet.training.seeds import derive
from hatnet.training.task import Task
from hatnet.training.trained_weights import (
    TrainedWeights,
    absolute_weights,
    differences,
    normalised_as,
    read_trained,
    settled,
    start_from,
    tuned_config,
)

Clean = Callable[[Split], Split] | None  # leaves out files that cannot be read


@dataclass(frozen=True)
class Start:
    """Data, network and state that a training starts or resumes with."""

    recipe: Recipe  # with absolute paths, and the variant and windows of the network
    data: Split  # without unreadable files; a resumed run leaves out the same files as at its start
    fingerprint: dict[str, int | str]
    left_out: dict[str, list[int]]  # unreadable files, before the validation part was split off
    sampler: BatchSampler
    precision: torch.dtype
    model: HATNet
    new_classifier: bool
    started_from: dict[str, Any]  # description of the weights that it started from
    lines: tuple[str, ...]  # everything that differs between the weights, the recipe and the network, to be printed
    state: State | None  # to resume from


def prepare(
    recipe: Recipe, data: Split, folder: RunFolder, processes: Processes, build: Build, resume: bool, clean: Clean
) -> Start:
    """Check all that `Training` was given, in order of cost: what needs no image, then all files, then their sizes."""
    state = find_state(folder, recipe, resume)
    if state is not None:
        data = leave_out(data, state.left_out)  # files that have gone bad since are left to the loop
    BatchSampler.of(recipe, len(with_validation(recipe, data).train)).share(processes.size)
    if processes.differ(0 if state is None else state.step):  # before a process waits for the others in vain
        raise ValueError(
            f"not all processes see the state in {folder.path}: it must lie on a disk that all machines share"
        )
    precision = precision_of(recipe, processes.device)
    trained = None if recipe.weights is None or state is not None else read_trained(recipe.weights)
    config, lines = _network(recipe, data, folder.task, trained, state)
    recipe = _recorded(recipe, config)
    model = random_network(recipe, config, build)
    new_classifier, started_from = True, {} if state is None else state.origin
    if state is not None:
        require_same(folder.state, "network", state.network, json.loads(json.dumps(vars(model.config))))
        data = normalised_as(data, state.normalisation)
    if trained is not None:
        data, new_classifier, changes = start_from(trained, model, data)
        lines, started_from = [*lines, *changes], trained.description
    if clean is not None and state is None:
        data = clean(data)
    places, data = left_out(data), with_validation(recipe, data)
    found = fingerprint(data)
    if state is not None:
        require_same(folder.state, "data set", state.data, found, "; images that have gone must be put back first")
    require_fit(recipe, data)
    if processes.differ(derive(0, json.dumps(to_json(recipe)), json.dumps(found))):
        raise ValueError("not all processes were given the same recipe and see the same images and labels")
    sampler = BatchSampler.of(recipe, len(data.train))
    return Start(
        recipe, data, found, places, sampler, precision, model, new_classifier, started_from, tuple(lines), state
    )


def with_validation(recipe: Recipe, data: Split) -> Split:
    """The data with the recipe's validation part, split off the training images by class and with its seed.

    Raises DataError if the data has a validation part already, or a class has too few images.
    """
    if not recipe.validation:
        return data
    if data.validation is not None:
        raise DataError(f"{data.name} has a validation part of its own: leave --validation out")
    seed = derive(recipe.seed, "validation")
    train, validation = split_off(data.train, recipe.validation, seed, data.classes, "validation")
    return replace(data, train=train, validation=validation)


def _network(
    recipe: Recipe, data: Split, task: Task, trained: TrainedWeights | None, state: State | None
) -> tuple[HATNetConfig, list[str]]:
    """The network to train, and its differences from those of the weights and the recipe, one line each."""
    if recipe.weights is None:
        return task.config(recipe, data), []
    plain = replace(recipe, stem_strides=None, grid_sizes=None, pool_sizes=None)
    own = task.config(plain, data)  # requested windows are for the weights' stages
    if trained is not None:
        config = tuned_config(recipe, own, trained.config)
        lines = differences(own, trained.config, config)
        if trained.image_size not in (None, recipe.image_size):
            lines.append(f"Images of {recipe.image_size} pixels; the weights were trained on {trained.image_size}.")
        return config, lines
    network = {} if state is None else state.network  # empty in old states, whose recipes hold all windows
    return tuned_config(recipe, own, HATNetConfig(**network)) if network else task.config(recipe, data), []


def _recorded(recipe: Recipe, config: HATNetConfig) -> Recipe:
    """The recipe as it is recorded: it holds from any folder, and names the network that is trained."""
    recipe = replace(recipe, data=absolute(recipe.data))
    if recipe.weights is None:
        return recipe
    return settled(replace(recipe, weights=absolute_weights(recipe.weights)), config)


def precision_of(recipe: Recipe, device: torch.device) -> torch.dtype:
    """The precision of matrix products. Raises ValueError for float16 on a CPU."""
    if recipe.precision != "auto":
        chosen: torch.dtype = getattr(torch, recipe.precision)
        if chosen is torch.float16 and device.type == "cpu":
            raise ValueError("precision='float16' is for GPUs; use float32 or bfloat16 on a CPU")
        return chosen
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
