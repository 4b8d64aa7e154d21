r"""The loss: cross-entropy between the true class and the logits of one image.

The true class is a number or, for an image mixed of several others, a distribution over the classes.
"""

import numpy as np

from reference.checks import checked, require_finite, require_number, shortened
from reference.names import Array

Label = int | np.integer | Array  # a class, counted from 0, or a distribution over the classes


@checked(classes=1)
def target(label: Label, classes: int, smoothing: float = 0.0) -> Array:
    r"""The distribution that the network should predict: $T_c = (1 - \alpha)\, Y_c + \alpha / \text{classes}$.

    Y is one at the true class, or the mixed distribution. Label smoothing gives a part $\alpha$ to all classes in equal
    shares (Szegedy et al., Rethinking the Inception Architecture, 2016, Section 7).

    Args:
        label: the true class, counted from 0, or a distribution over the classes, (classes,).
        classes: number of classes.
        smoothing: $\alpha$, from 0 to 1.

    Returns:
        T, (classes,), which sums to one.

    Raises:
        TypeError: if the label is neither a whole number nor an array of floats.
        ValueError: if the class does not exist, or the distribution has another shape, holds NaN or a negative number,
            or does not sum to one; if `smoothing` is out of range.

    >>> target(1, classes=4, smoothing=0.2)
    array([0.05, 0.85, 0.05, 0.05])
    >>> target(np.array([0.25, 0.75]), classes=2)
    array([0.25, 0.75])
    """
    smoothing = require_number("smoothing", smoothing, 0, 1)
    return (1 - smoothing) * _distribution(label, classes) + smoothing / classes


def _distribution(label: Label, classes: int) -> Array:
    """Check a label, and return it as a distribution in float64, (classes,)."""
    if isinstance(label, list | tuple) or np.ma.isMaskedArray(label):
        raise TypeError(
            f"label must be one class or an array, got {type(label).__name__}; compute a batch image by image"
        )
    given = np.asarray(label)
    if given.ndim == 0:
        if not np.issubdtype(given.dtype, np.integer):
            raise TypeError(
                f"label {shortened(label)} must be a whole number, or an array of floats of shape ({classes},)"
            )
        if not 0 <= given < classes:
            raise ValueError(f"label {label} is no class: classes are counted from 0 to {classes - 1}")
        return np.eye(classes)[given]
    if not np.issubdtype(given.dtype, np.floating):
        raise TypeError(
            f"label must be one class, or a distribution over the {classes} classes, which must hold floats, "
            f"got {given.dtype} of shape {given.shape}; compute a batch image by image"
        )
    if given.shape != (classes,):
        raise ValueError(
            f"label, a distribution over {classes} classes, must have shape ({classes},), got {given.shape}"
        )
    if not (given >= 0).all():  # NaN is not
        raise ValueError(
            f"label, a distribution over the classes must not hold NaN or negative numbers: {shortened(given)}"
        )
    if abs(given.sum(dtype=np.float64) - 1) > 1e-6:  # float32 is off by less
        raise ValueError(f"label, a distribution over the classes, must sum to 1, got {given.sum(dtype=np.float64)}")
    return given.astype(np.float64)


@checked()
def cross_entropy(logits: Array, label: Label, smoothing: float = 0.0) -> float:
    r"""The loss $\ell = -\sum_c T_c \log P_c$ with $P = \operatorname{Softmax}(Z)$ of the logits Z.

    Args:
        logits: Z, (classes,), of one image.
        label, smoothing: as in `target`.

    Returns:
        The loss, in nats. For a batch, take the mean over its images.

    Raises:
        TypeError, ValueError: as in `target`; ValueError if the logits are not those of one image.

    >>> round(cross_entropy(np.log([0.2, 0.5, 0.3]), label=1), 4)  # -log(0.5)
    0.6931
    """
    T = target(label, one_image(logits), smoothing)  # (classes,)
    shifted = logits.astype(np.float64) - logits.max()  # the shift cancels out, and prevents overflow
    log_P = shifted - np.log(np.exp(shifted).sum())  # (classes,)
    return float(-(T * log_P).sum())


def one_image(logits: Array) -> int:
    """Check that the logits are those of one image, so that the loss is one number; return the number of classes.

    Raises:
        TypeError: if they are not an array of floats.
        ValueError: if they have another shape than (classes,), or hold NaN or infinite values.

    >>> one_image(np.zeros((2, 10)))
    Traceback (most recent call last):
    ValueError: logits of one image must have shape (classes,), got (2, 10); compute a batch image by image
    """
    if not isinstance(logits, np.ndarray) or not np.issubdtype(logits.dtype, np.floating):
        kind = f"an array of {logits.dtype}" if isinstance(logits, np.ndarray) else type(logits).__name__
        raise TypeError(f"logits must be a NumPy array of floats, got {kind}")
    if np.ndim(logits) != 1 or not np.size(logits):
        raise ValueError(
            f"logits of one image must have shape (classes,), got {np.shape(logits)}; compute a batch image by image"
        )
    require_finite("logits", logits)
    return len(logits)
