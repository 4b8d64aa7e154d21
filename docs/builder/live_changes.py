"""Changes of the reference that the live pages offer: edits to try, and planted bugs.

A change is {file, old, new}; `old` is in its file exactly once, so that a change of the reference that breaks one stops
the build.
"""

from dataclasses import dataclass

H_MHSA, ATTENTION, LAYERS = (f"reference/{name}.py" for name in ("hierarchical_attention", "attention", "layers"))
Change = dict[str, str]


def change(file: str, old: str, new: str) -> Change:
    """One replacement in one file."""
    return {"file": file, "old": old, "new": new}


@dataclass(frozen=True)
class Edit:
    """An edit that the page suggests."""

    title: str
    change: Change


@dataclass(frozen=True)
class Bug:
    """A planted bug, written as changes of the reference.

    Attributes:
        patch: its file in tests/planted_bugs.
        title: a few words.
        about: one or two sentences: what the code does wrong.
        clue: at which sizes it shows; the page tells it after the prediction.
        changes: in `reference/`.
    """

    patch: str
    title: str
    about: str
    clue: str
    changes: tuple[Change, ...]


NO_ROOT = change(ATTENTION, "softmax(Q @ K.T / np.sqrt(d))", "softmax(Q @ K.T)")

EDITS = (
    Edit("Leave out the root", NO_ROOT),
    Edit(
        "Swap the windows' axes",
        change(H_MHSA, "attended.reshape(m, n, C)  # Eq. 8", "attended.reshape(n, m, C).transpose(1, 0, 2)  # Eq. 8"),
    ),
    Edit("Merge by the maximum", change(LAYERS, "cell.mean(axis=(0, 1))", "cell.max(axis=(0, 1))")),
    Edit(
        "Drop the residual of Eq. 9",
        change(
            H_MHSA,
            'group_norm(A1 + x, **within(params, "local_norm"))',
            'group_norm(A1, **within(params, "local_norm"))',
        ),
    ),
    Edit("Round the constant of the norm", change(LAYERS, "eps = 1e-6 ", "eps = 1e-5 ")),
)

BUGS = (
    Bug(
        "attention-missing-scale-1-sqrt-d", "Missing root",
        "The scores are not divided by √d, so softmax is too sharp.",
        "A window of one token has one weight, 1, whatever the score. The far half still has several keys.",
        (NO_ROOT,),
    ),
    Bug(
        "reference-softmax-over-the-wrong-axis-in-the-reference", "Softmax over the wrong axis",
        "The weights of a key sum to one over the queries, instead of those of a query over the keys.",
        "Nothing hides it: every softmax with more than one key is wrong.",
        (change(ATTENTION, "e / e.sum(axis=1, keepdims=True)", "e / e.sum(axis=0, keepdims=True)"),),
    ),
    Bug(
        "layers-eps-1e-5-instead-of-1e-6", "eps ten times too large",
        "Normalisation adds 10⁻⁵ to the variance instead of 10⁻⁶.",
        "It changes every number a little, never much.",
        (change(LAYERS, "eps = 1e-6 ", "eps = 1e-5 "),),
    ),
    Bug(
        "hierarchical-attention-rows-and-columns-of-windows-exchanged-when-put-back", "Windows put back wrongly",
        "Rows and columns of windows are exchanged when the windows are put back, so tokens land in the wrong place.",
        "With a single row or a single column of windows there is nothing to exchange.",
        (
            change(
                H_MHSA, "        A1[window] = attended.reshape(m, n, C)  # Eq. 8\n",
                "        down, right = (row * columns + column) % rows, (row * columns + column) // rows\n"
                "        place = A1[down * G1 :, right * G1 :][:G1, :G1]\n"
                "        place[:] = 0  # where a smaller window lands in a larger one\n"
                "        place[:m, :n] = attended.reshape(m, n, C)[: len(place), : place.shape[1]]\n",
            ),
        ),
    ),
    Bug(
        "hierarchical-attention-no-mask-so-that-padding-is-attended-to", "No mask",
        "Windows cut by the border are filled with zeros, and tokens attend to the zeros too.",
        "Where the windows divide the map there is no padding.",
        (
            change(
                H_MHSA, "        tokens = x[window]  # (<= G1, <= G1, C)  Eq. 6\n",
                "        there = x[window].shape\n"
                "        tokens = np.pad(x[window], ((0, g - there[0]), (0, h - there[1]), (0, 0)))\n",
            ),
            change(
                H_MHSA, "        A1[window] = attended.reshape(m, n, C)  # Eq. 8\n",
                "        A1[window] = attended.reshape(m, n, C)[: there[0], : there[1]]\n",
            ),
        ),
    ),
    Bug(
        "layers-pooling-counts-padding", "Pooling counts padding",
        "A cell cut by the border is divided by the size of a full cell, as if it held zeros.",
        "Where the cells divide the map (G2 is 2 here), no cell is cut.",
        (change(LAYERS, "cell.mean(axis=(0, 1))", "cell.sum(axis=(0, 1)) / G2**2"),),
    ),
)  # fmt: skip
