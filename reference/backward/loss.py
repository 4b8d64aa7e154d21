r"""The backward pass of `reference.loss`: where every gradient starts."""

import numpy as np

from reference.attention import softmax
from reference.checks import checked
from reference.loss import Label, one_image, target
from reference.names import Array


@checked()
def cross_entropy_vjp(logits: Array, label: Label, smoothing: float = 0.0) -> Array:
    r"""Gradient of $\ell = -\sum_c T_c \log P_c$ with $\log P_c = Z_c - \log \sum_{c'} e^{Z_{c'}}$.

    $Z_k$ is in $\log P_k$ with the factor 1, and in the logarithm of the sum, whose derivative is $P_k$:

    $$\ell = -\sum_c T_c Z_c + \Big( \sum_c T_c \Big) \log \sum_{c'} e^{Z_{c'}} \qquad
    dZ = \Big( \sum_c T_c \Big) P - T = P - T$$

    Since $\ell$ is a number, $d\ell = 1$, and no other gradient comes in. It holds for a single true class, a smoothed
    and a mixed one alike.

    Args:
        logits: Z, (classes,), of one image.
        label, smoothing: as in `target`.

    Returns:
        dZ, (classes,). It sums to zero.

    Raises:
        TypeError, ValueError: as in `cross_entropy`.

    >>> cross_entropy_vjp(np.log([0.2, 0.5, 0.3]), label=1).round(12)
    array([ 0.2, -0.5,  0.3])
    """
    T = target(label, one_image(logits), smoothing)  # (classes,)
    P = softmax(logits[np.newaxis])[0]  # (classes,), the softmax of one row
    return P * T.sum() - T  # the sum is 1, up to rounding
