"""The training loop.

A step draws a batch, slice by slice; averages the gradients of all slices, on whichever process they
were computed; and moves the weights. It remembers nothing that `State` does not hold, and every
random draw is seeded by what it is for: so a run that was killed goes on bit for bit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from hatnet.config import HATNetConfig
from hatnet.data import Split, fingerprint, leave_out, left_out
from hatnet.data.transforms import for_testing, for_training, mixing, require_fit
from hatnet.network import HATNet
from hatnet.training.batches import batches_for_testing, batches_for_training
from hatnet.training.distributed import World
from hatnet.training.evaluation import Evaluation, evaluate
from hatnet.training.initial_weights import fresh, origin_of, start_from
from hatnet.training.recipes import Recipe, differences, to_json
from hatnet.training.run_folder import RunFolder, about_weights, facts_of, memory_mb
from hatnet.training.sampling import Order
from hatnet.training.schedule import learning_rate
from hatnet.training.seeds import derive
from hatnet.training.state import State, load_state, optimiser_tensors, restore_optimiser, save_state
from hatnet.training.weight_average import WeightAverage
from hatnet.weights.checkpoints import CheckpointError, weights_file, write

LOOK_EVERY = 10  # steps between two looks at the loss, which a GPU has to stop for


class NonFiniteLossError(RuntimeError):
    """The loss is infinite or not a number, so training can't go on; the message says what to do."""


@dataclass
class Watch:
    """Those who watch a training. Set `stop`, and it saves its state soon after and ends."""

    report: Callable[[Progress], None] = lambda _: None
    stop: bool = False


@dataclass(frozen=True)
class Progress:
    """What a training tells those who watch."""

    step: int  # steps done
    steps: int
    epoch: int  # the one being done, from 0
    loss: float  # mean of the epoch so far
    learning_rate: float
    images_per_second: float
    memory_mb: float
    evaluation: Evaluation | None = None  # after an epoch


