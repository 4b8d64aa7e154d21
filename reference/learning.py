r"""Learning in NumPy: from gradients to new weights, each part from its published equation.

A step computes the mean gradient of a batch, shortens it if it is too long (`clip`), looks up the learning rate
(`learning_rate`), changes the weights (`adamw`) and includes them in an average (`average`). `Learner` does this in
order. It calls no PyTorch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import cos, pi
from typing import NamedTuple

import numpy as np

from reference.backward import gradients
from reference.checks import checked, require_floats, require_number, require_whole, shortened
from reference.loss import Label, target
from reference.names import Array, Gradients, Params, require_params
from reference.network import Config, check_names, number_of_classes, require_config


@dataclass(frozen=True)
class Settings:
    """How to learn. Raises TypeError or ValueError, naming the field, for impossible values."""

    steps: int  # of the whole training
    warmup: int = 0  # steps until the learning rate has its peak
    peak_rate: float = 1e-3  # learning rates
    first_rate: float = 1e-6
    last_rate: float = 1e-5
    weight_decay: float = 0.05  # of matrices and kernels, not of norms and biases
    beta1: float = 0.9  # of AdamW
    beta2: float = 0.999
    eps: float = 1e-8
    clip: float | None = None  # largest norm of the gradient
    average_decay: float = 0.999
    smoothing: float = 0.0  # of the labels

    def __post_init__(self) -> None:
        require_whole("steps", self.steps, 1)
        require_whole("warmup", self.warmup, 0, self.steps - 1)
        for name in ("peak_rate", "first_rate", "last_rate", "weight_decay", "eps"):
            require_number(name, getattr(self, name), 0)
        for name in ("beta1", "beta2", "average_decay"):
            if require_number(name, getattr(self, name), 0, 1) == 1:
                raise ValueError(f"{name}={getattr(self, name)} must be below 1")
        if self.clip is not None and require_number("clip", self.clip, 0) == 0:
            raise ValueError(f"clip={self.clip} must be above 0, or None")
        require_number("smoothing", self.smoothing, 0, 1)


@checked()
def batch_gradients(
    images: Array, labels: Sequence[Label] | Array, params: Params, config: Config, smoothing: float = 0.0
) -> tuple[float, Gradients]:
    r"""The mean loss of a batch, and its gradients: $g = \frac{1}{B} \sum_b \partial \ell_b / \partial w$.

    Args:
        images: (B, C_in, H, W).
        labels: one class or distribution per image.
        params, config, smoothing: as in `gradients`.

    Raises:
        TypeError, ValueError: if images and labels are no arrays or sequences, there is no image, or not one label per
            image; as in `gradients`.
    """
    _check_batch(images, labels)
    require_config(config)
    check_names(params, config)
    for label in labels:
        target(label, number_of_classes(params), smoothing)  # raises before the work
    loss, total = 0.0, {name: np.zeros_like(w) for name, w in params.items()}
    for image, label in zip(images, labels, strict=True):
        own_loss, own, _ = gradients(image, label, params, config, smoothing)
        loss += own_loss / len(images)
        for name in total:
            total[name] += own[name] / len(images)
    return loss, total


def _check_batch(images: Array, labels: Sequence[Label] | Array) -> None:
    if not isinstance(images, np.ndarray) or images.ndim != 4:
        got = f"shape {images.shape}" if isinstance(images, np.ndarray) else type(images).__name__
        raise (ValueError if isinstance(images, np.ndarray) else TypeError)(
            f"images must be an array of shape (B, C_in, H, W), got {got}"
        )
    if isinstance(labels, str | bytes) or not isinstance(labels, Sequence | np.ndarray):
        raise TypeError(f"labels must be a sequence with one label per image, got {shortened(labels)}")
    if isinstance(labels, np.ndarray) and not labels.ndim:
        raise TypeError(f"labels must have one label per image, got the single number {labels}")
    if len(images) != len(labels) or not len(images):
        raise ValueError(f"{len(images)} images and {len(labels)} labels: a batch needs one label per image")


@checked()
def clip(gradients: Gradients, largest: float) -> tuple[Gradients, float]:
    r"""Shorten a gradient whose norm exceeds `largest`, without turning it: $g \gets g \min(1, c / (\|g\| + 10^{-6}))$.

    The norm $\|g\|$ is taken over all parameters together (Pascanu, Mikolov and Bengio, On the difficulty of training
    recurrent neural networks, 2013, Algorithm 1). The summand $10^{-6}$ is PyTorch's.

    Returns:
        The gradients, and the norm that they had before.

    Raises:
        TypeError, ValueError: if `gradients` is no dictionary of arrays, or `largest` no number above 0 (it may be
            infinite); ValueError if the norm is not finite.

    >>> shortened, norm = clip({"a": np.array([3.0]), "b": np.array([4.0])}, largest=1.0)
    >>> shortened["a"].round(4), norm
    (array([0.6]), 5.0)
    """
    require_params(gradients, what="gradients")
    for name, g in gradients.items():
        require_floats(f"gradients[{shortened(name)}]", g)
    unlimited = isinstance(largest, float) and largest == np.inf
    if not unlimited and require_number("largest", largest, 0) == 0:
        raise ValueError("largest=0 must be above 0")
    norm = float(np.sqrt(sum((g**2).sum() for g in gradients.values())))
    if not np.isfinite(norm):
        raise ValueError(f"the gradients have the norm {norm}, which is not finite: lower the learning rate")
    factor = min(1.0, largest / (norm + 1e-6))
    return {name: g * factor for name, g in gradients.items()}, norm


@checked()
def learning_rate(step: int, settings: Settings) -> float:
    r"""The learning rate of a step, counted from 0: a linear warm-up, then half a cosine.

    With w steps of warm-up, out of T steps:

    $$\eta_t = \eta_\text{first} + (\eta_\text{peak} - \eta_\text{first})\, t / w \quad (t < w) \qquad
    \eta_t = \eta_\text{last} + \tfrac12 (\eta_\text{peak} - \eta_\text{last})
    \Big( 1 + \cos \pi \frac{t - w}{T - w} \Big) \quad (t \ge w)$$

    The warm-up is from Goyal et al., Accurate, large minibatch SGD, 2017, Section 2.2; the cosine from Loshchilov and
    Hutter, SGDR, 2017, Equation 5.

    Raises:
        TypeError, ValueError: if `step` is no whole number from 0 to `settings.steps`.

    >>> settings = Settings(steps=8, warmup=2, peak_rate=1.0, first_rate=0.0, last_rate=0.0)
    >>> [round(learning_rate(step, settings), 2) for step in range(9)]
    [0.0, 0.5, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07, 0.0]
    """
    _require_settings(settings)
    w, T = settings.warmup, settings.steps
    step = require_whole("step", step, 0, T)
    if step < w:
        return settings.first_rate + (settings.peak_rate - settings.first_rate) * step / w
    swing = (1 + cos(pi * (step - w) / (T - w))) / 2  # from 1 to 0
    return settings.last_rate + (settings.peak_rate - settings.last_rate) * swing


@checked(w="...", g="...", m="...", v="...", t=1)
def adamw(
    w: Array, g: Array, m: Array, v: Array, t: int, rate: float, decay: float, settings: Settings
) -> tuple[Array, Array, Array]:
    r"""One step of AdamW for one parameter w with the gradient g (Loshchilov and Hutter, Decoupled Weight Decay
    Regularization, 2019, Algorithm 2).

    m averages the gradients and v their squares; both start at zero, which the denominators of $\hat m$ and $\hat v$
    correct:

    $$m \gets \beta_1 m + (1 - \beta_1) g \qquad v \gets \beta_2 v + (1 - \beta_2) g^2 \qquad
    \hat m = \frac{m}{1 - \beta_1^t} \qquad \hat v = \frac{v}{1 - \beta_2^t}$$

    $$w \gets w - \eta \Big( \frac{\hat m}{\sqrt{\hat v} + \epsilon} + \lambda w \Big)$$

    The decay $\lambda w$ is added to the step, not to the gradient, so that $\hat v$ does not rescale it. $\eta$
    multiplies both: it is the paper's $\eta_t$, with $\alpha = 1$.

    Args:
        w, g, m, v: of one shape.
        t: the step, counted from 1.
        rate: $\eta$, the learning rate.
        decay: $\lambda$.
        settings: $\beta_1$, $\beta_2$, $\epsilon$.

    Returns:
        The new w, m and v.

    Raises:
        TypeError, ValueError: if the arrays differ in shape, or `t`, `rate` or `decay` is out of range.

    >>> one, zero = np.ones(1), np.zeros(1)
    >>> w, m, v = adamw(one, 3 * one, zero, zero, t=1, rate=0.1, decay=0.5, settings=Settings(steps=1))
    >>> w  # the first step is the rate, whatever the size of the gradient, and the decay
    array([0.85])
    """
    _require_settings(settings)
    rate, decay = require_number("rate", rate, 0), require_number("decay", decay, 0)
    if (v < 0).any():
        raise ValueError("v holds negative numbers; an average of squares is expected")
    m = settings.beta1 * m + (1 - settings.beta1) * g
    v = settings.beta2 * v + (1 - settings.beta2) * g**2
    m_hat = m / (1 - settings.beta1**t)
    v_hat = v / (1 - settings.beta2**t)
    w = w - rate * (m_hat / (np.sqrt(v_hat) + settings.eps) + decay * w)
    return w, m, v


@checked(mean="...", w="...", step=0)
def average(mean: Array, w: Array, step: int, decay: float) -> Array:
    r"""Include the weights after a step in their average: $\bar w \gets \beta_t \bar w + (1 - \beta_t) w$.

    $\beta_t = \min(\beta, (1 + t) / (10 + t))$ with the step t, counted from 0, so that the random start is soon
    forgotten. It is the rule of `tf.train.ExponentialMovingAverage` with `num_updates`; averaged weights are from
    Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992.

    Raises:
        TypeError, ValueError: if the arrays differ in shape, `step` is negative, or `decay` is not from 0 to 1.

    >>> average(np.ones(1), np.zeros(1), step=0, decay=0.999)
    array([0.1])
    """
    beta = min(require_number("decay", decay, 0, 1), (1 + step) / (10 + step))
    return beta * mean + (1 - beta) * w


def _require_settings(settings: object) -> None:
    if not isinstance(settings, Settings):
        raise TypeError(f"settings must be Settings, got {type(settings).__name__}")


class Step(NamedTuple):
    """What a step reports."""

    loss: float  # the mean of the batch, before the step
    rate: float  # the learning rate
    gradient_norm: float  # before clipping


@dataclass
class Learner:
    """The weights of a network, and what changes them step by step.

    Raises TypeError or ValueError if the parameters are not those of the network.

    >>> from reference.initial import NetworkSizes, StageSizes, initial_parameters
    >>> config = NetworkSizes(in_channels=1, num_classes=3, stages=(StageSizes(channels=4, depth=1, heads=2),))
    >>> learner = Learner(initial_parameters(config), config, Settings(steps=20, peak_rate=0.01))
    >>> images, labels = np.random.default_rng(0).normal(size=(3, 1, 8, 8)), np.arange(3)
    >>> losses = [learner.take_step(images, labels).loss for _ in range(20)]
    >>> losses[-1] < losses[0] / 2
    True
    """

    params: dict[str, Array]
    config: Config
    settings: Settings
    step: int = field(default=0, init=False)  # steps done
    m: Gradients = field(init=False)  # averages of AdamW
    v: Gradients = field(init=False)
    averaged: dict[str, Array] = field(init=False)  # the average of the weights

    def __post_init__(self) -> None:
        require_config(self.config)
        _require_settings(self.settings)
        require_params(self.params)
        check_names(self.params, self.config)
        self.params = {name: np.array(w, dtype=np.float64) for name, w in self.params.items()}  # copies
        self.m = {name: np.zeros_like(w) for name, w in self.params.items()}
        self.v = {name: np.zeros_like(w) for name, w in self.params.items()}
        self.averaged = dict(self.params)

    def take_step(self, images: Array, labels: Sequence[Label] | Array) -> Step:
        """Compute the gradients of a batch, and change all weights.

        Args:
            images: (B, C_in, H, W).
            labels: one class or distribution per image.

        Raises:
            TypeError, ValueError: as in `batch_gradients`; ValueError if all steps are done, or the gradients are not
                finite. The weights are then unchanged.
        """
        settings = self.settings
        if self.step >= settings.steps:
            raise ValueError(f"all {settings.steps} steps are done")
        loss, g = batch_gradients(images, labels, self.params, self.config, settings.smoothing)
        g, norm = clip(g, np.inf if settings.clip is None else settings.clip)
        rate = learning_rate(self.step, settings)
        for name, w in self.params.items():
            decay = settings.weight_decay if w.ndim > 1 else 0.0  # matrices and kernels, not norms and biases
            self.params[name], self.m[name], self.v[name] = adamw(
                w, g[name], self.m[name], self.v[name], self.step + 1, rate, decay, settings
            )
            self.averaged[name] = average(self.averaged[name], self.params[name], self.step, settings.average_decay)
        self.step += 1
        return Step(loss, rate, norm)
