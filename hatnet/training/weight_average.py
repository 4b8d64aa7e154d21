"""An exponential moving average of the weights, which is evaluated and saved instead of them."""

import copy

import torch

from hatnet.network import HATNet


class WeightAverage:
    r"""After step t, $\bar w \leftarrow \beta_t \bar w + (1 - \beta_t) w$ with $\beta_t$ = `decay`.

    Early on $\beta_t$ is smaller, (1 + t) / (10 + t), so that the random initial weights are soon forgotten.
    """

    def __init__(self, model: HATNet, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: HATNet, step: int) -> None:
        """Include the weights after step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