class Training:
    """A network, and everything it is trained with.

    Args:
        recipe: what to do.
        data: what to learn from.
        folder: of the run.
        world: this process among those that train together.
        resume: whether to go on from the state in `folder`, where there is one.
        workers: processes that prepare images, for each process that trains.
        save_every: seconds after which the state is saved within an epoch; after an epoch it always is.
        build: makes the network of a configuration; an ablation changes it.

    Raises ValueError where recipe, data, folder, weights and processes don't go together, and FileNotFoundError where
    there are no weights to start from, before anything is written.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Split,
        folder: Path,
        world: World,
        *,
        resume: bool = False,
        workers: int = 0,
        save_every: float = 60.0,
        build: Callable[[HATNetConfig], HATNet] = HATNet,
    ) -> None:
        from hatnet.training.curves import draw_curves  # needs matplotlib, and should say so now

        if workers < 0:
            raise ValueError(f"workers={workers} must not be negative")
        start = prepare(recipe, data, folder, world, resume=resume, build=build)
        data = start.data
        self.draw_curves = draw_curves
        self.recipe, self.data, self.world, self.folder = recipe, data, world, RunFolder(folder)
        self.order, self.precision, self.origin = start.order, start.precision, start.origin
        self.fresh_classifier, state = start.fresh_classifier, start.state
        self.fingerprint = fingerprint(data)
        if state is not None:
            advice = "; images that have gone must be put back first"
            _require_same(self.folder.state, "data set", state.data, self.fingerprint, advice)
        require_fit(recipe, data)
        self.share = self.order.share(world.size)  # slices of a batch for each process
        self.save_every = save_every

        self.model = start.model.to(world.device).to(memory_format=torch.channels_last)
        self.average = WeightAverage(self.model, recipe.ema) if recipe.ema else None
        self.names = {parameter: name for name, parameter in self.model.named_parameters()}
        self.optimiser = _optimiser(self.model, recipe)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=self.precision is torch.float16)
        self.step, self.history = 0, list[dict[str, float]]()
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=world.device)  # of this epoch's steps
        self.seconds = 0.0  # of this epoch's steps
        if state is not None:
            self._restore(state)
        task = derive(0, json.dumps(to_json(recipe)), json.dumps(self.fingerprint))
        if world.any(task != world.of_first(task)):
            raise ValueError("not all processes were given the same recipe and see the same images and labels")

        self.network: nn.Module = torch.compile(self.model) if recipe.compile else self.model  # type: ignore[assignment]
        if world.size > 1:
            self.network = DistributedDataParallel(self.network)
        self.autocast = torch.autocast(world.device.type, self.precision, enabled=self.precision is not torch.float32)
        self.mix = mixing(recipe, len(data.classes))
        pinned = world.device.type == "cuda"
        self.batches = batches_for_training(
            data.train, for_training(recipe, data), recipe.seed,
            self.order.slices_of(world.rank, world.size, self.step), workers, pinned,
        )  # fmt: skip
        self.tests = batches_for_testing(
            data.test, for_testing(recipe, data), world.rank, world.size, 2 * recipe.slice_size, workers, pinned
        )

    def run(self, watch: Watch | None = None) -> list[dict[str, float]]:
        """Train to the end, or until asked to stop.

        Returns:
            A row an epoch, as in `metrics.csv`.

        Raises:
            NonFiniteLossError: if the loss is not finite.
            OSError: if the folder can't be written; the last good state is then still there.
        """
        watch = watch or Watch()
        if self.world.first and self.step < self.order.steps:
            self.folder.begin(
                self.step,
                facts_of(self.recipe, self.data, self.model.config, self.world, self.precision, self.origin),
            )
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.enable_cudnn_sdp(False)  # gradients may be NaN with masks: pytorch issue 196678
        first, saved, stop = self.step, time.monotonic(), False
        while self.step < self.order.steps and not stop:
            start = time.monotonic()
            self.network.train()
            self.take_step()
            end_of_epoch = self.step % self.order.steps_per_epoch == 0
            look = end_of_epoch or self.step % LOOK_EVERY == 0 or self.step == first + 1
            keep = self.world.first and (end_of_epoch or start - saved > self.save_every)
            if look or keep:
                self._require_finite(weights=end_of_epoch or keep)  # which waits for a GPU, and the clock with it
            self.seconds += time.monotonic() - start
            if look:
                watch.report(self.end_epoch() if end_of_epoch else self.progress())
            if look or self.world.size == 1:
                stop = self.world.any(watch.stop)  # all processes end at one step
            if keep or (self.world.first and stop):
                self.keep()
                saved = time.monotonic()
        if self.world.first and self.step == self.order.steps:
            self.folder.finish(self.history)
        self.world.wait()
        return self.history

    def take_step(self) -> None:
        """One step: gradients of all slices of a batch, then new weights."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.step)
        loss = torch.zeros((), dtype=torch.float64, device=self.world.device)
        for slice_ in range(self.share):
            images, labels = (part.to(self.world.device, non_blocking=True) for part in next(self.batches))
            place = self.world.rank * self.share + slice_  # of the slice in the batch, whoever computes it
            torch.manual_seed(derive(self.recipe.seed, "slice", self.step, place))  # for mixing, drop path and dropout
            if self.mix is not None:
                images, labels = self.mix(images, labels)
            with self._exchange_gradients(after=slice_ == self.share - 1):
                with self.autocast:
                    logits = self.network(images)  # (slice, classes)
                    slice_loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
                self.scaler.scale(slice_loss / self.share).backward()
            loss += slice_loss.detach() / self.order.slices
        self.scaler.unscale_(self.optimiser)
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        if self.average is not None:
            self.average.update(self.model, self.step)
        self.loss_sum += self.world.sum(loss)
        self.step += 1

    def learning_rate(self, step: int) -> float:
        """Of one step."""
        recipe, warmup = self.recipe, round(self.recipe.warmup_epochs * self.order.steps_per_epoch)
        return learning_rate(step, self.order.steps, warmup, recipe.lr, recipe.first_lr, recipe.last_lr)

    def end_epoch(self) -> Progress:
        """Test the weights, and write down the epoch."""
        tested = self.model if self.average is None else self.average.model
        tested.eval()
        with self.autocast:
            evaluation = evaluate(tested, self.tests, self.world)
        progress = self.progress(evaluation)
        best = max((row["test_accuracy"] for row in self.history), default=-1.0)
        self.history.append(
            {
                "epoch": progress.epoch + 1,
                "step": self.step,
                "learning_rate": progress.learning_rate,
                "train_loss": progress.loss,
                "test_loss": evaluation.loss,
                "test_accuracy": evaluation.accuracy,
                "seconds": round(self.seconds, 3),
                "images_per_second": round(progress.images_per_second, 1),
                "memory_mb": round(progress.memory_mb, 1),
            }
        )
        self.loss_sum.zero_()
        self.seconds = 0.0
        if self.world.first:
            about = about_weights(self.recipe, self.data, progress.epoch + 1, evaluation.accuracy, self.origin)
            write(tested, self.folder.last, about)
            if evaluation.accuracy > best:
                write(tested, self.folder.best, about)
            self.folder.write_metrics(self.history)
            self.draw_curves(self.history, self.folder.curves)
        return progress

    def progress(self, evaluation: Evaluation | None = None) -> Progress:
        """How this epoch has gone so far."""
        epoch = (self.step - 1) // self.order.steps_per_epoch
        done = self.step - epoch * self.order.steps_per_epoch
        return Progress(
            self.step,
            self.order.steps,
            epoch,
            loss=float(self.loss_sum) / done,
            learning_rate=self.learning_rate(self.step - 1),
            images_per_second=done * self.recipe.batch_size / self.seconds,
            memory_mb=memory_mb(self.world.device),
            evaluation=evaluation,
        )

    def keep(self) -> None:
        """Save what is needed to go on from here."""
        self._require_finite(weights=True)
        tensors = {
            f"{section}{name}": tensor
            for section, weights in self._weights().items()
            for name, tensor in weights.state_dict().items()
        }
        tensors |= optimiser_tensors(self.optimiser, self.names)
        running = {"loss_sum": float(self.loss_sum), "seconds": self.seconds}
        state = State(
            self.step, tensors, self.history, running, self.scaler.state_dict(), self.origin, self.fingerprint,
            left_out(self.data), vars(self.model.config),
        )  # fmt: skip
        save_state(self.folder.state, state, self.recipe)

    def _weights(self) -> dict[str, HATNet]:
        """What a state keeps of the weights, by the names of its sections."""
        return {"model.": self.model} | ({} if self.average is None else {"average.": self.average.model})

    def _restore(self, state: State) -> None:
        for section, weights in self._weights().items():
            weights.load_state_dict(
                {name.removeprefix(section): part for name, part in state.tensors.items() if name.startswith(section)}
            )
        restore_optimiser(self.optimiser, self.names, state.tensors)
        if state.scaler:
            self.scaler.load_state_dict(state.scaler)
        self.step, self.history = state.step, state.history
        self.loss_sum.fill_(state.running["loss_sum"])
        self.seconds = state.running["seconds"]

    def _require_finite(self, weights: bool = False) -> None:
        sums = [self.loss_sum]
        if weights:  # the last step may have spoilt them, which only the next loss would tell
            sums += [parameter.detach().sum().double() for parameter in self.model.parameters()]
        if not torch.stack(sums).isfinite().all():
            rate, precision = self.learning_rate(self.step - 1), str(self.precision).removeprefix("torch.")
            kept = (
                f"The last good state: {self.folder.state}" if self.folder.state.exists() else "No state is kept yet."
            )
            raise NonFiniteLossError(
                f"the loss is not finite at step {self.step} (learning rate {rate:.2g}, {precision}). Try a lower "
                f"lr than {self.recipe.lr:g}, a longer warm-up, or clip=1. {kept}"
            )

    def _exchange_gradients(self, after: bool) -> AbstractContextManager[None]:
        """Several processes average their gradients in the backward pass of the last slice only."""
        if isinstance(self.network, DistributedDataParallel) and not after:
            return self.network.no_sync()
        return nullcontext()


