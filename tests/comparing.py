"""The comparison that all equivalence tests use; tests/core/test_comparing.py tests it."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hatnet.equivalence import TOLERANCES, Agreement, first_difference, relative_error
from tests.cases import MapCase, stack


def assert_same(got: Tensor, want: NDArray[np.float64], case: object, dtype: torch.dtype = torch.float64) -> None:
    """Assert that `got` has the given dtype and equals `want` from the reference within the dtype's tolerance."""
    assert isinstance(got, Tensor), f"got a {type(got).__name__}, not a tensor\n{case}"
    assert got.dtype == dtype, f"got {got.dtype}, want {dtype}\n{case}"
    assert want.dtype == np.float64, f"the reference must be float64, it is {want.dtype}\n{case}"
    assert tuple(got.shape) == want.shape, f"got shape {tuple(got.shape)}, want {want.shape}\n{case}"
    values = got.detach().cpu().double().numpy()
    error = relative_error(values, want)
    if not error <= TOLERANCES[dtype]:  # so that NaN fails
        worst = np.unravel_index(np.argmax(np.nan_to_num(np.abs(values - want), nan=np.inf)), want.shape)
        raise AssertionError(
            f"relative difference {error:.2e}, limit for {dtype} {TOLERANCES[dtype]:.0e}\n"
            f"at {tuple(map(int, worst))}: got {values[worst]!r}, want {want[worst]!r}\n{case}"
        )


def assert_equal(got: Mapping[str, Tensor], want: Mapping[str, Tensor]) -> None:
    """Assert that two state dicts have the same names and the same bits."""
    assert set(got) == set(want)
    for name, tensor in want.items():
        assert torch.equal(got[name], tensor), name


def assert_layer(case: MapCase, layer: nn.Module, function: Callable[..., NDArray[np.float64]]) -> None:
    """Assert that a layer with random parameters equals a function of the reference, which receives a map and them."""
    layer, params = case.filled(layer)
    maps = case.maps()
    assert_same(layer(torch.from_numpy(maps)), stack(lambda image: function(image, params), maps), case)


def assert_traces(case: MapCase, layer: nn.Module, function: Callable[..., NDArray[np.float64]]) -> None:
    """Assert that a layer and a function of the reference, `function(map, trace)`, agree on traces and results."""
    maps, trace = case.maps(), {}
    wants: list[dict[str, NDArray[np.float64]]] = [{} for _ in maps]
    result = layer(torch.from_numpy(maps), trace)
    want = np.stack([function(image, trace) for image, trace in zip(maps, wants, strict=True)])
    assert set(trace) == set(wants[0])
    for name in wants[0]:
        assert_same(trace[name], np.stack([want[name] for want in wants]), (name, case))
    assert_same(result, want, case)


def assert_agree(agreements: list[Agreement], case: object, dtype: torch.dtype = torch.float64) -> None:
    """Assert that every intermediate of a network agrees; list those up to the first that does not."""
    first = first_difference(agreements, TOLERANCES[dtype])
    if first is not None:
        rows = agreements[: agreements.index(first) + 1]
        lines = [f"  {'[DIFF]' if row is first else '[OK]  '} {row.error:8.1e}  {row.name} {row.shape}" for row in rows]
        raise AssertionError(
            f"first difference at {first.name}\n" + "\n".join(lines) + f"\n{case}\n"
            "to reproduce it: from tests.cases import *; case = the above; compare(case.model(), case.images())"
        )
