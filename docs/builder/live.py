"""Data of the live pages: sources of the reference, weights, and what PyTorch computed from the bundled images."""

import base64
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from mkdocs.structure.files import File
from safetensors.torch import save_file
from torch import Tensor

import hatnet
from builder.fingerprint import changed, fingerprint, remember
from builder.lab_record import lab_record
from builder.live_changes import EDITS
from builder.maps import SHOWN, first_mistake
from builder.pyodide import lock_of_numpy, pyodide_files
from hatnet.data import ImageTensor, open_data
from hatnet.weights.source import Source, find_source

SAMPLES = 400  # entries kept of each intermediate, at even distances
INPUTS = ["reference/**/*.py", "hatnet/**/*.py", "hatnet/assets/*", "docs/live/*.py", "docs/builder/l*.py"]


def make_live(root: Path, folder: Path) -> None:
    """Write the data of the live pages, unless they are up to date.

    Args:
        root: the checkout.
        folder: where to write; it is created if needed.
    """
    current = fingerprint(root, INPUTS)
    if changed(folder, "live", current):
        folder.mkdir(parents=True, exist_ok=True)
        write_live(root, folder)
        remember(folder, "live", current)


def write_live(root: Path, folder: Path) -> None:
    """Write what the pages load: three JSON files, and `weights.safetensors` and `kept.safetensors`."""
    source = find_source("fashion-mnist")
    names, pixels = bundled_images(source)
    model = source.model
    hatnet.save(model, folder / "weights.safetensors")
    inputs = (pixels.double() / 255 - source.mean[0]) / source.std[0]
    traces = [_trace(model, image[None]) for image in inputs]
    kept = dict(entry for name, trace in zip(names, traces, strict=True) for entry in kept_figures(name, trace))
    save_file(kept, folder / "kept.safetensors", {"names": json.dumps(in_order(traces[0]))})
    sources = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted((root / "reference").rglob("*.py"))
    }
    facts = {
        "classes": source.classes, "normalisation": [source.mean[0], source.std[0]],
        "heads": [stage.heads for stage in model.config.stages], "depths": model.config.depths,
        "images": [
            {"name": name, "pixels": base64.b64encode(image.numpy().tobytes()).decode(),
             "logits": trace["logits"].flatten().tolist()}
            for name, image, trace in zip(names, pixels, traces, strict=True)
        ],
        "edits": [asdict(edit) for edit in EDITS],
    }  # fmt: skip
    for name, content in (("live", facts), ("reference", sources), ("bug-lab", lab_record(sources))):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def bundled_images(source: Source) -> tuple[list[str], Tensor]:
    """Names and bytes, (N, 1, 28, 28), of the test images that the explorers show too."""
    data = open_data("fashion-subset")
    assert isinstance(data.test, ImageTensor)
    pixels, labels = data.test.pixels, data.test.labels
    chosen = [int(torch.nonzero(labels == data.classes.index(name))[0]) for name in SHOWN]
    return [*SHOWN, "a mistake"], pixels[[*chosen, first_mistake(source, pixels.double() / 255, labels)]]


def _trace(model: hatnet.HATNet, image: Tensor) -> dict[str, Tensor]:
    trace: dict[str, Tensor] = {}
    with torch.inference_mode():
        model.double().eval()(image, trace)
    model.float()
    return {name: value[0] for name, value in trace.items()}


def in_order(names: Iterable[str]) -> list[str]:
    """The names of a trace in the order of computation. H-MHSA records its maps together, at its end."""
    steps = ("local_weights", "local", "merged", "global_weights", "global")
    ordered = list(names)
    blocks = [name.removesuffix(".local_weights") for name in ordered if name.endswith(".local_weights")]
    for block in blocks:
        first = ordered.index(f"{block}.local_weights")
        ordered[first : first + len(steps)] = [f"{block}.{step}" for step in steps]
    return ordered


def kept_figures(image: str, trace: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Some entries of each intermediate, by `image/name`, and by `image/name@` its largest entry and their distance.

    The distance shares no factor with the number of channels, so that all of them are sampled.
    """
    for name, value in trace.items():
        step = math.ceil(value.numel() / SAMPLES)
        while math.gcd(step, value.shape[-1]) > 1:
            step += 1
        yield f"{image}/{name}", value.flatten()[::step].clone()
        yield f"{image}/{name}@", torch.tensor([float(value.abs().max()), step], dtype=torch.float64)


def live_files(config: Any) -> list[File]:
    """Pyodide and NumPy as files of the site, and `pyodide/files.json`, which lists them and their sizes."""
    found, files = pyodide_files(), []
    sizes = {}
    for name, path in found.items():
        if name == "pyodide-lock.json":
            lock = lock_of_numpy(path.read_text(encoding="utf-8"))
            files.append(File.generated(config, f"pyodide/{name}", content=lock))
            sizes[name] = len(lock.encode())
        else:
            files.append(File.generated(config, f"pyodide/{name}", abs_src_path=str(path)))
            sizes[name] = path.stat().st_size
    files.append(File.generated(config, "pyodide/files.json", content=json.dumps(sizes)))
    return files
