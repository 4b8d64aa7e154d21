"""Read checkpoints of PyTorch: pickles of tensors in nested dictionaries, without executing anything from them."""

import io
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hatnet.weights.tensor_file import CheckpointError, read, read_content

OBJECTS = re.compile(r"GLOBAL ([\w.]+)|unrecognized function <?([\w .]+)|instantiate[^\n]* ([\w.]+)")  # in errors


def read_file(path: Path) -> Mapping[str, object]:
    """The content of a checkpoint, of PyTorch or safetensors; CheckpointError if it holds more than dense tensors."""
    if path.suffix == ".safetensors":
        return read(path).tensors()
    content = read_content(path)
    file = io.BytesIO(content)
    if zipfile.is_zipfile(file):
        _require_stored(path, file, len(content))
    elif not content.startswith(b"\x80"):  # the older format of torch.save
        raise CheckpointError(f"{path} is truncated or no checkpoint of PyTorch; download it again")
    file.seek(0)
    try:
        with warnings.catch_warnings(action="ignore"):  # about odd pickles, which are refused below
            found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # half a pickle can fail in any way, also with IndexError or AttributeError
        objects = OBJECTS.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if objects is None:
            raise CheckpointError(f"{path} is truncated or no checkpoint of PyTorch; download it again") from error
        raise CheckpointError(
            f"{path} holds more than tensors ({objects[objects.lastindex or 0]:.100}), which could execute code "
            "while it is read, so it was not read. If you trust the file, load it yourself and pass its state dict "
            "instead of its path."
        ) from error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, not a state dict")
    return found


def _require_stored(path: Path, file: io.BytesIO, size: int) -> None:
    """Raise a CheckpointError for compressed content, which torch.save never writes, and which could fill a memory."""
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except Exception as error:  # a damaged directory can fail in many ways
        raise CheckpointError(f"{path} is truncated or no checkpoint of PyTorch; download it again") from error
    if unpacked > size:
        raise CheckpointError(f"{path} would unpack to {unpacked:,} bytes, more than its own {size:,}: refused")


def mappings(content: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every dictionary in nested ones, each once, and its keys as a path such as `model/`; of any depth."""
    waiting: list[tuple[str, Mapping[str, object]]] = [("", content)]
    seen = {id(content)}
    while waiting:
        path, mapping = waiting.pop()
        yield path, mapping
        for key, value in reversed(list(mapping.items())):
            if isinstance(value, Mapping) and id(value) not in seen:
                seen.add(id(value))
                waiting.append((f"{path}{key!s:.100}/"[-200:], value))


def require_dense(name: str, tensor: Tensor, source: str) -> None:
    """Raise a CheckpointError unless a tensor holds all of its numbers: not sparse, quantised, expanded or meta."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        kind = "quantised" if tensor.is_quantized else "without data" if tensor.is_meta else str(tensor.layout)
        raise CheckpointError(f"{source} holds the tensor {name:.100}, which is {kind}: convert it to a dense one")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise CheckpointError(
            f"{source} holds the tensor {name:.100} of shape {tuple(tensor.shape)}, which repeats "
            f"{tensor.untyped_storage().nbytes():,} bytes: make it contiguous"
        )
