"""Save weights as safetensors, with the configuration of the network inside, and load them again.

`hatnet/weights/tensor_file.py` has the format of the file. Reading it never executes code from it.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor

from hatnet.checks import require_type, shown
from hatnet.config import TASKS, HATNetConfig
from hatnet.files import write_whole
from hatnet.former_names import current_name
from hatnet.network import HATNet, require_network, require_windows
from hatnet.weights.facts import check_about, config_of
from hatnet.weights.tensor_file import DENSE, WEIGHTS, TensorFile, read, read_header, to_parts
from hatnet.weights.tensor_file import CheckpointError as CheckpointError

NOT_NEGATIVE = ("running_var", "num_batches_tracked")  # the ends of their names
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class DenseModel(Protocol):
    """What a file keeps of a model of `hatnet.dense`, whose classes have these methods (`hatnet/dense/model.py`)."""

    config: HATNetConfig
    task: ClassVar[str]

    def state_dict(self) -> dict[str, Any]: ...

    def facts(self) -> dict[str, Any]: ...

    def require_unchanged(self) -> dict[str, tuple[int, ...]]: ...


def save(model: HATNet | DenseModel, path: str | os.PathLike[str], about: Mapping[str, object] | None = None) -> None:
    """Write the weights and the configuration of a model to one safetensors file, completely or not at all.

    The model is one of `create_model`, of any task. `about` are facts to keep with the weights, such as the training
    data and the normalisation of images; anything that JSON can hold. The function `about` reads them. Raises
    CheckpointError (a ValueError) if `load` could not rebuild the model, for instance because its classifier was
    replaced. After an OSError an older file is unchanged.
    """
    if about is not None:
        require_type("about", about, Mapping, "a table of facts by name")
    require_as_configured(model, about)
    write(model, path, about)


def write(model: HATNet | DenseModel, path: str | os.PathLike[str], about: Mapping[str, object] | None = None) -> None:
    """`save` without checking that `load` can read the file: no configuration describes the networks of an ablation."""
    facts: dict[str, Any] = {"config": asdict(model.config)}
    if (dense := as_dense(model)) is not None:
        facts[DENSE] = dense.facts()
    write_whole(Path(path), *to_parts(WEIGHTS, facts | ({"about": dict(about)} if about else {}), _parameters(model)))


def about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts that `save` stored with the weights; empty if it was given none. Errors as in `load`.

    Training stores `data`, `classes`, `mean`, `std` (of pixels in [0, 1]), `image_size` and `recipe`.
    """
    file = read(Path(path))
    return checked_facts(file)[1] if file.kind == WEIGHTS else {}


def load(path: str | os.PathLike[str]) -> HATNet:
    """Load a file that `save` wrote: the model in evaluation mode, in the file's dtype, on the CPU.

    Raises FileNotFoundError, or CheckpointError (a ValueError) if the file is damaged, of another kind or of a newer
    version, if parameters are missing or unexpected, of several dtypes or not finite; the message lists them. Sizes are
    compared before anything is built.
    """
    return load_with_facts(path)[0]


def load_with_facts(path: str | os.PathLike[str]) -> tuple[HATNet, dict[str, Any]]:
    """What `load` and `about` return, of the file as it is at one moment."""
    file = read_weights(path)
    require_task(file, "classification")
    config, known = checked_facts(file)
    return assemble(config, tensors_of(file, shapes(config))), known


def read_weights(path: str | os.PathLike[str]) -> TensorFile:
    """Read a file of `save`, of any task. Raises CheckpointError for other files."""
    file = read(Path(path))
    if file.kind != WEIGHTS:
        raise CheckpointError(f"{path} was not written by hatnet.save; for the authors' weights use load_official")
    return file


def task_of(facts: Mapping[str, Any], path: str | os.PathLike[str]) -> str:
    """The task of the model in a file with these facts. Raises CheckpointError for an unknown one."""
    if DENSE not in facts:
        return "classification"
    dense = facts[DENSE]
    task = dense.get("task") if isinstance(dense, Mapping) else dense
    if task not in [known for known in TASKS if known != "classification"]:
        raise CheckpointError(f"{path} holds a model of an unknown task, {shown(task)}")
    return str(task)


def require_task(file: TensorFile, task: str) -> None:
    """Raise a CheckpointError, with the right call, unless a file holds a model of this task."""
    found = task_of(file.facts, file.path)
    if found == task:
        return
    right = f"hatnet.load({str(file.path)!r}" + (f", task={found!r})" if found != "classification" else ")")
    advice = f"load it with {right}"
    if found == "classification":
        advice += f", or put its weights below a new head with create_model(..., pretrained=FILE, task={task!r})"
    raise CheckpointError(f"{file.path} holds a model for {found}, not for {task}: {advice}")


