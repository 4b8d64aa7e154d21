"""The paper's fifteen equations as printed, for the traceability page.

Docstrings and the concept pages write some of them together or in narrow columns, so they keep LaTeX of their own.
"""

from typing import NamedTuple


class Equation(NamedTuple):
    """One equation of the paper."""

    subject: str
    latex: str
    home: tuple[str, ...]  # the files that define it, in both packages
    not_in_numpy: str = ""  # the reason, if no line of the reference needs its tag


PLAIN, HIERARCHICAL, BLOCK, COST = "attention", "hierarchical_attention", "network", "complexity/attention"


COUNT = "It counts multiplications, which no line of the network does; `hatnet.complexity` counts them, in integers."

EQUATIONS: dict[int, Equation] = {
    1: Equation("Queries, keys and values", r"Q = X W^q, \quad K = X W^k, \quad V = X W^v", (PLAIN,)),
    2: Equation("Attention", r"A = \operatorname{Softmax}(Q K^T / \sqrt{d})\, V", (PLAIN,)),
    3: Equation("Output projection and residual", r"A' = A W^p + X", (PLAIN, BLOCK)),
    4: Equation("MLP and residual", r"Y = \operatorname{MLP}(A') + A'", (BLOCK,)),
    5: Equation(
        "Cost of plain attention",
        r"\Omega(\text{MHSA}) = 3 H W C^2 + 2 H^2 W^2 C",
        (COST,),
        not_in_numpy=COUNT,
    ),
    6: Equation(
        "Windows",
        r"X \in \mathbb{R}^{H \times W \times C} \to X_1 \in \mathbb{R}^{(\frac{H}{G_1} \cdot \frac{W}{G_1}) "
        r"\times (G_1 \cdot G_1) \times C}",
        (HIERARCHICAL,),
    ),
    7: Equation(
        "Local queries, keys and values",
        r"Q_1 = X_1 W_1^q, \quad K_1 = X_1 W_1^k, \quad V_1 = X_1 W_1^v",
        (HIERARCHICAL,),
    ),
    8: Equation("Windows back to a map", r"A_1 \to \mathbb{R}^{H \times W \times C}", (HIERARCHICAL,)),
    9: Equation("Local residual", r"A_1 \gets A_1 + X", (HIERARCHICAL,)),
    10: Equation("Merging", r"\hat A_1 = \operatorname{AvePool}_{G_2}(A_1)", (HIERARCHICAL,)),
    11: Equation(
        "Maps to rows of tokens",
        r"A_1 \to \mathbb{R}^{(H \cdot W) \times C}, \quad "
        r"\hat A_1 \to \mathbb{R}^{(\frac{H}{G_2} \cdot \frac{W}{G_2}) \times C}",
        (HIERARCHICAL,),
    ),
    12: Equation(
        "Global queries, keys and values",
        r"Q_2 = A_1 W_2^q, \quad K_2 = \hat A_1 W_2^k, \quad V_2 = \hat A_1 W_2^v",
        (HIERARCHICAL,),
    ),
    13: Equation("Rows of tokens back to a map", r"A_2 \to \mathbb{R}^{H \times W \times C}", (HIERARCHICAL,)),
    14: Equation("Aggregation", r"\operatorname{H-MHSA}(X) = (A_1 + A_2) W^p + X", (HIERARCHICAL, BLOCK)),
    15: Equation(
        "Cost of hierarchical attention",
        r"\Omega(\text{H-MHSA}) = H W C\,(4 C + 2 G_1^2) + 2 \frac{H W}{G_2^2} C\,(C + H W)",
        (COST,),
        not_in_numpy=COUNT,
    ),
}