@dataclass(frozen=True)
class Start:
    """What a training starts with, or goes on with."""

    data: Split  # without the files that a run which goes on left out at its start
    order: Order
    precision: torch.dtype
    model: HATNet
    fresh_classifier: bool
    origin: dict[str, Any]  # what is known of weights that it started from
    state: State | None  # to go on from


def prepare(
    recipe: Recipe,
    data: Split,
    folder: Path,
    world: World,
    *,
    resume: bool = False,
    build: Callable[[HATNetConfig], HATNet] = HATNet,
) -> Start:
    """All that can be refused before a single image is read; arguments and errors as those of `Training`.

    `hatnet train` calls it before it looks through a million files, and `Training` calls it again.
    """
    state = _state_to_go_on_from(RunFolder(folder), recipe, resume)
    if state is not None:
        data = leave_out(data, state.left_out)  # and what has gone bad since is for the loop to pass over
    order = Order(len(data.train), recipe.batch_size, recipe.slice_size, recipe.epochs, recipe.seed, recipe.repeats)
    order.share(world.size)
    done = 0 if state is None else state.step
    if world.any(done != world.of_first(done)):  # before one waits for what another has no need to do
        raise ValueError(f"not all processes see the state in {folder}: it must lie on a disk that all machines share")
    precision = precision_of(recipe, world.device)
    model = fresh(recipe, recipe.config(len(data.classes), data.channels), build)
    if state is not None:
        _require_same(RunFolder(folder).state, "network", state.network, json.loads(json.dumps(vars(model.config))))
    fresh_classifier, origin = True, {} if state is None else state.origin
    if recipe.weights is not None and state is None:
        weights = weights_file(Path(recipe.weights))
        fresh_classifier, origin = not start_from(model, weights, data.classes), origin_of(weights)
    return Start(data, order, precision, model, fresh_classifier, origin, state)


