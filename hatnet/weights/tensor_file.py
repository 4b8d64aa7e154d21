"""Tensors and facts in one safetensors file with a checksum: the format of our weights and training states.

In version 2, `__metadata__` has the single key `hatnet`, because safetensors writes several keys in a random order. Its
value is JSON: the checksum, the kind of file, the version, and the facts. The checksum is the SHA-256 of the whole file
with zeros in its own place, so it covers names, shapes, dtypes, facts and padding. Version 1 had no checksum and one
key per fact. Version 3 has the same format and holds what older versions of this package cannot load: a model of a
dense task, or whole numbers, such as the counters of batch normalisation. They then ask for an update.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from hatnet.files import parse_json, read_whole
from hatnet.former_names import current_name

WEIGHTS, STATE = "hatnet", "hatnet training"  # the kinds of file
VERSION, VERSION_DENSE = "2", "3"
DENSE = "dense"  # the key of the facts of a dense model
MOST_BYTES = 2**33  # of a file; a training state of Large has 1.2e9
MOST_HEADER = 2**24  # bytes of a header; Large has 1e5
NO_CHECKSUM = "0" * 64
MARK = b'"{\\"checksum\\": '  # the start of the metadata of version 2
BYTES = {  # per element, by the dtype names of safetensors
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4,
    "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8, "C64": 8,
}  # fmt: skip
COPY = "Copy or download it again, or train again"


class CheckpointError(ValueError):
    """A file or state dict does not hold the expected weights; the message lists every difference."""


@dataclass(frozen=True)
class TensorFile:
    """The content of a file: its facts, and the shapes and dtypes of its tensors before any tensor is built."""

    path: Path
    kind: str | None  # WEIGHTS, STATE, or None for a file that this package did not write
    facts: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]  # by the names in the file
    dtypes: dict[str, str]  # as safetensors names them
    content: bytes

    def tensors(self) -> dict[str, Tensor]:
        """All tensors under their current names, on the CPU."""
        from safetensors.torch import load

        renamed = {name: current_name(name) for name in self.shapes}
        twice = [f"{name} and {new}" for name, new in renamed.items() if name != new and new in renamed]
        if twice:
            raise CheckpointError(f"{self.path} holds tensors under a former name and the current one: {twice[0]}")
        try:
            return {renamed[name]: tensor for name, tensor in load(self.content).items()}
        except Exception as error:  # safetensors raises its own errors, and KeyError for a dtype that torch lacks
            raise CheckpointError(f"{self.path} holds tensors that cannot be read: {error}") from error


def to_parts(kind: str, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> tuple[bytes, memoryview]:
    """The content of a file in two parts. Equal facts and tensors give equal bytes.

    Raises CheckpointError for facts that JSON cannot hold.
    """
    from safetensors.torch import save

    try:
        ordered = json.dumps({"kind": kind, "version": _version(facts, tensors), **facts}, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"facts to keep with tensors must be plain data, as JSON holds it: {error}") from error
    sealed = f'{{"checksum": "{NO_CHECKSUM}", {ordered[1:]}'
    content = save(_unshared(tensors), {"hatnet": sealed})
    size = 8 + int.from_bytes(content[:8], "little")
    header = content[:size].replace(NO_CHECKSUM.encode(), sha256(content).hexdigest().encode(), 1)
    return header, memoryview(content)[size:]


def _version(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """The oldest version that can hold these: older packages read all files of version 2."""
    floating = all(tensor.is_floating_point() for tensor in tensors.values())
    return VERSION if floating and DENSE not in facts else VERSION_DENSE


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous. Those of tied layers are copied: safetensors refuses shared memory."""
    found: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        ours = tensor.detach().cpu().contiguous()
        place = ours.untyped_storage().data_ptr()
        found[name] = ours.clone() if place in storages else ours
        storages.add(place)
    return found


def read(path: Path, advice: str = COPY) -> TensorFile:
    """Read a file and check its checksum, if it has one. It is read in one piece, so it cannot change in between.

    Raises FileNotFoundError, another OSError if it is not a regular file, and CheckpointError if it is damaged (with
    `advice`) or was written by a newer version.
    """
    content = read_content(path)
    with _errors_of(path, advice):
        header, start = _header(content)
        metadata = _metadata(header.pop("__metadata__", {}))
        kind = _kind(metadata, content[:start])
        facts = _facts(metadata, content, start) if kind else {}
        return TensorFile(path, kind, facts, *_entries(header, len(content) - start), content)


