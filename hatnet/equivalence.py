"""Two implementations, one network: run both on the same images and compare every named intermediate.

The only file that knows both worlds. The tests, `hatnet verify` and `hatnet demo` are built on it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hatnet.device import full_precision
from hatnet.former_names import former_name

if TYPE_CHECKING:
    from hatnet.network import HATNet

# How far PyTorch may be from the float64 reference, as max |difference| / max |reference| of any intermediate of a
# network. The limit is the largest value that `python -m tests.measure_noise` saw on a CPU (a Xeon at 2.8 GHz, torch
# 2.13.0, 2026-11-21), times 10 to 20. On CUDA nothing has been measured yet: the limits are those of the CPU.
TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-13,  # 7.9e-15 seen, median 1.4e-15
    torch.float32: 5e-5,  # 3.0e-6 seen, median 6.6e-7
    torch.bfloat16: 5e-1,  # 4.8e-2 seen, median 1.1e-2: a smoke test, most bugs cost less
}


def to_numpy(model: nn.Module) -> dict[str, NDArray[np.float64]]:
    """Copies of all parameters of a model (or of one of its layers) by name, in float64: what `reference` takes.

    >>> import hatnet
    >>> to_numpy(hatnet.create_model("tiny"))["stages.0.blocks.0.attention.local_attention.qkv.weight"].shape
    (144, 48)
    """
    return {name: tensor.detach().cpu().double().numpy().copy() for name, tensor in model.state_dict().items()}


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Fill a model with parameters that hide no mistake: fan-in scaled weights, random norms and biases.

    With fresh weights (small, biases 0, norms 1 and 0) branches are tiny and many bugs cost less than rounding in
    float32. Every parameter is drawn from its name and the seed alone, so it does not depend on the others.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = np.random.default_rng([seed, zlib.crc32(former_name(name).encode())]).standard_normal(
                parameter.shape
            )
            if parameter.ndim > 1:
                noise /= np.sqrt(noise[0].size)  # fan-in
            else:
                noise = 0.1 * noise + (1 if name.endswith("weight") else 0)
            parameter.copy_(torch.from_numpy(noise))


def relative_error(got: ArrayLike, want: ArrayLike) -> float:
    """max |got - want| / max |want|, the metric of every comparison; NaN where either holds NaN.

    Raises:
        ValueError: if the shapes differ.

    >>> relative_error([1.0, 2.5], [1.0, 2.0])
    0.25
    """
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    if got.shape != want.shape:
        raise ValueError(f"shapes differ: got {got.shape}, want {want.shape}")
    if not want.size:
        return 0.0
    difference, scale = np.abs(got - want).max(), np.abs(want).max()
    return float(difference / scale) if scale else float(difference)


@dataclass(frozen=True)
class Agreement:
    """How well the two implementations agree on one intermediate."""

    name: str  # as in the trace, for instance stages.0.blocks.1.attention.local_weights
    shape: tuple[int, ...]  # for one image
    error: float  # the relative error, largest over the images
    scale: float  # max |reference|

    @property
    def stage(self) -> int | None:
        """The stage it belongs to, counted from 0; None for the stem and the logits."""
        parts = self.name.split(".")
        return int(parts[1]) if parts[0] == "stages" else None

    @property
    def block(self) -> int | None:
        """The block within the stage, counted from 0; None outside blocks."""
        parts = self.name.split(".")
        return int(parts[3]) if len(parts) > 3 and parts[2] == "blocks" else None

    @property
    def what(self) -> str:
        """Its name within its block or stage: attention.local_weights, downsampled, logits."""
        parts = self.name.split(".")
        return ".".join(parts[4:] if self.block is not None else parts[2:] if self.stage is not None else parts)


def worst(agreements: Iterable[Agreement]) -> Agreement:
    """The one with the largest error, NaN being larger than all."""
    return max(agreements, key=lambda agreement: math.inf if math.isnan(agreement.error) else agreement.error)


def first_difference(agreements: Iterable[Agreement], tolerance: float) -> Agreement | None:
    """The first in the order of computation whose error is above `tolerance` or NaN; None where they all agree."""
    return next((agreement for agreement in agreements if not agreement.error <= tolerance), None)


Progress = Callable[[str], None]


def run_reference(
    model: HATNet, image: NDArray[np.float64], progress: Progress | None = None
) -> dict[str, NDArray[np.float64]]:
    """The reference's trace for one image (C, H, W), with the parameters of `model`."""
    import reference

    trace: dict[str, NDArray[np.float64]] = _Watched(progress)
    reference.hat_net(image, to_numpy(model), model.config, trace)
    return dict(trace)


def run_model(model: HATNet, images: Tensor, progress: Progress | None = None) -> dict[str, Tensor]:
    """The trace of `model` in evaluation mode for a batch of images, which are moved to its device and dtype."""
    weight = next(model.parameters())
    trace: dict[str, Tensor] = _Watched(progress)
    with as_tested(model), torch.inference_mode():
        model(images.to(weight.device, weight.dtype), trace)
    return dict(trace)


@contextmanager
def as_tested(model: HATNet) -> Iterator[None]:
    """The model in evaluation mode, computing in its own dtype with all digits; as it was before, afterwards."""
    training = {module: module.training for module in model.modules()}  # of each, as parts of it may be frozen
    model.eval()
    try:
        with full_precision():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


class _Watched(dict):  # type: ignore[type-arg]
    """A trace that says what it receives."""

    def __init__(self, progress: Progress | None) -> None:
        super().__init__()
        self.progress = progress

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, value)
        if self.progress is not None:
            self.progress(name)


def compare_traces(got: Mapping[str, Tensor], wants: list[dict[str, NDArray[np.float64]]]) -> Iterator[Agreement]:
    """Hold a batched trace against the reference's traces of its images, in the order of computation.

    Raises:
        ValueError: if a name or a shape is not the same on both sides.
    """
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


def compare(model: HATNet, images: Tensor, progress: Progress | None = None) -> list[Agreement]:
    """Run both implementations on `images` (B, C, H, W) and compare every intermediate.

    Args:
        model: in any dtype, on any device; the reference uses its parameters in float64.
        images: floats, finite.
        progress: called with the name of each intermediate as it is computed, by PyTorch first.

    Returns:
        One entry an intermediate, in the order of computation.
    """
    images = images.to(next(model.parameters()).dtype)  # so that both see the same rounded pixels
    got = run_model(model, images, progress)
    wants = [run_reference(model, image.double().cpu().numpy(), progress) for image in images]
    return list(compare_traces(got, wants))
