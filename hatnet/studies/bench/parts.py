"""The time of each part of a HAT-Net inside the running network, from PyTorch's profiler.

A part is a place and a kind of work, such as `stage 0 mlp: matrices`. The profiler gives the time of every operation;
marks around the modules give its place, and its name gives its kind. So the network runs as it is, and any forward pass
can be divided, also one that fuses layers.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from hatnet.network import Block, HATNet, HATStage
from hatnet.studies.bench.runner import Step, timed

MARK = "part "  # before the place in the profiler's events
REPEATS = 3
MATRICES = ("mm", "addmm", "bmm", "baddbmm", "linear", "_linear_pointwise", "_addmm_activation")
PRODUCTS = ("scaled_dot_product", "attention_forward")  # the latter computes on a GPU, inside the former
CONVOLUTIONS = ("convolution", "conv_depthwise")
NORMS = ("native_layer_norm", "native_group_norm", "addcmul", "addcmul_", "var_mean", "rsqrt", "rsqrt_")


def part_times(network: nn.Module, step: Step) -> dict[str, float]:
    """Seconds per step of each part. They add up to the time of a step outside the profiler."""
    assert isinstance(network, HATNet)
    device = next(network.parameters()).device
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with _marked(network), profile(activities=activities, acc_events=True) as profiler:
        for _ in range(REPEATS):
            step()
    shares: Counter[str] = Counter()
    for event in profiler.events() or ():
        spent = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        place = _place(event)
        if device.type == "cuda" and event.name.startswith(MARK):
            continue  # it has the time of the kernels inside, which are counted by themselves
        if place and spent > 0:
            shares[f"{place}: {kind(event.name, place)}"] += spent
    whole = min(timed(step) for _ in range(REPEATS))
    return {part: float(f"{whole * share / shares.total():.5g}") for part, share in shares.items()}


def kind(operation: str, place: str) -> str:
    """The kind of work of one of PyTorch's operations at a place.

    >>> kind("aten::addmm", "stage 0 mlp"), kind("aten::silu_", "stage 0 mlp"), kind("aten::copy_", "stem")
    ('matrices', 'SiLU and depthwise', 'convolutions')
    """
    if place == "stem" or place.endswith("downsample"):
        return "convolutions"  # with their norm and SiLU
    name = operation.rpartition("::")[2]
    attends = place.endswith("attention")
    if attends and (any(part in name for part in PRODUCTS) or name in ("bmm", "_softmax")):
        return "products"
    if name in MATRICES:
        return "matrices"
    if name in NORMS:
        return "norms"
    if place.endswith("mlp") and (name in ("silu", "silu_") or any(part in name for part in CONVOLUTIONS)):
        return "SiLU and depthwise"
    return "the rest"


@contextmanager
def _marked(network: HATNet) -> Iterator[None]:
    """Let the profiler record where each module begins and ends.

    Hooks would do so too, but lean inference computes whole maps where a hook could see pieces.
    """
    found = {id(module): place for place, module in places(network)}
    kinds = {type(module) for _, module in places(network)}
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(patch.object(kind, "forward", _marking(kind.forward, found)))
        yield


def _marking(forward: Callable[..., Any], found: Mapping[int, str]) -> Callable[..., Any]:
    """`forward` of a class, which marks the modules that have a place."""

    def marked(module: nn.Module, *args: Any, **more: Any) -> Any:
        if id(module) not in found:
            return forward(module, *args, **more)
        with record_function(MARK + found[id(module)]):
            return forward(module, *args, **more)

    return marked


def places(network: HATNet) -> Iterator[tuple[str, nn.Module]]:
    """The modules whose time is taken apart, and the place that each belongs to."""
    yield from (("network", network), ("stem", network.stem))
    for index, stage in enumerate(network.stages):
        assert isinstance(stage, HATStage)
        yield f"stage {index}", stage
        if stage.downsample is not None:
            yield f"stage {index} downsample", stage.downsample
        for block in stage.blocks:
            assert isinstance(block, Block)
            yield from ((f"stage {index} attention", block.attention), (f"stage {index} mlp", block.mlp))


def _place(event: Any) -> str:
    """The innermost place around an event of the profiler; empty outside the network."""
    while event is not None:
        if event.name.startswith(MARK):
            return event.name.removeprefix(MARK)
        event = event.cpu_parent
    return ""