def read_header(path: Path) -> tuple[str | None, dict[str, Any]]:
    """The kind of a file and its facts, from its header alone, without checking them. Raises as `read` does."""
    content = read_content(path, first=8 + MOST_HEADER)
    with _errors_of(path, COPY):
        header, start = _header(content)
        metadata = _metadata(header.pop("__metadata__", {}))
        kind = _kind(metadata, content[:start])
        return kind, _parsed(metadata["hatnet"], "its metadata") if "hatnet" in metadata else {}


def read_content(path: Path, first: int = MOST_BYTES) -> bytes:
    """The bytes of a checkpoint, at most the `first` ones. Raises as `read` does."""
    try:
        return read_whole(path, MOST_BYTES, first)
    except FileNotFoundError:
        raise FileNotFoundError(f"no checkpoint file at {path}") from None
    except ValueError as error:
        raise CheckpointError(str(error)) from error


@contextmanager
def _errors_of(path: Path, advice: str) -> Iterator[None]:
    try:
        yield
    except _DamageError as error:
        hint = "" if path.suffix == ".safetensors" else "; for the authors' .pth files use load_official"
        words = f"{path} is damaged, truncated or not a safetensors file{hint}: {error}. {advice}"
        raise CheckpointError(words) from error
    except _NewerError as error:
        words = f"{path} was written by a newer version of hatnet ({error}); update the package"
        raise CheckpointError(words) from error


class _DamageError(Exception):
    """A reason why a file is damaged."""


class _NewerError(Exception):
    """A file format that this version of the package does not know."""


def _parsed(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise _DamageError(f"{what} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _DamageError(f"{what} is no JSON object")
    return found


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """The header, and the position where the data begins."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or 8 + size > len(content):
        raise _DamageError("it ends within its header")
    if size > MOST_HEADER:
        raise _DamageError(f"its header has {size:,} bytes")
    return _parsed(content[8 : 8 + size], "its header"), 8 + size


def _metadata(found: object) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise _DamageError("its metadata is no table of texts")
    return found


def _entries(header: Mapping[str, Any], size: int) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Shapes and dtypes, after checking that each tensor has the size it needs and that they fill the data."""
    shapes, dtypes, ends = {}, {}, [0]
    for name, entry in header.items():
        match entry:
            case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
                pass
            case _:
                raise _DamageError(f"its entry of {name[:100]!r} is incomplete")
        if any(type(length) is not int or not 0 <= length < 2**40 for length in shape):
            raise _DamageError(f"{name[:100]!r} has the shape {shape!r:.100}")
        if end - begin != prod(shape) * BYTES.get(dtype, 0) and dtype in BYTES:
            raise _DamageError(f"{name[:100]!r} has {end - begin} bytes for its shape {tuple(shape)}")
        shapes[name], dtypes[name] = tuple(shape), dtype
        ends.append(end)
    if max(ends) != size:
        raise _DamageError(f"its tensors take {max(ends):,} bytes, but there are {size:,}")
    return shapes, dtypes


def _kind(metadata: dict[str, str], header: bytes) -> str | None:
    if "hatnet" in metadata:
        kind = _parsed(metadata["hatnet"], "its metadata").get("kind")
        return kind if isinstance(kind, str) else "unknown"
    if MARK in header:  # the key was "hatnet" when the file was written
        raise _DamageError("its metadata has lost its name")
    kind = metadata.get("format")
    return kind if kind in (WEIGHTS, STATE) else None


def _facts(metadata: dict[str, str], content: bytes, start: int) -> dict[str, Any]:
    """The facts of a file, after checking its checksum."""
    if "hatnet" in metadata:
        facts = _parsed(metadata["hatnet"], "its metadata")
        _require_checksum(facts.pop("checksum", None), content, start)
        kind, version = facts.pop("kind", None), facts.pop("version", None)
        if version not in (VERSION, VERSION_DENSE) or kind not in (WEIGHTS, STATE):
            raise _NewerError(f"{kind!r:.50}, version {version!r:.50}")
        return facts
    if metadata.get("version", "1") != "1":
        raise _NewerError(f"version {metadata['version']!r:.50}")
    texts = {key: text for key, text in metadata.items() if key in ("config", "about", "recipe", "state")}
    return {key: _parsed(text, f"its {key}") for key, text in texts.items()}


def _require_checksum(found: object, content: bytes, start: int) -> None:
    if not isinstance(found, str) or len(found) != len(NO_CHECKSUM):
        raise _DamageError("it has lost its checksum")
    digest = sha256(content[:start].replace(found.encode(errors="replace"), NO_CHECKSUM.encode(), 1))
    digest.update(memoryview(content)[start:])
    if digest.hexdigest() != found:
        raise _DamageError("its content does not fit its checksum")