def tensors_of(file: TensorFile, expected: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of a file, after checking names, shapes and values. Nothing is read before sizes are compared."""
    require_match(_without_data(file), expected, {}, str(file.path))
    tensors = file.tensors()
    require_match(tensors, expected, {}, str(file.path))
    require_numbers(tensors, str(file.path))
    return tensors


def checked_facts(file: TensorFile) -> tuple[HATNetConfig, dict[str, Any]]:
    """The configuration, and what `about` returns."""
    elements = sum(prod(shape) for shape in file.shapes.values())
    try:
        config = config_of(file.facts.get("config"), len(file.shapes), elements, task_of(file.facts, file.path))
    except ValueError as error:
        raise CheckpointError(f"{file.path} holds a configuration this version does not understand: {error}") from error
    known = file.facts.get("about", {})
    try:
        check_about(known, config)
    except ValueError as error:
        raise CheckpointError(f"{file.path} holds facts that cannot be: {error}") from error
    return config, known


def _without_data(file: TensorFile) -> dict[str, Tensor]:
    """Tensors with the shapes and dtypes in a file, but without memory."""
    dtypes = FLOATS | {"I64": torch.int64}
    return {
        current_name(name): torch.empty(shape, dtype=dtypes.get(file.dtypes[name], torch.uint8), device="meta")
        for name, shape in file.shapes.items()
    }


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Return whether `save` wrote a file, by its header. Errors as in `load`."""
    return holds_task(path) is not None


def holds_task(path: str | os.PathLike[str]) -> str | None:
    """The task of the model in a file that `save` wrote, by its header; None for other files. Errors as in `load`."""
    path = Path(path)
    kind, facts = read_header(path) if path.suffix == ".safetensors" else (None, {})
    return task_of(facts, path) if kind == WEIGHTS else None


def without_wrappers(name: str) -> str:
    """A parameter's name without the prefixes of data parallelism and compilation."""
    while name.startswith(("module.", "_orig_mod.")):
        name = name.partition(".")[2]
    return name


def as_dense(model: object) -> DenseModel | None:
    """The model if it is one of `hatnet.dense`, also compiled; None for others."""
    found: Any = model if hasattr(model, "require_unchanged") else None
    return found


def _parameters(model: HATNet | DenseModel) -> dict[str, Tensor]:
    return {without_wrappers(name): tensor for name, tensor in model.state_dict().items()}


def require_as_configured(model: HATNet | DenseModel, about: Mapping[str, object] | None = None) -> None:
    """Raise a CheckpointError unless the model is the network that `model.config` describes, and fits `about`."""
    require_network(model)
    tensors, source = _parameters(model), "the model, compared with its own configuration,"
    dense = as_dense(model)
    try:
        expected = shapes(model.config) if dense is None else dense.require_unchanged()
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"hatnet.load could not rebuild the model: {error}") from error
    require_match(tensors, expected, {}, source)
    require_numbers(tensors, "the model")
    task = "classification" if dense is None else dense.task
    try:
        if dense is None:
            require_windows(cast(HATNet, model))
        config_of(asdict(model.config), len(tensors), sum(tensor.numel() for tensor in tensors.values()), task)
        check_about(about or {}, model.config)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if dense is not None:
        _require_normalisation(dense.facts(), about or {})


def _require_normalisation(facts: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    for name in ("mean", "std"):
        if name in about and list(about[name]) != facts[name]:
            raise CheckpointError(f"{name} in about is {about[name]}, but the model normalises with {facts[name]}")


def shapes(config: HATNetConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the parameters of a HAT-Net, without allocating them."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in HATNet(config).state_dict().items()}


def assemble(config: HATNetConfig, tensors: Mapping[str, Tensor]) -> HATNet:
    """A HAT-Net, in evaluation mode, whose parameters are `tensors` themselves; it allocates no others."""
    with torch.device("meta"):
        model = HATNet(config)
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()


def require_match(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    optional: Mapping[str, tuple[int, ...]],
    source: str,
) -> None:
    """Raise a CheckpointError that lists all differences of `tensors` from `expected`; `optional` ones may be there."""
    allowed = {**optional, **expected}
    problems = {
        "missing": [name for name in expected if name not in tensors],
        "unexpected": [name for name in tensors if name not in allowed],
        "of another shape": [
            f"{name} {tuple(tensor.shape)} for {allowed[name]}"
            for name, tensor in tensors.items()
            if name in allowed and tuple(tensor.shape) != allowed[name]
        ],
        "not floating": [
            name for name, tensor in tensors.items() if not tensor.is_floating_point() and not is_counter(name)
        ],
        "not whole numbers": [
            name for name, tensor in tensors.items() if is_counter(name) and tensor.dtype != torch.int64
        ],
        "of a dtype that is not supported": [
            f"{name} {tensor.dtype}"
            for name, tensor in tensors.items()
            if tensor.is_floating_point() and not is_counter(name) and tensor.dtype not in FLOATS.values()
        ],
    }
    if any(problems.values()):
        lists = (f"{kind} ({len(names)}): {', '.join(names)}" for kind, names in problems.items() if names)
        raise CheckpointError(f"{source} does not fit.\n" + "\n".join(lists))


def is_counter(name: str) -> bool:
    """True for the counter of batch normalisation, the only tensor of whole numbers (int64) in our models."""
    return name.endswith("num_batches_tracked")


def require_numbers(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise a CheckpointError unless tensors have one dtype, memory of their own, and finite numbers only.

    Counters of batch normalisation are whole numbers in every dtype of the model.
    """
    dtypes: dict[torch.dtype, list[str]] = {}
    for name, tensor in tensors.items():
        if not is_counter(name):
            dtypes.setdefault(tensor.dtype, []).append(name)
    if len(dtypes) > 1:
        kinds = (f"{len(names)} {dtype} (such as {names[0]})" for dtype, names in dtypes.items())
        raise CheckpointError(f"{source} holds tensors of several dtypes: {', '.join(kinds)}; convert them to one")
    empty = [name for name, tensor in tensors.items() if tensor.is_meta]
    if empty:
        raise CheckpointError(f"{source} holds tensors without data, on the device meta: {', '.join(empty)}")
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        others = f" and {len(bad) - 5} others" if len(bad) > 5 else ""
        raise CheckpointError(
            f"{source} holds NaN or infinity in {', '.join(bad[:5])}{others}: a training that diverged, or numbers "
            "beyond the range of their dtype"
        )
    negative = [name for name, tensor in tensors.items() if name.endswith(NOT_NEGATIVE) and (tensor < 0).any()]
    if negative:
        raise CheckpointError(f"{source} holds variances or counts below 0: {', '.join(negative[:5])}")
