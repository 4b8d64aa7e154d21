"""Measure the rounding errors of every precision, by depth, for `docs/measurements/precision.json`.

`python -m tests.measure_precision` writes that record. With `cuda FILE` it measures a GPU; with `cpu FILE --quick` it
takes seconds. The record has two parts. `noise` is the distance of PyTorch from the reference in every intermediate of
the five variants, from which `hatnet.equivalence.TOLERANCES` follows. `runs` is the relative L2 error of every block,
forward and backward, against the same network in float64. The processes share the cores; the whole takes about half an
hour on two.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from datetime import date
from itertools import chain, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import reference
from hatnet import VARIANTS, HATNet, create_model
from hatnet.data.sources import fashion_subset
from hatnet.device import full_precision
from hatnet.equivalence import TOLERANCES, compare, randomise, to_numpy
from hatnet.files import write_whole
from hatnet.studies.common.machine import machine_details
from tests.tf32 import emulated_tf32

FOLDER = Path(__file__).parents[1] / "docs" / "measurements"
SEEDS = range(3)
LOSS_SCALE = 1024.0
MOST_PROCESSES = 8  # each takes half a GiB of a GPU
Found = tuple[float, str, tuple[int, int], int, str]  # an error, and where it was found


@dataclass(frozen=True)
class Format:
    """A way to compute: the dtype of weights, pixels and activations, and what changes that."""

    dtype: torch.dtype
    tf32: bool = False  # products of float32 in TF32
    autocast: torch.dtype | None = None  # products in this dtype, the rest in float32
    loss_scale: float = 1.0  # multiplies the loss, so that small gradients do not become zero


FORMATS = {
    "float64": Format(torch.float64),
    "float32": Format(torch.float32),
    "TF32": Format(torch.float32, tf32=True),
    "float16": Format(torch.float16, loss_scale=LOSS_SCALE),
    "float16, loss not scaled": Format(torch.float16),
    "bfloat16": Format(torch.bfloat16),
    "float16 by autocast": Format(torch.float32, autocast=torch.float16, loss_scale=LOSS_SCALE),
    "bfloat16 by autocast": Format(torch.float32, autocast=torch.bfloat16),
}


@dataclass(frozen=True)
class Blocks:
    """Tensors of one pass, one entry per block in the order of the network."""

    output: list[Tensor]
    gradient: list[Tensor]  # of the loss with respect to the block's output
    parameters: list[Tensor]  # gradients of all of the block's parameters, one vector
    logits: list[Tensor]  # one entry


def blocks(model: HATNet) -> list[tuple[str, torch.nn.Module]]:
    """The blocks of all stages in order, with their names."""
    return [
        (f"stages.{s}.blocks.{b}", block)
        for s, stage in enumerate(model.stages)
        for b, block in enumerate(stage.blocks)
    ]


@contextmanager
def computing(how: Format, device: str) -> Iterator[None]:
    """Compute as the format says; TF32 is real on CUDA and emulated elsewhere."""
    with ExitStack() as stack:
        stack.enter_context(full_precision())
        if how.tf32 and device == "cuda":  # full_precision restores both
            torch.backends.cudnn.conv.fp32_precision = "tf32"
            torch.backends.cuda.matmul.allow_tf32 = True  # set by its newer name alone, PyTorch refuses to read it
            stack.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", False)
        elif how.tf32:
            stack.enter_context(emulated_tf32())
        if how.autocast:
            stack.enter_context(torch.autocast(device, how.autocast))
        yield


def run(model: HATNet, images: Tensor, labels: Tensor, how: Format) -> Blocks:
    """One forward and backward pass of the cross entropy, which itself is computed in float64.

    Model and images (B, C_in, H, W) must have the format's dtype. Gradients are divided by the loss scale in float64.
    """
    outputs: list[Tensor] = []
    hooks = [block.register_forward_hook(lambda _m, _i, output: outputs.append(output)) for _, block in blocks(model)]
    members = [list(block.parameters()) for _, block in blocks(model)]
    with computing(how, images.device.type):
        logits = model(images)
        for hook in hooks:
            hook.remove()
        loss = how.loss_scale * F.cross_entropy(logits.double(), labels)
        found = torch.autograd.grad(loss, [*outputs, *chain.from_iterable(members)])
    gradients = iter(gradient.double() / how.loss_scale for gradient in found)
    at_outputs = [next(gradients) for _ in outputs]
    at_parameters = [torch.cat([next(gradients).flatten() for _ in group]) for group in members]
    return Blocks([output.detach() for output in outputs], at_outputs, at_parameters, [logits.detach()])


def relative_l2(got: Tensor, want: Tensor) -> float:
    """|got - want| / |want| with Euclidean norms over all entries; NaN or infinity if `got` holds either."""
    difference, scale = (torch.linalg.vector_norm(x) for x in (got.double() - want.double(), want.double()))
    return float(difference / scale)


def errors(got: Blocks, want: Blocks) -> dict[str, list[float | None]]:
    """The relative L2 error of each block; None instead of NaN and infinity, which JSON does not have."""
    found: dict[str, list[float | None]] = {}
    for name, ours in vars(got).items():
        values = [relative_l2(*pair) for pair in zip(ours, getattr(want, name), strict=True)]
        found[name] = [float(f"{value:.4g}") if np.isfinite(value) else None for value in values]
    return found


def lost(got: Blocks, want: Blocks) -> dict[str, list[float]]:
    """Fraction of each block's parameter gradients that became zero, and number that became infinite or NaN."""
    pairs = list(zip(got.parameters, want.parameters, strict=True))
    zeros = [float(((ours == 0) & (true != 0)).double().mean()) for ours, true in pairs]
    return {
        "zero": [float(f"{part:.3g}") for part in zeros],
        "infinite": [int((~o.isfinite()).sum()) for o, _ in pairs],
    }


