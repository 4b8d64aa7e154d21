"""The training loop.

It is written out, since Fabric and Accelerate would hide exact resume, the schedule and the weight average. It keeps
nothing that `State` does not hold, and every draw is seeded by its purpose, so a killed run resumes bit for bit.
"""

import copy
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from hatnet.checks import require_between, require_whole
from hatnet.data import Split
from hatnet.data.transforms import Transform
from hatnet.device import thread_facts, use_threads
from hatnet.files import remove_partial_files
from hatnet.machine import peak_memory_mb
from hatnet.models import load
from hatnet.training.batches import MOST_WORKERS, Batch, batches_for_testing, batches_for_training
from hatnet.training.distributed import Processes
from hatnet.training.learner import Learner
from hatnet.training.networks import Build, Network
from hatnet.training.preparation import Clean, precision_of, prepare
from hatnet.training.progress import Monitor, Progress
from hatnet.training.recipes import Recipe
from hatnet.training.resuming import State, restore, save_state, tensors_of
from hatnet.training.run_folder import RunFolder, about_weights, run_facts
from hatnet.training.run_lock import lock_folder
from hatnet.training.sampling import BatchSampler
from hatnet.training.task import Row, Task, row_of
from hatnet.training.tasks import task_of

CHECK_EVERY = 10  # steps between checks of the loss, for which a GPU has to stop
CHECK_AFTER = 2.0  # seconds after which a slow process checks earlier, if it is the only one


class NonFiniteLossError(RuntimeError):
    """The loss is infinite or NaN, so training cannot continue. The message says what to do."""


