"""The learning rate, a function of the step alone."""

from math import cos, pi


def learning_rate(step: int, steps: int, warmup: int, peak: float, first: float = 1e-6, last: float = 1e-5) -> float:
    """Linear warm-up from `first` to `peak` in `warmup` steps, then half a cosine down to `last`.

    >>> [round(learning_rate(step, 8, 2, 1.0, 0.0, 0.0), 2) for step in range(9)]
    [0.0, 0.5, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07, 0.0]
    """
    if step < warmup:
        return first + (peak - first) * step / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return last + (peak - last) * (1 + cos(pi * done)) / 2