@dataclass(frozen=True)
class Cell:
    """One network and one batch."""

    variant: str
    weights: str  # random (as in the tests), fresh (as training starts) or trained
    size: int  # of the square images, in pixels
    batch: int
    seed: int

    def model(self) -> HATNet:
        """The network with float32 weights."""
        if self.weights == "trained":
            return create_model(self.variant, pretrained="fashion-mnist").eval()
        torch.manual_seed(self.seed)
        model = create_model(self.variant, **({"in_channels": 1} if self.variant == "micro" else {}))
        if self.weights == "random":
            randomise(model, self.seed)
        return model.eval()

    def data(self, model: HATNet) -> tuple[Tensor, Tensor]:
        """Images in float32 and labels: clothes of Fashion-MNIST for micro, else normal noise and random classes."""
        generator, classes = np.random.default_rng(self.seed), model.config.num_classes
        if self.variant == "micro":
            split = fashion_subset(Path(), download=False)
            chosen = torch.from_numpy(generator.choice(len(split.test.labels), self.batch, replace=False))
            pixels = split.test.pixels[chosen].float() / 255
            return (pixels - split.mean[0]) / split.std[0], split.test.labels[chosen]
        images = generator.standard_normal((self.batch, model.config.in_channels, self.size, self.size))
        return torch.from_numpy(images).float(), torch.from_numpy(generator.integers(0, classes, self.batch))


CELLS = [
    *(Cell(variant, "random", 224, 1, seed) for variant in ("large", "medium", "small", "tiny") for seed in SEEDS),
    *(Cell("tiny", "fresh", 224, 1, seed) for seed in SEEDS),
    *(Cell("micro", weights, 28, 8, seed) for weights in ("random", "fresh", "trained") for seed in SEEDS),
]


def measure(cell: Cell, device: str = "cpu") -> list[dict[str, Any]]:
    """The errors of every format on one cell, twice: `same` on numbers rounded beforehand, `all` with that rounding.

    For `same`, the float64 network has the weights and pixels that the format has, so that only its arithmetic differs.
    For `all` it has those of float32. `float64` itself is compared with the reference for the first seed.
    """
    torch.set_num_threads(1)
    model = cell.model()
    images, labels = cell.data(model)
    truths: dict[torch.dtype, Blocks] = {}
    rows = []
    for name, how in FORMATS.items():
        rounded = cast(model, how.dtype)
        if how.dtype not in truths:
            truths[how.dtype] = run(
                cast(rounded, torch.float64), images.to(how.dtype).double(), labels, FORMATS["float64"]
            )
        row: dict[str, Any] = asdict(cell) | {"format": name}
        if name == "float64":
            row["reference"] = against_reference(truths[how.dtype], model, images, labels) if cell.seed == 0 else None
        else:
            got = run(rounded.to(device), images.to(device, how.dtype), labels.to(device), how)
            got = Blocks(*([x.cpu() for x in tensors] for tensors in vars(got).values()))
            row |= {"same": errors(got, truths[how.dtype]), "all": errors(got, truths[torch.float64])}
            row |= lost(got, truths[how.dtype])
        rows.append(row)
        print(*asdict(cell).values(), name, file=sys.stderr, flush=True)
    return rows