class Training:
    """A run: data, learner, and the folder that records it.

    Args:
        task: by default that of the recipe.
        build: makes the network of a configuration, where it is not the task's own: an ablation changes it.
        resume: continue from the state in `folder`, if there is one.
        clean: leaves out files that cannot be read; called when nothing else is wrong, and not on a resume.
        workers: processes that prepare images, for each process that trains.
        threads: of PyTorch on a CPU; by default those of the state, so that a resumed run gets the same bits, or those
            that PyTorch has.
        save_every: seconds between saves of the state within an epoch. It is also saved after each epoch.

    Raises ValueError if recipe, data, folder, weights and processes do not fit together, or another training uses the
    folder, and FileNotFoundError if there are no weights to start from, before anything is written. The folder is
    locked until `run` ends or this object is gone.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Split,
        folder: Path,
        processes: Processes,
        *,
        task: Task | None = None,
        build: Build | None = None,
        resume: bool = False,
        clean: Clean = None,
        workers: int = 0,
        threads: int | None = None,
        save_every: float = 60.0,
    ) -> None:
        import hatnet.training.figures  # noqa: F401 needs matplotlib, whose absence should be an error now

        require_whole("workers", workers, 0, MOST_WORKERS)
        require_between("save_every", save_every, 0, 1e9)
        self.precision = precision_of(recipe, processes.device)
        use_threads(threads)
        self.task = task_of(recipe) if task is None else task
        self.recipe, self.processes, self.save_every = recipe, processes, save_every
        self.folder = RunFolder(folder, self.task)
        self.lock = lock_folder(folder, processes)
        try:
            self.start = prepare(recipe, data, self.folder, processes, build or self.task.build, resume, clean)
            self._make_learner()
            if self.start.state is not None:
                self._continue_from(self.start.state, its_threads=threads is None)
            self._load_batches(workers)
        except BaseException:
            self._release()
            raise

    def _make_learner(self) -> None:
        self.recipe, self.data = self.start.recipe, self.start.data
        self.sampler = BatchSampler.of(self.recipe, len(self.data.train))
        self.folder.part = self.data.choosing
        self.learner = Learner(
            self.start.model, self.recipe, self.task, self.data, self.sampler, self.processes, self.precision
        )
        self.monitor = Monitor()
        self.history: list[Row] = []
        self.tested: Row = {}  # the best weights on the test images, if validation images chose them
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.processes.device)  # over the epoch's steps
        self.seconds = 0.0  # of the epoch's steps

    def _continue_from(self, state: State, its_threads: bool) -> None:
        if its_threads and self.processes.device.type == "cpu":  # another number of threads rounds differently
            use_threads(state.threads.get("threads per process"))
        restore(self.learner, state, self.folder.state)
        self.history = state.history
        self.loss_sum.fill_(state.running["loss_sum"])
        self.seconds = state.running["seconds"]

    def _load_batches(self, workers: int) -> None:
        recipe, data, rank, size = self.recipe, self.data, self.processes.rank, self.processes.size
        pinned, slices = self.processes.device.type == "cuda", self.sampler.slices_of(rank, size, self.step)
        augment, prepare, stack = self.task.for_training(recipe, data), self._for_testing(), self.task.collate
        self.batches = batches_for_training(data.train, augment, recipe.seed, slices, workers, pinned, stack)
        each_epoch, most = data.parts[data.choosing], 2 * recipe.slice_size
        self.tests = batches_for_testing(each_epoch, prepare, rank, size, most, workers, pinned, stack)

    def _for_testing(self) -> Transform:
        return self.task.for_testing(self.recipe, self.data)

    @property
    def model(self) -> Network:
        return self.learner.model

    @property
    def step(self) -> int:
        return self.learner.step

    @property
    def steps(self) -> int:
        return self.sampler.steps

    @property
    def result(self) -> Row:
        """The metrics on the test images: of the best weights if validation images chose them, else of the last."""
        return self.tested or self.history[-1]

    def run(self, monitor: Monitor | None = None) -> list[Row]:
        """Train to the end, or until the monitor stops it. Returns one row per epoch, as in `metrics.csv`.

        On a NonFiniteLossError, or an OSError because the folder cannot be written, the last good state is kept.
        """
        if self.lock is not None:
            self.lock.begin()
        try:
            self.monitor = monitor or Monitor()
            return self._run(self.monitor)
        finally:
            self.monitor = Monitor()  # the one given may refer to this training, which would then outlive its use
            self._release()

    def _run(self, monitor: Monitor) -> list[Row]:
        self._begin()
        first, saved, stop = self.step, time.monotonic(), False
        checked = saved
        while self.step < self.steps and not stop:
            start = time.monotonic()
            self.loss_sum += self.learner.take_step(self._slices())
            epoch_ends = self.step % self.sampler.steps_per_epoch == 0
            slow = self.processes.size == 1 and start - checked > CHECK_AFTER
            check = epoch_ends or self.step % CHECK_EVERY == 0 or self.step == first + 1 or slow
            save = self.processes.is_first and (epoch_ends or start - saved > self.save_every)
            if check or save:
                self._require_finite(weights=epoch_ends or save)  # waits for a GPU, so that its time is counted
            self.seconds += time.monotonic() - start
            if check:
                checked = time.monotonic()
                monitor.report(self.end_epoch() if epoch_ends else self.progress())
            if check or self.processes.size == 1:
                stop = self.processes.any(monitor.stop)  # all processes stop at the same step
            if save or (self.processes.is_first and stop):
                self.save()
                saved = time.monotonic()
        if self.step == self.steps:
            self._finish()
        self.processes.wait()
        return self.history

    def _release(self) -> None:
        if self.lock is not None:
            self.lock.release()

    def _begin(self) -> None:
        if self.processes.is_first:
            remove_partial_files(self.folder.path)  # which a kill left, be it in the last write of the run
        if self.processes.is_first and self.step < self.steps:
            config, weights = self.model.config, self.start.started_from
            facts = run_facts(self.recipe, self.data, config, self.processes, self.precision, weights, self.start.lines)
            self.folder.begin(self.step, facts)
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.enable_cudnn_sdp(False)  # gradients may be NaN with masks: pytorch issue 196678

    def _slices(self) -> Iterator[Batch]:
        """The slices of a step. Whoever takes one has computed the one before, so nothing waits for a GPU."""
        for done in range(self.learner.share):
            self.monitor.part("training", self.step + done / self.learner.share, self.steps)
            yield next(self.batches)

    def _tests(self) -> Iterator[Batch]:
        for done, batch in enumerate(self.tests):
            self.monitor.part("testing", done, len(self.tests))
            yield batch

    def end_epoch(self) -> Progress:
        """Test the weights and record the epoch."""
        tested = self.learner.tested.eval()
        with self.learner.autocast:
            images = self.data.parts[self.data.choosing]
            evaluation = self.task.evaluate(tested, self._tests(), self.processes, images)
        progress, result = self.progress(evaluation), row_of(self.task, evaluation, self.folder.part)
        row = {
            "epoch": progress.epoch + 1,
            "step": self.step,
            "learning_rate": progress.learning_rate,
            "train_loss": progress.loss,
            **result,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(progress.images_per_second, 1),
            "memory_mb": round(progress.memory_mb, 1),
        }
        self.history.append(row)
        self.loss_sum.zero_()
        self.seconds = 0.0
        if self.processes.is_first:
            column = self.task.selection.column(self.folder.part)
            selected = {column: result[column]}
            about = about_weights(self.recipe, self.data, progress.epoch + 1, selected, self.start.started_from)
            self.folder.write_epoch(tested, about, self.history)
        return progress

    def _finish(self) -> None:
        """Record the result. If validation images chose the best weights, test these, once."""
        if self.data.validation is not None:
            self.tested = self.folder.final_test() if self.processes.is_first else {}
            if not self.processes.any(bool(self.tested)):
                self._test_best()
        if self.processes.is_first:
            self.folder.finish(self.history, self.tested)

    def _test_best(self) -> None:
        best = copy.deepcopy(self.learner.tested).eval()
        if self.processes.is_first:
            best.load_state_dict(load(self.folder.best, self.recipe.task).state_dict())
        self.processes.copy_from_first(best)
        rank, size, most = self.processes.rank, self.processes.size, 2 * self.recipe.slice_size
        batches = batches_for_testing(
            self.data.test, self._for_testing(), rank, size, most, 0, collate=self.task.collate
        )  # fmt: skip
        with self.learner.autocast:
            self.tested = row_of(self.task, self.task.evaluate(best, batches, self.processes, self.data.test))
        if self.processes.is_first:
            self.folder.write_final_test(best, self.tested)

    def progress(self, evaluation: object = None) -> Progress:
        """The epoch so far."""
        epoch = (self.step - 1) // self.sampler.steps_per_epoch
        done = self.step - epoch * self.sampler.steps_per_epoch
        return Progress(
            self.step,
            self.steps,
            epoch,
            loss=float(self.loss_sum) / done,
            learning_rate=self.learner.learning_rate(self.step - 1),
            images_per_second=done * self.recipe.batch_size / self.seconds,
            memory_mb=peak_memory_mb(self.processes.device),
            evaluation=evaluation,
        )

    def save(self) -> None:
        self._require_finite(weights=True)
        running = {"loss_sum": float(self.loss_sum), "seconds": self.seconds}
        state = State(
            self.step, tensors_of(self.learner), self.history, running, self.learner.scaler.state_dict(),
            self.start.started_from, self.start.fingerprint, self.start.left_out, vars(self.model.config),
            {"mean": list(self.data.mean), "std": list(self.data.std)}, thread_facts(),
        )  # fmt: skip
        save_state(self.folder.state, state, self.recipe)

    def _require_finite(self, weights: bool = False) -> None:
        sums = [self.loss_sum]
        if weights:  # the last step may have spoilt them, which only the next loss would show
            sums += [weight.detach().sum().double() for weight in (*self.model.parameters(), *self.model.buffers())]
        if torch.stack(sums).isfinite().all():
            return
        rate, precision = self.learner.learning_rate(self.step - 1), str(self.precision).removeprefix("torch.")
        kept = f"The last good state: {self.folder.state}" if self.folder.state.exists() else "No state is kept yet."
        raise NonFiniteLossError(
            f"the loss is not finite at step {self.step} (learning rate {rate:.2g}, {precision}). Try a lower "
            f"lr than {self.recipe.lr:g}, a longer warm-up, or clip=1. {kept}"
        )