def _state_to_go_on_from(folder: RunFolder, recipe: Recipe, resume: bool) -> State | None:
    if not resume and (folder.state.exists() or folder.facts.exists()):
        raise ValueError(f"{folder.path} holds a run already: give --resume to go on, or --out another folder")
    if not folder.state.exists():
        if folder.is_under_way():
            raise ValueError(f"{folder.state} has gone, so its run can't be gone on from; give --out another folder")
        return None
    state, other = load_state(folder.state)
    different = differences(recipe, other)
    if different:
        raise CheckpointError(
            f"{folder.state} is of another recipe, so it can't be gone on from:\n" + "\n".join(different)
        )
    return state


def _require_same(path: Path, what: str, there: Mapping[str, Any], here: Mapping[str, Any], advice: str = "") -> None:
    different = [
        f"{key}: {here.get(key)} here, {other} there" for key, other in there.items() if here.get(key) != other
    ]
    if different:
        raise CheckpointError(
            f"{path} is of another {what}, so it can't be gone on from{advice}.\n" + "\n".join(different)
        )


def precision_of(recipe: Recipe, device: torch.device) -> torch.dtype:
    """What matrices are multiplied in.

    Raises:
        ValueError: for float16 on a CPU.
    """
    if recipe.precision != "auto":
        chosen: torch.dtype = getattr(torch, recipe.precision)
        if chosen is torch.float16 and device.type == "cpu":
            raise ValueError("precision='float16' is for GPUs; use float32 or bfloat16 on a CPU")
        return chosen
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def _optimiser(model: HATNet, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; matrices and kernels decay, vectors (norms and biases) don't."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.lr, fused=True)
