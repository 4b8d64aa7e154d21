"""Everything that is checked before work starts, and the network and data that training starts with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from hatnet.data import Split, fingerprint, leave_out
from hatnet.data.transforms import require_fit
from hatnet.network import HATNet
from hatnet.training.distributed import Processes
from hatnet.training.initial_weights import Build, description, load_trained, random_network
from hatnet.training.recipes import Recipe, to_json
from hatnet.training.resuming import State, find_state, require_same
from hatnet.training.run_folder import RunFolder
from hatnet.training.sampling import BatchSampler
from hatnet.training.seeds import derive
from hatnet.weights.pretrained import weights_file

Clean = Callable[[Split], Split] | None  # leaves out files that cannot be read


@dataclass(frozen=True)
class Start:
    """Data, network and state that a training starts or resumes with."""

    data: Split  # without unreadable files; a resumed run leaves out the same files as at its start
    fingerprint: dict[str, int | str]
    sampler: BatchSampler
    precision: torch.dtype
    model: HATNet
    new_classifier: bool
    started_from: dict[str, Any]  # description of the weights that it started from
    state: State | None  # to resume from


def prepare(
    recipe: Recipe, data: Split, folder: RunFolder, processes: Processes, build: Build, resume: bool, clean: Clean
) -> Start:
    """Check all that `Training` was given, in order of cost: what needs no image, then all files, then their sizes."""
    state = find_state(folder, recipe, resume)
    if state is not None:
        data = leave_out(data, state.left_out)  # files that have gone bad since are left to the loop
    BatchSampler.of(recipe, len(data.train)).share(processes.size)
    if processes.differ(0 if state is None else state.step):  # before a process waits for the others in vain
        raise ValueError(
            f"not all processes see the state in {folder.path}: it must lie on a disk that all machines share"
        )
    precision = precision_of(recipe, processes.device)
    model = random_network(recipe, folder.task.config(recipe, data), build)
    if state is not None:
        require_same(folder.state, "network", state.network, json.loads(json.dumps(vars(model.config))))
    new_classifier, started_from = True, {} if state is None else state.origin
    if recipe.weights is not None and state is None:
        weights = weights_file(recipe.weights)
        new_classifier, started_from = not load_trained(model, weights, data.classes), description(weights)
    if clean is not None and state is None:
        data = clean(data)
    found = fingerprint(data)
    if state is not None:
        require_same(folder.state, "data set", state.data, found, "; images that have gone must be put back first")
    require_fit(recipe, data)
    if processes.differ(derive(0, json.dumps(to_json(recipe)), json.dumps(found))):
        raise ValueError("not all processes were given the same recipe and see the same images and labels")
    sampler = BatchSampler.of(recipe, len(data.train))
    return Start(data, found, sampler, precision, model, new_classifier, started_from, state)


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
