"""One step of training: the schedule, the average of the weights, and the learner, which takes the step."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from math import cos, pi
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hatnet.checks import require_between, require_choice, require_whole
from hatnet.data import Split
from hatnet.training.batches import Batch
from hatnet.training.distributed import Processes
from hatnet.training.networks import Network, body_of
from hatnet.training.optimiser import adamw, backbone_in_evaluation_mode, freeze_backbone
from hatnet.training.recipes import Recipe
from hatnet.training.sampling import BatchSampler
from hatnet.training.seeds import derive
from hatnet.training.task import Task

# Lets each process keep its own buffers. PyTorch 2.15 has renamed the argument.
OWN_BUFFERS: dict[str, Any] = {
    "forward_sync_buffers"
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else "broadcast_buffers": False
}


def learning_rate(
    step: int, steps: int, warmup: int, peak: float, first: float = 1e-6, last: float = 1e-5, schedule: str = "cosine"
) -> float:
    """Linear warm-up from `first` to `peak` in `warmup` steps, then down to `last` by the schedule.

    `cosine` is half a cosine, `poly` a polynomial of power 0.9. `steps` stays at `peak`, but divides it by 10 after 8
    and after 11 twelfths of all steps, and ignores `last`. Raises ValueError for steps that are not whole numbers, a
    `step` after the last, rates that are not finite, and an unknown schedule.

    >>> [round(learning_rate(step, 8, 2, 1.0, 0.0, 0.0), 2) for step in range(9)]
    [0.0, 0.5, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07, 0.0]
    """
    steps, warmup = require_whole("steps", steps, 1), require_whole("warmup", warmup, 0)
    step = require_whole("step", step, 0, steps)
    require_choice("schedule", schedule, ("cosine", "poly", "steps"))
    for name, rate in (("peak", peak), ("first", first), ("last", last)):
        require_between(name, rate, 0, 1e9)
    if step < warmup:
        return first + (peak - first) * step / warmup
    if schedule == "steps":
        return peak * 0.1 ** sum(12 * step >= twelfths * steps for twelfths in (8, 11))
    done = (step - warmup) / max(steps - warmup, 1)
    if schedule == "poly":
        return last + (peak - last) * (1 - done) ** 0.9
    return last + (peak - last) * (1 + cos(pi * done)) / 2


class WeightAverage:
    r"""An exponential moving average of the weights, which is tested and saved instead of them.

    After step t, $\bar w \leftarrow \beta_t \bar w + (1 - \beta_t) w$ with $\beta_t$ = `decay`. Early on $\beta_t$ is
    smaller, (1 + t) / (10 + t), so that the random initial weights are soon forgotten. Buffers, such as the statistics
    of batch normalisation, which are averages already, are copied.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: Network, step: int) -> None:
        """Include the weights after step `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - decay)
        for mine, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(buffer)


class Learner:
    """A network, on the device of `processes`, and what changes its weights. `precision` is of matrix products."""

    def __init__(
        self, model: Network, recipe: Recipe, task: Task, data: Split, sampler: BatchSampler, processes: Processes,
        precision: torch.dtype,
    ) -> None:  # fmt: skip
        device = processes.device.type
        self.recipe, self.task, self.sampler, self.processes = recipe, task, sampler, processes
        self.share = sampler.share(processes.size)  # slices per process in each batch
        self.mix = task.mixing(recipe, data)
        self.step = 0  # steps done

        self.model = model.to(processes.device).to(memory_format=torch.channels_last)
        body_of(self.model).recompute_mlps(recipe.recompute)
        self.average = WeightAverage(self.model, recipe.ema) if recipe.ema else None
        if recipe.head_only:
            freeze_backbone(self.model)
        self.names = {weight: name for name, weight in self.model.named_parameters() if weight.requires_grad}
        self.optimiser = adamw(self.model, recipe)
        self.scaler = torch.amp.GradScaler(device, enabled=precision is torch.float16)
        self.autocast = torch.autocast(device, precision, enabled=precision is not torch.float32)
        self.network: nn.Module = torch.compile(self.model) if recipe.compile else self.model  # type: ignore[assignment]
        if processes.size > 1:
            self.network = DistributedDataParallel(self.network, **OWN_BUFFERS)  # `average_buffers` does more

    @property
    def tested(self) -> Network:
        """The network that is tested and saved: the average if there is one."""
        return self.model if self.average is None else self.average.model

    @property
    def networks(self) -> dict[str, Network]:
        """The networks stored in a training state, by the prefix of their tensors' names."""
        return {"model.": self.model} | ({} if self.average is None else {"average.": self.average.model})

    def take_step(self, batches: Iterator[Batch]) -> Tensor:
        """One step: gradients of all slices of a batch, then new weights. Returns the mean loss of the batch."""
        self.network.train()
        if self.recipe.head_only:
            backbone_in_evaluation_mode(self.model)
        for group in self.optimiser.param_groups:
            group["lr"] = group.get("rate", 1.0) * self.learning_rate(self.step)
        loss = torch.zeros((), dtype=torch.float64, device=self.processes.device)
        for slice_ in range(self.share):
            images, labels = (to_device(part, self.processes.device) for part in next(batches))
            place = self.processes.rank * self.share + slice_  # in the batch, so that any process draws the same
            torch.manual_seed(derive(self.recipe.seed, "slice", self.step, place))  # for mixing, drop path and dropout
            if self.mix is not None:
                images, labels = self.mix(images, labels)
            with self._exchange_gradients(after=slice_ == self.share - 1):
                with self.autocast:
                    slice_loss = self.task.loss(self.network, images, labels, self.recipe)
                self.scaler.scale(slice_loss / self.share).backward()
            loss += slice_loss.detach() / self.sampler.slices
        self.scaler.unscale_(self.optimiser)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        self.processes.average_buffers(self.model)
        if self.average is not None:
            self.average.update(self.model, self.step)
        self.step += 1
        return self.processes.sum(loss)

    def learning_rate(self, step: int) -> float:
        recipe, warmup = self.recipe, round(self.recipe.warmup_epochs * self.sampler.steps_per_epoch)
        return learning_rate(
            step, self.sampler.steps, warmup, recipe.lr, recipe.first_lr, recipe.last_lr,
            recipe.schedule,
        )  # fmt: skip

    def _exchange_gradients(self, after: bool) -> AbstractContextManager[None]:
        """Average gradients over processes only in the backward pass of the last slice."""
        if isinstance(self.network, DistributedDataParallel) and not after:
            return self.network.no_sync()
        return nullcontext()


def to_device(part: Any, device: torch.device) -> Any:
    """Tensors, or lists and tables of tensors, on a device; those in pinned memory are copied as the GPU computes."""
    if isinstance(part, Tensor):
        return part.to(device, non_blocking=True)
    if isinstance(part, Mapping):
        return {name: to_device(value, device) for name, value in part.items()}
    return [to_device(value, device) for value in part]
