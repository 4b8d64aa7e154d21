"""The bug lab: the reference with a planted bug beside the reference without it, on a small map.

The site's builder runs this over a grid of sizes, and the page runs it in the browser, with the same code.
"""

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HEADS, C, G2 = 2, 6, 2
LAYERS = {"local_attention.qkv": 3 * C, "global_attention.q": C, "global_attention.kv": 2 * C, "projection": C}
NORMS = ("norm", "local_norm", "merge.norm")
WEIGHTS = ("unit", "fresh")


def case(H: int, W: int, weights: str) -> tuple[Array, dict[str, Array]]:
    """A map of normal numbers, (H, W, C), and parameters.

    With `unit` weights, a matrix neither enlarges nor shrinks its input, and norms and biases are random, as in the
    tests. With `fresh` weights, matrices have the standard deviation 0.02 and biases are zero, as before training.
    """
    rng = np.random.default_rng(0)
    scale = C**-0.5 if weights == "unit" else 0.02
    params: dict[str, Array] = {}
    for name, rows in LAYERS.items():
        params[f"{name}.weight"] = scale * rng.standard_normal((rows, C))
        params[f"{name}.bias"] = (weights == "unit") * rng.standard_normal(rows)
    for name in NORMS:
        params[f"{name}.weight"] = 1 + (weights == "unit") * 0.3 * rng.standard_normal(C)
        params[f"{name}.bias"] = (weights == "unit") * rng.standard_normal(C)
    return rng.standard_normal((H, W, C)), params


def output(package: ModuleType, H: int, W: int, G1: int, weights: str) -> Array:
    """Attention with its residual connection, as in a block: H-MHSA(X) + X, (H, W, C)."""
    x, params = case(H, W, weights)
    result: Array = package.h_mhsa(x, params, HEADS, G1, G2) + x
    return result


def departure(right: Array, wrong: Array) -> float:
    """max |wrong - right| / max |right|."""
    return float(np.abs(wrong - right).max() / np.abs(right).max())


def local(package: ModuleType, H: int, W: int, G1: int) -> Array:
    """The result of the windows alone, A1 of Eq. 8, one row per token, (HW, C)."""
    x, params = case(H, W, "unit")
    normed = package.group_norm(x, params["norm.weight"], params["norm.bias"])
    own = {name: value for name, value in params.items() if name.startswith("local_attention.")}
    A1: Array = package.local_attention(normed, own, HEADS, G1)
    return A1.reshape(-1, C)


def landing(right: Array, wrong: Array) -> list[int]:
    """For each place, the number of the token whose local result is found there; -1 if no token has this result."""
    apart = np.abs(wrong[:, None] - right[None]).max(axis=2) / np.abs(right).max()  # (HW, HW)
    own = np.arange(len(right))
    nearest = np.where(apart[own, own] < 1e-9, own, apart.argmin(axis=1))
    return [int(token) if apart[place, token] < 1e-9 else -1 for place, token in enumerate(nearest)]


def compare(right: ModuleType, wrong: ModuleType, H: int, W: int, G1: int, weights: str) -> dict[str, Any]:
    """How far a bug moves the output, and where it puts the tokens."""
    outputs = (output(package, H, W, G1, weights) for package in (right, wrong))
    return {
        "departure": departure(*outputs),
        "landing": landing(*(local(package, H, W, G1) for package in (right, wrong))),
    }
