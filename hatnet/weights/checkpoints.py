"""Save weights as safetensors, with the configuration of the network inside, and load them again.

Reading a file never executes code from it: pickles are read with `weights_only=True`.
"""

import json
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hatnet.config import HATNetConfig
from hatnet.files import write_whole
from hatnet.former_names import current_name
from hatnet.network import HATNet, require_network, require_windows


class CheckpointError(ValueError):
    """A file or state dict does not hold the weights it should; the message lists every difference."""


def save(model: HATNet, path: str | os.PathLike[str], about: Mapping[str, object] | None = None) -> None:
    """Write the weights and the configuration of a model to one safetensors file, completely or not at all.

    `about` are facts to keep with the weights, such as the training data and the normalisation of images; anything that
    JSON can hold. The function `about` reads them. Raises CheckpointError (a ValueError) if `load` could not rebuild
    the model, for instance because its classifier was replaced. After an OSError an older file is unchanged.
    """
    require_as_configured(model)
    write(model, path, about)


def write(model: HATNet, path: str | os.PathLike[str], about: Mapping[str, object] | None = None) -> None:
    """`save` without checking that `load` can read the file: no configuration describes the networks of an ablation."""
    from safetensors.torch import save as to_bytes

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _parameters(model).items()}
    metadata = {"format": "hatnet", "version": "1", "config": json.dumps(asdict(model.config))}
    if about:
        metadata["about"] = json.dumps(about)
    write_whole(Path(path), to_bytes(tensors, metadata))


def about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts that `save` stored with the weights; empty if it was given none. Errors as in `load`.

    Training stores `data`, `classes`, `mean`, `std` (of pixels in [0, 1]), `image_size` and `recipe`.
    """
    found: dict[str, Any] = json.loads(_read_safetensors(Path(path), tensors=False)[1].get("about", "{}"))
    return found


def load(path: str | os.PathLike[str]) -> HATNet:
    """Load a file that `save` wrote: the model in evaluation mode, in the file's dtype, on the CPU.

    Raises FileNotFoundError, or CheckpointError (a ValueError) if the file is truncated or of another kind, or if
    parameters are missing or unexpected; the message lists them.
    """
    path = Path(path)
    tensors, metadata = _read_safetensors(path)
    if metadata.get("format") != "hatnet":
        raise CheckpointError(f"{path} was not written by hatnet.save; for the authors' weights use load_official")
    try:
        config = HATNetConfig(**json.loads(metadata["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds a configuration this version does not understand: {error}") from error
    require_match(tensors, shapes(config), {}, str(path))
    return assemble(config, tensors)


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Return whether `save` wrote a file. Errors as in `load`."""
    path = Path(path)
    return path.suffix == ".safetensors" and _read_safetensors(path, tensors=False)[1].get("format") == "hatnet"


def read_file(path: Path) -> Mapping[str, object]:
    """The content of a checkpoint, of PyTorch or safetensors; CheckpointError if it holds more than tensors."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)[0]
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    with path.open("rb") as file:
        first = file.read(1)
    if not (zipfile.is_zipfile(path) or first == b"\x80"):  # the formats of torch.save, new and old
        raise CheckpointError(f"{path} is truncated or no checkpoint of PyTorch")
    try:
        with warnings.catch_warnings(action="ignore"):  # about odd pickles, which are refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise CheckpointError(
            f"{path} holds more than tensors ({found[1] if found else 'Python objects'}), which could execute code "
            "while it is read, so it was not read. If you trust the file, load it yourself and pass its state dict "
            "instead of its path."
        ) from error
    except Exception as error:  # half a pickle can fail in any way, also with IndexError or AttributeError
        raise CheckpointError(f"{path} is truncated or no checkpoint of PyTorch") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state dict")
    return content


def _read_safetensors(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file under their current names (none if `tensors` is False), and its metadata."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys() if tensors else ()
            return {current_name(name): file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        hint = "; for the authors' .pth files use load_official" if path.suffix != ".safetensors" else ""
        raise CheckpointError(f"{path} is truncated or not a safetensors file{hint}") from error


def without_wrappers(name: str) -> str:
    """A parameter's name without the prefixes of data parallelism and compilation."""
    while name.startswith(("module.", "_orig_mod.")):
        name = name.partition(".")[2]
    return name


def _parameters(model: HATNet) -> dict[str, Tensor]:
    return {without_wrappers(name): tensor for name, tensor in model.state_dict().items()}


def require_as_configured(model: HATNet) -> None:
    """Raise a CheckpointError unless the model is the network that `model.config` describes."""
    require_network(model)
    require_match(_parameters(model), shapes(model.config), {}, "the model, compared with its own configuration,")
    try:
        require_windows(model)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


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
        "not floating": [name for name, tensor in tensors.items() if not tensor.is_floating_point()],
    }
    if any(problems.values()):
        lists = (f"{kind} ({len(names)}): {', '.join(names)}" for kind, names in problems.items() if names)
        raise CheckpointError(f"{source} does not fit.\n" + "\n".join(lists))
