"""Compare the two implementations: run both on the same images, and compare every named intermediate.

This is the only file of the package that imports `reference`. The tests, `hatnet verify` and `hatnet demo` use it.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hatnet.checks import require_type, require_whole
from hatnet.device import full_precision
from hatnet.former_names import former_name
from hatnet.network import HATNet
from hatnet.trace import Place

# The largest accepted distance of PyTorch from the float64 reference: max |difference| / max |reference| of any
# intermediate of a network. Each limit is about 10 to 20 times the largest value that `python -m
# tests.measure_precision` found on a CPU. The page docs/precision.md shows the errors by depth and explains the limits.
# CUDA has not been measured and uses the limits of the CPU.
TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-13,
    torch.float32: 5e-5,
    torch.float16: 1e-1,  # this and the next are only smoke tests, because most bugs cause less
    torch.bfloat16: 5e-1,
}


def to_numpy(model: nn.Module) -> dict[str, NDArray[np.float64]]:
    """Copies of the parameters of a model or layer by name, in float64, as the functions of `reference` take them.

    Raises TypeError for what is no module and for parameters that are not real floats, ValueError for those on the meta
    device, which have no values.
    """
    require_type("model", model, nn.Module, "a module of PyTorch, such as a HATNet")
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.layout != torch.strided:
            found = f"{tensor.dtype}, {tensor.layout}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"parameter {name} must be a dense tensor of real floats, got {found}")
        if tensor.is_meta:
            raise ValueError(f"parameter {name} is on the meta device and has no values; load weights first")
    return {name: tensor.detach().cpu().double().numpy().copy() for name, tensor in model.state_dict().items()}


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Fill a model with parameters, drawn from names and a seed, that hide no mistake; fresh weights hide many.

    Raises TypeError for what is no module, ValueError for a negative seed.
    """
    require_type("model", model, nn.Module, "a module of PyTorch, such as a HATNet")
    seed = require_whole("seed", seed, 0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            own_seed = zlib.crc32(former_name(name).encode())  # so that renaming a parameter keeps its numbers
            noise = np.random.default_rng([seed, own_seed]).standard_normal(parameter.shape)
            if parameter.ndim > 1:
                noise /= np.sqrt(noise[0].size)  # fan-in
            else:
                noise = 0.1 * noise + (1 if name.endswith("weight") else 0)
            parameter.copy_(torch.from_numpy(noise))


def relative_error(got: ArrayLike, want: ArrayLike) -> float:
    """max |got - want| / max |want|, the measure of every comparison; NaN if either holds NaN. Shapes must be equal.

    >>> relative_error([1.0, 2.5], [1.0, 2.0])
    0.25
    """
    if np.iscomplexobj(got) or np.iscomplexobj(want):
        raise TypeError("got and want must be real; compare real and imaginary parts one by one")
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    if got.shape != want.shape:
        raise ValueError(f"shapes differ: got {got.shape}, want {want.shape}")
    if not want.size:
        return 0.0
    difference, scale = np.abs(got - want).max(), np.abs(want).max()
    return float(difference / scale) if scale else float(difference)


@dataclass(frozen=True)
class Agreement:
    """The distance between the two implementations for one intermediate."""

    name: str  # in the trace, for instance stages.0.blocks.1.attention.local_weights
    shape: tuple[int, ...]  # for one image
    error: float  # the relative error, largest over the images
    scale: float  # max |reference|

    @property
    def place(self) -> Place:
        """The stage and block of the intermediate, and its name there."""
        return Place.parse(self.name)


def worst(agreements: Iterable[Agreement]) -> Agreement:
    """The agreement with the largest error; NaN counts as larger than any number. ValueError if there are none."""
    require_type("agreements", agreements, Iterable, "a list of agreements, from `compare`")
    agreements = list(agreements)
    for agreement in agreements:
        require_type("agreement", agreement, Agreement, "an Agreement, from `compare`")
    if not agreements:
        raise ValueError("there are no agreements: no intermediate was compared")
    return max(agreements, key=lambda agreement: math.inf if math.isnan(agreement.error) else agreement.error)


def first_difference(agreements: Iterable[Agreement], tolerance: float) -> Agreement | None:
    """The first agreement, in the order given, whose error is above `tolerance` or NaN; None if there is none."""
    return next((agreement for agreement in agreements if not agreement.error <= tolerance), None)


def by_block(agreements: Iterable[Agreement]) -> list[tuple[Place, list[Agreement]]]:
    """The agreements of each block, and those outside blocks one by one; no outputs of stages, which blocks have."""

    def block(agreement: Agreement) -> Place:
        return agreement.place if agreement.place.block is None else replace(agreement.place, name="")

    return [(place, list(members)) for place, members in groupby(agreements, key=block) if place.name != "output"]


OnIntermediate = Callable[[str], None]  # called with the name of each intermediate as soon as it is computed


def run_reference(
    model: HATNet, image: NDArray[np.float64], on_intermediate: OnIntermediate | None = None
) -> dict[str, NDArray[np.float64]]:
    """Run the reference on one image (C, H, W) with the parameters of `model`, and return its trace."""
    import reference

    trace: dict[str, NDArray[np.float64]] = _ReportingTrace(on_intermediate)
    reference.hat_net(image, to_numpy(model), model.config, trace)
    return dict(trace)


def run_model(model: HATNet, images: Tensor, on_intermediate: OnIntermediate | None = None) -> dict[str, Tensor]:
    """Run `model` in evaluation mode on a batch of images, moved to its device and dtype, and return its trace."""
    weight = next(model.parameters())
    trace: dict[str, Tensor] = _ReportingTrace(on_intermediate)
    with evaluation_mode(model), torch.inference_mode():
        model(images.to(weight.device, weight.dtype), trace)
    return dict(trace)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Run a model in evaluation mode, in its own dtype and at full precision; restore its modes afterwards."""
    training = {module: module.training for module in model.modules()}  # some modules may be frozen
    model.eval()
    try:
        with full_precision():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


class _ReportingTrace(dict):  # type: ignore[type-arg]
    """A trace that reports each intermediate when it receives it."""

    def __init__(self, on_intermediate: OnIntermediate | None) -> None:
        super().__init__()
        self.on_intermediate = on_intermediate

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, value)
        if self.on_intermediate is not None:
            self.on_intermediate(name)


def compare_traces(got: Mapping[str, Tensor], wants: list[dict[str, NDArray[np.float64]]]) -> Iterator[Agreement]:
    """Compare the trace of a batch with the reference's traces of its images; ValueError if names or shapes differ."""
    if list(got) != list(wants[0]):
        raise ValueError(f"the traces have other names: {sorted(set(got) ^ set(wants[0]))}")
    for name, batch in got.items():
        images = batch.double().cpu().numpy()
        if images.shape != (len(wants), *wants[0][name].shape):
            raise ValueError(f"{name}: shape {images.shape[1:]} against the reference's {wants[0][name].shape}")
        yield Agreement(
            name,
            images.shape[1:],
            max(relative_error(image, want[name]) for image, want in zip(images, wants, strict=True)),
            max(float(np.abs(want[name]).max()) for want in wants),
        )


def compare(model: HATNet, images: Tensor, on_intermediate: OnIntermediate | None = None) -> list[Agreement]:
    """Run both on the same images (B, C, H, W) and compare every intermediate, in the order of computation.

    The model may have any dtype and device; the reference uses its parameters in float64. `on_intermediate` is called
    with the name of each intermediate, first those of PyTorch. Raises TypeError for what is no HATNet, ValueError for a
    batch without images, and what both implementations raise.
    """
    require_type("model", model, HATNet, "a HATNet; create_model builds one")
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        found = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images must be a tensor (B, C_in, H, W) with at least one image, got {found}")
    if not images.is_floating_point():
        raise TypeError(f"images must hold floats, got {images.dtype}; scale and normalise pixel values first")
    if images.is_meta or images.layout != torch.strided:
        raise ValueError(f"images is a {images.layout} tensor on {images.device}; a dense one with data is expected")
    images = images.to(next(model.parameters()).dtype)  # so that both get the same rounded pixels
    got = run_model(model, images, on_intermediate)
    wants = [run_reference(model, image.double().cpu().numpy(), on_intermediate) for image in images]
    return list(compare_traces(got, wants))
