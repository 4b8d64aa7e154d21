"""Weights in files: safetensors with the configuration inside, written whole or not at all.

Nothing here ever executes what a file says: pickles are read with `weights_only=True`.
"""

from __future__ import annotations

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
from hatnet.network import HATNet, require_windows


class CheckpointError(ValueError):
    """A file or state dict does not hold what it should; the message lists how."""


def save(model: HATNet, path: str | os.PathLike[str], about: Mapping[str, object] | None = None) -> None:
    """Write weights and configuration to one safetensors file, whole or not at all.

    Args:
        model: what to write.
        path: where to.
        about: what else is to be known of the weights, as JSON can hold it: what they were trained on, and how images
            are normalised for them. `about` reads it.

    Raises:
        CheckpointError: (a ValueError) if the model is no longer the network that its configuration describes, with
            another classifier for instance, so that `load` could not make it again.
        OSError: if the file can't be written; an older file at `path` is then still there.
    """
    require_as_configured(model)
    write(model, path, about)


def write(model: HATNet, path: str | os.PathLike[str], about: Mapping[str, object] | None = None) -> None:
    """`save` without asking whether `load` can read it: the networks of an ablation fit no configuration."""
    from safetensors.torch import save as to_bytes

    tensors = {bare(name): tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"format": "hatnet", "version": "1", "config": json.dumps(asdict(model.config))}
    if about:
        metadata["about"] = json.dumps(about)
    write_whole(Path(path), to_bytes(tensors, metadata))


def about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `save` was told about the weights in a file; empty where it was told nothing.

    For weights that were trained here: `data`, `classes`, `mean`, `std` (of pixels in [0, 1]), `image_size`, `recipe`.

    Raises:
        FileNotFoundError, CheckpointError: if there is no such file, or it is damaged.
    """
    found: dict[str, Any] = json.loads(_read_safetensors(Path(path), tensors=False)[1].get("about", "{}"))
    return found


def load(path: str | os.PathLike[str]) -> HATNet:
    """Load what `save` wrote: the model in evaluation mode, in the file's dtype, on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: (a ValueError) if it is truncated or not such a file; what is missing or unexpected is listed.
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


def weights_file(path: Path) -> Path:
    """A file of weights as it is; of the folder of a run, that of the last epoch."""
    return path / "last.safetensors" if path.is_dir() else path


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one that `save` wrote.

    Raises:
        FileNotFoundError, CheckpointError: if there is no such file, or it is a truncated one.
    """
    path = Path(path)
    return path.suffix == ".safetensors" and _read_safetensors(path, tensors=False)[1].get("format") == "hatnet"


def read_file(path: Path) -> Mapping[str, object]:
    """What a checkpoint file holds, executing nothing."""
    if path.suffix == ".safetensors":
        return _read_safetensors(path)[0]
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint file at {path}")
    with path.open("rb") as file:
        first = file.read(1)
    if not (zipfile.is_zipfile(path) or first == b"\x80"):  # what torch.save writes, now and long ago
        raise CheckpointError(f"{path} is truncated or no checkpoint of PyTorch")
    try:
        with warnings.catch_warnings(action="ignore"):  # of odd pickles, which are refused in a moment
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise CheckpointError(
            f"{path} holds more than tensors ({found[1] if found else 'Python objects'}), which could execute code "
            "while it is read, so it was not read. Where you trust the file, load it yourself and pass its state dict "
            "instead of its path."
        ) from error
    except Exception as error:  # half a pickle fails in any way, IndexError and AttributeError included
        raise CheckpointError(f"{path} is truncated or no checkpoint of PyTorch") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not a state dict")
    return content


def _read_safetensors(path: Path, tensors: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, none of them where they are not asked for, and what it says about them."""
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


def bare(name: str) -> str:
    """A parameter's name without what data parallelism and compilation put before it."""
    while name.startswith(("module.", "_orig_mod.")):
        name = name.partition(".")[2]
    return name


def require_as_configured(model: HATNet) -> None:
    """Raise a CheckpointError unless the model is the network that `model.config` describes."""
    require_match({bare(name): tensor for name, tensor in model.state_dict().items()}, shapes(model.config), {},
                  "the model, held against its own configuration,")  # fmt: skip
    try:
        require_windows(model)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def shapes(config: HATNetConfig) -> dict[str, tuple[int, ...]]:
    """Our parameter names and shapes, without making a parameter."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in HATNet(config).state_dict().items()}


def assemble(config: HATNetConfig, tensors: Mapping[str, Tensor]) -> HATNet:
    """The network around given tensors, without making others first."""
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
    """Raise a CheckpointError that lists everything that differs."""
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
