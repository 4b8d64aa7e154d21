"""The Python side of the live pages: it runs `reference/`, as it is or edited, inside the reader's browser.

Python in a browser has no files and no PyTorch, so the page hands over texts and bytes: the sources of `reference/`,
the weights, and what PyTorch computed from the same images when the site was built. The tests run this file in CPython.
"""

import importlib.abc
import importlib.machinery
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
TYPES = {"F32": "<f4", "F64": "<f8"}
MODULES = ("reference", "reference.attention_maps")  # the second is not imported by the first


def read_safetensors(content: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """Arrays in float64 and metadata. The format is a length, a JSON header, and raw numbers: nothing is executed."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(content[start:end], TYPES[entry["dtype"]])
        arrays[name] = values.reshape(entry["shape"]).astype(np.float64)
    return arrays, metadata


def to_config(fields: Mapping[str, Any]) -> SimpleNamespace:
    """The fields of a variant that `reference.hat_net` reads, from those of a `HATNetConfig`."""
    depths, heads = fields["depths"], [C // fields["head_dim"] for C in fields["channels"]]
    grids, pools = [*fields["grid_sizes"], None], [*fields["pool_sizes"], None]  # the last stage attends to all tokens
    stages = tuple(
        SimpleNamespace(depth=depth, heads=count, grid_size=G1, pool_size=G2)
        for depth, count, G1, G2 in zip(depths, heads, grids, pools, strict=True)
    )
    strides = tuple(fields["stem_strides"])
    smallest = int(np.prod(strides)) * 2 ** (len(stages) - 1)
    return SimpleNamespace(
        in_channels=fields["in_channels"], min_image_size=smallest, stem_strides=strides, stages=stages
    )


class Sources(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports `reference` from texts by path, such as `reference/layers.py`."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = texts

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        """The place of a module among the texts; None for other modules."""
        package = f"{fullname.replace('.', '/')}/__init__.py"
        module = f"{fullname.replace('.', '/')}.py"
        if package not in self.texts and module not in self.texts:
            return None
        origin = package if package in self.texts else module
        return importlib.machinery.ModuleSpec(fullname, self, origin=origin, is_package=origin == package)

    def get_source(self, fullname: str) -> str:
        """The text of a module."""
        return self.texts[self.find_spec(fullname).origin]

    def get_code(self, fullname: str) -> Any:
        """The code of a module, whose errors name the path of the text."""
        return compile(self.get_source(fullname), self.find_spec(fullname).origin, "exec", dont_inherit=True)


def load_reference(texts: Mapping[str, str]) -> ModuleType:
    """Import the package from these texts. Another `reference` that is imported already stays as it is."""
    with _without_reference():
        finder = Sources(texts)
        sys.meta_path.insert(0, finder)
        try:
            for name in MODULES:
                importlib.import_module(name)
            return sys.modules["reference"]
        finally:
            sys.meta_path.remove(finder)


@contextmanager
def _without_reference() -> Iterator[None]:
    def own() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] == "reference"]

    before = {name: sys.modules.pop(name) for name in own()}
    try:
        yield
    finally:
        for name in own():
            del sys.modules[name]
        sys.modules.update(before)


def edited(texts: Mapping[str, str], changes: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The texts after some replacements {file, old, new}; ValueError if `old` is not there exactly once."""
    result = dict(texts)
    for change in changes:
        found = result[change["file"]].count(change["old"])
        if found != 1:
            raise ValueError(f"{change['file']} has the text to replace {found} times, not once: {change['old']}")
        result[change["file"]] = result[change["file"]].replace(change["old"], change["new"])
    return result


class Progress(dict[str, Array]):
    """A trace that reports each intermediate as it is recorded."""

    def __init__(self, report: Callable[[str, int], object]) -> None:
        super().__init__()
        self.report = report

    def __setitem__(self, name: str, value: Array) -> None:
        super().__setitem__(name, value)
        self.report(name, len(self))


class Live:
    """One network, and the latest forward pass of the reference."""

    def __init__(self, texts: Mapping[str, str], weights: bytes, kept: bytes, normalisation: Sequence[float]) -> None:
        self.texts = dict(texts)
        self.params, metadata = read_safetensors(weights)
        self.config = to_config(json.loads(metadata["hatnet"])["config"])
        self.kept, about = read_safetensors(kept)
        self.names: list[str] = json.loads(about["names"])  # in the order of computation, which the format loses
        self.mean, self.std = normalisation
        self.original = self.package = load_reference(texts)
        self.trace: dict[str, Array] = {}

    def run(
        self, pixels: Sequence[int], image: str, report: Callable[[str, int], object], texts: Mapping[str, str] | None
    ) -> dict[str, Any]:
        """Classify a grey picture of 28 x 28 bytes with the reference, or with edited `texts` of it.

        Returns:
            `logits`, `probabilities`, `seconds`, `departures` (see `departures`) and `against`, what they are compared
            with: PyTorch for a bundled `image`, the unchanged reference for other pictures.
        """
        side = round(len(pixels) ** 0.5)
        values = (np.array(pixels, np.float64).reshape(1, side, side) / 255 - self.mean) / self.std
        self.package = load_reference(texts) if texts is not None else self.original
        start, trace = time.perf_counter(), Progress(report)
        logits = self.package.hat_net(values, self.params, self.config, trace)
        seconds = time.perf_counter() - start
        self.trace = trace
        departures, against = self.compare(trace, image), "PyTorch"
        if texts is not None and not departures:
            right: dict[str, Array] = {}
            self.original.hat_net(values, self.params, self.config, right)
            departures = [row(name, trace.get(name), right[name]) for name in self.names]
            against = "the unchanged reference"
        shares = np.exp(logits - logits.max())
        return {
            "logits": logits.tolist(), "probabilities": (shares / shares.sum()).tolist(), "seconds": seconds,
            "departures": departures, "against": against if departures else "",
        }  # fmt: skip

    def compare(self, trace: Mapping[str, Array], image: str) -> list[dict[str, Any]]:
        """One row per intermediate that PyTorch's figures of a bundled image hold, in the order of computation."""
        found = []
        for name in self.names if f"{image}/logits" in self.kept else ():
            large, step = self.kept[f"{image}/{name}@"]
            ours = trace[name].ravel()[:: int(step)] if name in trace else None
            found.append(row(name, ours, self.kept[f"{image}/{name}"], large))
        return found

    def attention(self, stage: int, block: int, head: int, query: int) -> dict[str, Any]:
        """The weights of one query in the latest run: near as a map of its tokens, far as a map of cells."""
        name, sizes = f"stages.{stage}.blocks.{block}", self.config.stages[stage]
        H, W, _ = self.trace[f"{name}.output"].shape
        maps = self.package.attention_maps
        if sizes.grid_size is None:
            far = self.trace[f"{name}.attention.weights"][head, query].reshape(H, W)
            return {"size": [H, W], "near": None, "far": far.tolist(), "cell": 1}
        weights = self.trace[f"{name}.attention.local_weights"][:, :, head]
        near = maps.local_matrix(weights, (H, W), sizes.grid_size)[query].reshape(H, W)
        cells = self.trace[f"{name}.attention.global_weights"][head, query]
        rows = -(-H // sizes.pool_size)
        return {
            "size": [H, W], "near": near.tolist(), "far": cells.reshape(rows, -1).tolist(), "cell": sizes.pool_size
        }  # fmt: skip


def row(name: str, ours: Array | None, theirs: Array, large: float | None = None) -> dict[str, Any]:
    """The difference of one intermediate, relative to its largest entry; None if shapes differ or it is missing."""
    large = float(np.abs(theirs).max()) if large is None else float(large)
    error = None
    if ours is not None and ours.size == theirs.size:
        error = float(np.abs(ours.ravel() - theirs.ravel()).max() / large)
    return {"name": name, "error": error}


def explain(error: BaseException) -> dict[str, Any]:
    """An error in edited code, with the file and line of the reference where it happened."""
    if isinstance(error, SyntaxError) and error.filename:
        return {"message": f"{type(error).__name__}: {error.msg}", "file": error.filename, "line": error.lineno}
    frames: list[traceback.FrameSummary] = []
    cause: BaseException | None = error
    while cause is not None:  # `reference.checks` raises some errors again, with the name of the function
        frames += [each for each in traceback.extract_tb(cause.__traceback__) if each.filename.startswith("reference/")]
        cause = cause.__context__
    places = [each for each in frames if not each.filename.endswith("checks.py")] or frames
    last = places[-1] if places else None
    return {
        "message": f"{type(error).__name__}: {error}", "file": last and last.filename, "line": last and last.lineno
    }  # fmt: skip
