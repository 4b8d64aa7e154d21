"""Counting multiply-accumulates while the code runs, in PyTorch and in NumPy."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hatnet.complexity import Cost


def torch_macs(module: torch.nn.Module, x: torch.Tensor) -> dict[str, tuple[int, int]]:
    """MACs of each submodule in a forward pass, as PyTorch counts its own kernels: (projections, attention).

    The counter misses fused attention, so attention runs as matrix products; nothing else here is a `bmm`.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        module.eval()(x)
    counts = {}
    for name, flops in counter.get_flop_counts().items():
        attention = sum(count for operator, count in flops.items() if operator is torch.ops.aten.bmm)
        projection = sum(flops.values()) - attention
        assert not projection % 2
        assert not attention % 2
        counts[name] = (projection // 2, attention // 2)  # 1 MAC is 2 FLOPs
    return counts


class Data(np.ndarray):
    """An array whose products are added to `tally`."""

    tally: Counter[str]

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        plain = [value.view(np.ndarray) if isinstance(value, Data) else value for value in inputs]
        if out:
            options["out"] = tuple(value.view(np.ndarray) for value in out)
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            has_parameters = any(isinstance(value, Parameter) for value in inputs)
            Data.tally["projection" if has_parameters else "attention"] += result.size * plain[0].shape[-1]
        elif ufunc is np.multiply and any(isinstance(value, DepthwiseKernel) for value in inputs):
            Data.tally["projection"] += result.size
        return out[0] if out else result.view(Data) if isinstance(result, np.ndarray) else result


class Parameter(Data): ...


class DepthwiseKernel(Parameter): ...


def numpy_macs(run: Callable, x: np.ndarray, params: dict[str, np.ndarray]) -> tuple[int, int]:
    """MACs of the reference, counted at each matrix product and at each tap of a depthwise kernel."""
    Data.tally = Counter()
    kinds = {name: DepthwiseKernel if name.endswith("depthwise.weight") else Parameter for name in params}
    run(x.view(Data), {name: value.view(kinds[name]) for name, value in params.items()})
    return Data.tally["projection"], Data.tally["attention"]


def macs_of(cost: Cost) -> tuple[int, int]:
    """The formula's MACs in the form of the counters: (projections, attention)."""
    return cost.projection_macs, cost.attention_macs


def count_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
