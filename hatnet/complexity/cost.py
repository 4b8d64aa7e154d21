"""What a computation costs: multiply-accumulates, term by term, and parameters.

A MAC is one multiplication with its addition, and two FLOP; papers on vision models, this one included, print MACs and
call them FLOPs. What is multiplied by a matrix or a kernel, and the two products of attention, are MACs. Biases, norms,
activations, softmax, pooling and residuals are not: together they are a few operations an element, where a projection
is C of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """MACs of one image by the name of the term, in the order of computation, and the parameters.

    >>> cost = Cost({"Wq Wk Wv": 300, "Q K^T": 50, "softmax V": 50, "Wp": 100}, parameters=40)
    >>> cost.projection_macs, cost.attention_macs, cost.total_macs
    (400, 100, 500)
    """

    macs: dict[str, int]
    parameters: int

    @property
    def attention_macs(self) -> int:
        """Products with data on both sides: Q K^T, and the softmax times V. Many counters do not see them."""
        return sum(count for term, count in self.macs.items() if is_attention(term))

    @property
    def projection_macs(self) -> int:
        """Products with parameters on one side: projections, convolutions, the classifier."""
        return sum(count for term, count in self.macs.items() if not is_attention(term))

    @property
    def total_macs(self) -> int:
        """Both."""
        return sum(self.macs.values())


def is_attention(term: str) -> bool:
    """Whether a term has data on both sides.

    >>> [is_attention(term) for term in ("W1q W1k W1v", "Q1 K1^T", "softmax V1", "depthwise")]
    [False, True, True, False]
    """
    return term.endswith("^T") or term.startswith("softmax ")


def add(costs: Iterable[Cost]) -> Cost:
    """The sum, term by term.

    >>> add([Cost({"Wp": 1}, parameters=3), Cost({"Wp": 10, "Q K^T": 100}, parameters=30)])
    Cost(macs={'Wp': 11, 'Q K^T': 100}, parameters=33)
    """
    macs: dict[str, int] = {}
    parameters = 0
    for cost in costs:
        parameters += cost.parameters
        for term, count in cost.macs.items():
            macs[term] = macs.get(term, 0) + count
    return Cost(macs, parameters)


def check_sizes(**sizes: int) -> None:
    """Every size is a whole number of at least 1.

    Raises:
        ValueError: naming the first that is not.

    >>> check_sizes(H=56, G1=0)
    Traceback (most recent call last):
    ValueError: G1=0 must be a whole number of at least 1
    """
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
