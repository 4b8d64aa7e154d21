"""The pyramid and the head of Semantic FPN once more, in plain NumPy on maps (H, W, C), to compare with."""

import numpy as np

import reference


def convolution(x, params, name):
    """A convolution of 1x1 or 3x3 by its parameters' name; without a bias if it has none."""
    weight = params[f"{name}.weight"]
    return reference.conv2d(x, weight, params.get(f"{name}.bias", np.zeros(len(weight))))


def nearest(x, size):
    """Each place of the larger map shows the place of the smaller map that it lies in."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, x.shape, strict=False))
    return x[rows][:, columns]


def weights_of_bilinear(old, new):
    """(new, old): row i holds the shares of the two places next to the centre of i, which lies at (i + 1/2) old / new.

    Centres before the first place or behind the last take that one.
    """
    matrix = np.zeros((new, old))
    for i in range(new):
        at = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
        low = int(at)
        high = min(low + 1, old - 1)
        matrix[i, low] += 1 - (at - low)
        matrix[i, high] += at - low
    return matrix


def bilinear(x, size):
    rows, columns = (weights_of_bilinear(old, new) for old, new in zip(x.shape[:2], size, strict=True))
    return np.einsum("ih,hwc,jw->ijc", rows, x, columns)


def pyramid(maps, params):
    """Feature pyramid: add the doubled coarser map to each map, then mix 3x3 neighbours."""
    inner = [convolution(x, params, f"inner_blocks.{level}.0") for level, x in enumerate(maps)]
    for level in reversed(range(len(maps) - 1)):
        inner[level] = inner[level] + nearest(inner[level + 1], inner[level].shape[:2])
    return [convolution(x, params, f"layer_blocks.{level}.0") for level, x in enumerate(inner)]


def batch_norm(x, params, name):
    """In evaluation mode, with the statistics of training."""
    scale = params[f"{name}.weight"] / np.sqrt(params[f"{name}.running_var"] + 1e-5)
    return (x - params[f"{name}.running_mean"]) * scale + params[f"{name}.bias"]


def semantic_fpn(maps, params):
    """Logits (H / s, W / s, classes) from the maps of a pyramid, the finest first."""
    total = 0.0
    for level, x in enumerate(maps):
        for step in range(max(level, 1)):
            name = f"levels.{level}.{step}"
            x = np.maximum(batch_norm(convolution(x, params, f"{name}.0"), params, f"{name}.1"), 0)
            if level:
                x = bilinear(x, maps[level - step - 1].shape[:2])
        total = total + x
    return convolution(total, params, "classifier")