def cast(model: HATNet, dtype: torch.dtype) -> HATNet:
    """A copy of a network in another dtype."""
    return deepcopy(model).to(dtype)


def against_reference(got: Blocks, model: HATNet, images: Tensor, labels: Tensor) -> dict[str, list[float | None]]:
    """Relative L2 error of float64 in PyTorch against the reference: outputs, and gradients of all parameters."""
    params, names = to_numpy(model), [name for name, _ in blocks(model)]
    outputs: list[list[Tensor]] = [[] for _ in names]
    logits = []
    sums = [torch.zeros_like(gradient) for gradient in got.parameters]
    for image, label in zip(images.double().numpy(), labels.tolist(), strict=True):
        trace: dict[str, Any] = {}
        logits.append(torch.from_numpy(reference.hat_net(image, params, model.config, trace)))
        _, of_params, _ = reference.gradients(image, label, params, model.config)
        for index, name in enumerate(names):
            own = [of_params[key].ravel() for key in of_params if key.startswith(f"{name}.")]
            outputs[index].append(torch.from_numpy(trace[f"{name}.output"]))
            sums[index] += torch.from_numpy(np.concatenate(own)) / len(images)  # the loss is the mean of the batch
    want = Blocks([torch.stack(maps) for maps in outputs], got.gradient, sums, [torch.stack(logits)])
    return {name: values for name, values in errors(got, want).items() if name != "gradient"}


def noise(variant: str, size: tuple[int, int], seed: int, device: str = "cpu") -> dict[torch.dtype, list[Found]]:
    """Max |difference| / max |reference| of every intermediate of one network, for each dtype of TOLERANCES."""
    torch.set_num_threads(1)
    found: dict[torch.dtype, list[Found]] = {}
    for dtype in TOLERANCES:
        model = create_model(variant)
        randomise(model, seed)
        image = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, 3, *size)))
        rows = compare(model.to(device, dtype), image)
        found[dtype] = [(row.error, variant, size, seed, row.name) for row in rows]
        print("noise", variant, size, seed, dtype, file=sys.stderr, flush=True)
    return found


def noise_rows(parts: Sequence[dict[torch.dtype, list[Found]]]) -> list[dict[str, Any]]:
    """The median and the largest error of each dtype, and where the largest one is."""
    rows = []
    for dtype in TOLERANCES:
        members = [entry for part in parts for entry in part[dtype]]
        median, (largest, variant, size, seed, name) = np.median([row[0] for row in members]), max(members)
        rows.append({
            "dtype": str(dtype).removeprefix("torch."), "median": float(f"{median:.3g}"),
            "largest": float(f"{largest:.3g}"), "variant": variant, "size": size, "seed": seed, "name": name,
        })  # fmt: skip
    return rows


def main(device: str = "cpu", out: Path = FOLDER / "precision.json", quick: bool = False) -> None:
    """Measure everything and write the record, with one process per core, at most `MOST_PROCESSES` of them."""
    networks = [*product(VARIANTS, ((64, 64), (75, 106)), SEEDS)]
    cells = CELLS
    if quick:
        networks, cells = [("micro", (64, 64), 0)], [Cell("micro", "random", 28, 1, 0)]
    workers = min(os.cpu_count() or 1, MOST_PROCESSES, len(networks) + len(cells))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        parts = [pool.submit(noise, *network, device) for network in reversed(networks)]  # the slowest first
        runs = list(chain.from_iterable(pool.map(measure, cells, [device] * len(cells))))
        record = {
            "kind": "tests.measure_precision", "date": str(date.today()),
            "machine": machine_details(device) | {"numpy": np.__version__}, "loss_scale": LOSS_SCALE,
            "noise": noise_rows([part.result() for part in reversed(parts)]), "runs": runs,
        }  # fmt: skip
    write_whole(out, as_lines(record).encode())
    print(out)


def as_lines(record: dict[str, Any]) -> str:
    """The record as JSON, with one run per line."""
    parts = []
    for name, value in record.items():
        lines = ",\n  ".join(json.dumps(entry, allow_nan=False) for entry in value) if isinstance(value, list) else ""
        parts.append(f' "{name}": ' + (f"[\n  {lines}\n ]" if lines else json.dumps(value, allow_nan=False)))
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--quick"]
    main(*words[:1], *map(Path, words[1:]), quick="--quick" in sys.argv)
