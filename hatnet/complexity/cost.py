"""The cost of a computation: multiply-accumulates (MACs), term by term, and parameters.

A MAC is one multiplication with its addition, which is two FLOPs. Papers on vision models, this one included, print
MACs and call them FLOPs. We count products with a matrix or a kernel, and the two products of attention. We do not
count biases, norms, activations, softmax, pooling and residual connections: together they take a few operations per
element, where a projection takes C.
"""

from dataclasses import dataclass

from hatnet.checks import require_whole


@dataclass(frozen=True)
class Cost:
    """MACs of one image, by term in the order of computation, and the number of parameters.

    >>> cost = Cost({"Wq Wk Wv": 300, "Q K^T": 50, "softmax V": 50, "Wp": 100}, parameters=40)
    >>> cost.projection_macs, cost.attention_macs, cost.total_macs
    (400, 100, 500)
    """

    macs: dict[str, int]
    parameters: int

    @property
    def attention_macs(self) -> int:
        """MACs with data on both sides: Q K^T, and the softmax times V. Many counters miss them."""
        return sum(count for term, count in self.macs.items() if term.endswith("^T") or term.startswith("softmax "))

    @property
    def projection_macs(self) -> int:
        """MACs with parameters on one side: projections, convolutions, the classifier."""
        return self.total_macs - self.attention_macs

    @property
    def total_macs(self) -> int:
        """All MACs."""
        return sum(self.macs.values())


def linear_parameters(inputs: int, outputs: int) -> int:
    """Parameters of a linear layer: weights and biases."""
    return inputs * outputs + outputs


def norm_parameters(C: int) -> int:
    """Parameters of a norm over C channels: one scale and one offset each."""
    return 2 * C


def check_sizes(**sizes: int) -> tuple[int, ...]:
    """Return sizes as ints. Raises a ValueError for the first that is not a whole number of at least 1.

    >>> check_sizes(H=56, G1=0)
    Traceback (most recent call last):
    ValueError: G1=0 must be a whole number of at least 1
    """
    return tuple(require_whole(name, value, 1) for name, value in sizes.items())
