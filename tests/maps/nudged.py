"""Central differences of the NumPy reference with respect to attention weights: it cannot take gradients itself."""

from unittest import mock

import numpy as np
import pytest

import reference

STEP = 1e-5


def assert_slopes(found, score, size, window):
    """Each gradient of `found`, {name: (weights, gradient)}, against the slope of `score()` along a random direction.

    `score` runs the reference once. `size` and `window` give the map and G1 of a stage.
    """
    attend = reference.hierarchical_attention.multi_head_attention
    nudge, direction, call = {}, np.random.default_rng(0), 0  # which call, along what, how far

    def nudged(Q, K, V, heads):
        A, weights = attend(Q, K, V, heads)
        nudge["call"] += 1
        if nudge["call"] == nudge["at"]:
            of_heads = zip(nudge["along"], np.split(V, heads, axis=1), strict=True)
            A += nudge["by"] * np.hstack([along @ values for along, values in of_heads])
        return A, weights

    with (
        mock.patch.object(reference.hierarchical_attention, "multi_head_attention", nudged),
        mock.patch.object(reference.attention, "multi_head_attention", nudged),
    ):
        for name, (_, gradient) in found.items():
            for place, slope in by_call(name, gradient[0].numpy(), size, window):
                call += 1
                along = direction.standard_normal(slope.shape)
                difference = 0
                for by in (STEP, -STEP):
                    nudge.update(call=0, at=call, along=along, by=by)
                    difference += score() / (2 * by)
                # the error of a central difference of step 1e-5 is of the order 1e-10, rounding 1e-16 / 1e-5 more
                assert difference == pytest.approx((slope * along).sum(), rel=1e-6, abs=1e-9), (name, place)


def by_call(name, gradient, size, window):
    """The gradient of each call of attention, (heads, N, M): windows lose the padding at the border."""
    if not name.endswith("local_weights"):
        yield None, gradient
        return
    stage = int(name.split(".")[1])
    (H, W), G1 = size(stage), window(stage)
    g, h = min(G1, H), min(G1, W)
    for row, column, place in reference.windows(H, W, G1):
        m, n = np.zeros((H, W))[place].shape
        slope = gradient[row, column].reshape(-1, g, h, g, h)[:, :m, :n, :m, :n]
        yield (row, column), slope.reshape(-1, m * n, m * n)
