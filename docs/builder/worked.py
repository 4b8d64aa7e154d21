"""`@worked-attention`, `@worked-local` and so on: one tiny example, three tokens with two channels, through all steps.

Every number is computed by `reference` when a page is read. Normalisations (D1, D2, D3) and biases (D4) are left out,
there is one head, and W^p is the identity, so that a reader can follow with pencil and paper.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from reference.attention import multi_head_attention
from reference.attention_maps import local_matrix, pooling_matrix
from reference.hierarchical_attention import aggregate, global_attention, local_attention
from reference.layers import average_pool
from reference.names import Array, Params

TIMES, PRIME = "\N{MULTIPLICATION SIGN}", "\N{PRIME}"
X = np.array([[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])  # a map of 1 x 3 tokens with 2 channels
G1 = G2 = 2
Wq, Wk, Wv = np.array([[[1.0, 2.0], [2.0, 0.0]], [[2.0, 0.0], [-1.0, 1.0]], [[2.0, 0.0], [0.0, 2.0]]])
W2q, SAME = np.array([[1.0, -1.0], [-1.0, 1.0]]), np.eye(2)  # W2k, W2v and W^p are the identity

PARAMS: Params = {
    "local_attention.qkv.weight": np.hstack([Wq, Wk, Wv]).T,
    "local_attention.qkv.bias": np.zeros(6),
    "global_attention.q.weight": W2q.T,
    "global_attention.q.bias": np.zeros(2),
    "global_attention.kv.weight": np.hstack([SAME, SAME]).T,
    "global_attention.kv.bias": np.zeros(4),
    "projection.weight": SAME,
    "projection.bias": np.zeros(2),
}


class Matrix(NamedTuple):
    """One matrix of a picture: its name in HTML, its numbers, and what it shows."""

    name: str
    numbers: Array
    kind: str = ""  # both, near or far: weights, shaded in that colour
    rows: str = "token"  # what a row stands for: token or cell


def steps() -> dict[str, list[Matrix | str]]:
    """The picture of each step: matrices, and the signs between them."""
    tokens = X.reshape(3, 2)
    Q, K, V = tokens @ Wq, tokens @ Wk, tokens @ Wv
    A, weights = multi_head_attention(Q, K, V, heads=1)
    trace: dict[str, Array] = {}
    inside = local_attention(X, PARAMS, heads=1, G1=G1, trace=trace)
    A1 = inside + X
    merged = average_pool(A1, G2)
    A2 = global_attention(A1, merged, PARAMS, heads=1, trace=trace)
    near = local_matrix(trace["local_weights"][:, :, 0], (1, 3), G1)
    near[np.kron(np.eye(2), np.ones((G1, G1)))[:3, :3] == 0] = np.nan  # outside the window: no weight at all
    cells = Matrix("<i>Â</i><sub>1</sub>", merged[0], rows="cell")
    one, two = Matrix("<i>A</i><sub>1</sub>", A1[0]), Matrix("<i>A</i><sub>2</sub>", A2[0])
    means = np.where(pooling_matrix((1, 3), G2) == 0, np.nan, pooling_matrix((1, 3), G2))
    return {
        "attention": [Matrix("weights", weights[0], "both"), TIMES, Matrix("<i>V</i>", V), "=", Matrix("<i>A</i>", A)],
        "local": [
            *(Matrix("weights", near, "near"), TIMES, Matrix("<i>V</i><sub>1</sub>", V), "+"),
            *(Matrix("<i>X</i>", tokens), "=", one),
        ],
        "merging": [Matrix("means", means, "far", rows="cell"), TIMES, one, "=", cells],
        "global": [
            *(Matrix("weights", trace["global_weights"][0], "far"), TIMES),
            *(Matrix("<i>V</i><sub>2</sub> = <i>Â</i><sub>1</sub>", merged[0], rows="cell"), "=", two),
        ],
        "aggregation": [
            *(one, "+", two, "+", Matrix("<i>X</i>", tokens), "="),
            Matrix(f"<i>A</i>{PRIME}", aggregate(A1, A2, PARAMS)[0] + tokens),
        ],
    }


def worked(step: str) -> list[str]:
    """The picture of one step, as lines of HTML without an empty one."""
    parts = [f"<span class='sign'>{part}</span>" if isinstance(part, str) else _table(part) for part in steps()[step]]
    return ['<div class="worked">', *parts, "</div>"]


def _table(matrix: Matrix) -> str:
    rows = "".join(
        f'<tr><th scope="row">{label}</th>{"".join(_cells(row, matrix.kind))}</tr>'
        for label, row in zip(_labels(matrix), matrix.numbers, strict=True)
    )
    return f'<table class="matrix {matrix.kind}"><caption>{matrix.name}</caption><tbody>{rows}</tbody></table>'


def _labels(matrix: Matrix) -> list[str]:
    """Tokens have the marks that they have in the widget; a cell has those of its tokens."""
    return ["●", "■", "▲"] if matrix.rows == "token" else ["●■", "▲"]


def _cells(row: Array, kind: str) -> Iterator[str]:
    for number in row:
        if np.isnan(number):
            yield '<td class="none"><span class="spoken">none</span></td>'
        else:
            share = f' style="--share: {number:.3f}"' if kind else ""
            yield f"<td{share}>{number:.{3 if kind else 2}f}</td>"
