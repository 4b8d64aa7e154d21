"""A training on paper: steps, memory, data rate and hours, before any machine is rented.

Nothing here was measured. A plan is arithmetic on a recipe, on the counts of `hatnet.complexity`, and on assumptions.
Each assumption is a field of `Assumptions` with its reason. Change one and plan again.

`python -m hatnet.studies.plan` prints the tables of the page on training at scale.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import ceil, inf

from hatnet.complexity import Cost, network_costs, total, training_memory
from hatnet.training.recipes import Recipe, get_recipe
from hatnet.training.sampling import BatchSampler

IMAGENET = 1_281_167  # training images of ImageNet-1K
IMAGENET_TESTS = 50_000


def _assume(value: float, because: str, high: float = inf) -> float:
    return field(default=value, metadata={"because": because, "high": high})


def _count(value: int, because: str) -> int:
    return field(default=value, metadata={"because": because, "high": inf})


@dataclass(frozen=True)
class Assumptions:
    """The assumptions of a plan, with the reason for each value. Units are FLOP, bytes and seconds.

    Raises ValueError, naming the field, if a value is not above 0, or a fraction is above 1.
    """

    gpus: int = _count(8, "the paper's number, there V100")
    gpu_flops: float = _assume(989e12, "an H200's dense bfloat16 peak, by its data sheet")
    gpu_memory: float = _assume(141e9, "an H200's, by its data sheet")
    gpu_bandwidth: float = _assume(4.8e12, "of an H200's memory, by its data sheet")
    link_bandwidth: float = _assume(450e9, "NVLink of an H200 in one direction, half of its data sheet's 900 GB/s")
    flops_reached: float = _assume(0.3, "a guess: 48 to 640 channels make small matrices", high=1)
    bandwidth_reached: float = _assume(0.6, "a guess, for kernels that only move data", high=1)
    link_reached: float = _assume(0.5, "a guess, without overlap with the backward pass", high=1)
    backward: float = _assume(2, "MACs relative to the forward pass: gradients of the inputs and of the weights")
    element_bytes: float = _assume(3, "under autocast norms give 4 bytes and matrices 2; see the check below")
    passes: float = _assume(5, "over each activation: written, read twice, its gradient written and read")
    workers_per_gpu: int = _count(8, "the default of `hatnet train`, if there are enough processors")
    seconds_per_image: float = _assume(0.010, "to decode and augment: a guess, twice what 500 x 400 took on 2.8 GHz")
    file_bytes: float = _assume(115e3, "the 147.9 GB of ImageNet's training files, divided by their number")

    def __post_init__(self) -> None:
        for assumption in fields(self):
            value, high = getattr(self, assumption.name), assumption.metadata["high"]
            if not 0 < value <= high:
                raise ValueError(f"{assumption.name}={value} must be above 0" + (f", at most {high}" * (high < inf)))

    @property
    def workers(self) -> int:
        """Workers on all GPUs together."""
        return self.gpus * self.workers_per_gpu


@dataclass(frozen=True)
class Plan:
    """Memory, time and data rates of one training. Units are bytes and seconds."""

    recipe: Recipe
    assumptions: Assumptions
    order: BatchSampler  # of the training images
    tests: int  # images tested after every epoch
    cost: Cost  # of one image
    activations: int  # elements per image that the forward pass keeps for the backward pass

    # --- Steps -------------------------------------------------------------------------------------------------------

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch."""
        return self.order.steps_per_epoch

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.order.steps

    @property
    def slices_per_gpu(self) -> int:
        """Slices that a GPU computes one after the other in each step."""
        return self.order.share(self.assumptions.gpus)

    @property
    def images_per_gpu(self) -> int:
        """Images that a GPU computes in each step."""
        return self.slices_per_gpu * self.recipe.slice_size

    # --- Memory of one GPU -------------------------------------------------------------------------------------------

    @property
    def activation_bytes(self) -> float:
        """Activations of one slice that are kept for the backward pass."""
        return self.recipe.slice_size * self._activation_bytes_per_image

    @property
    def weight_bytes(self) -> int:
        """Weights, gradients and AdamW's moments in float32, autocast's copy, and an average and buckets if used."""
        average, buckets = 4 * bool(self.recipe.ema), 4 * (self.assumptions.gpus > 1)
        return self.cost.parameters * (4 * 4 + average + 2 + buckets)

    @property
    def memory_share(self) -> float:
        """Fraction of a GPU's memory that both take."""
        return (self.activation_bytes + self.weight_bytes) / self.assumptions.gpu_memory

    @property
    def _activation_bytes_per_image(self) -> float:
        return self.activations * self.assumptions.element_bytes

    # --- Seconds per step --------------------------------------------------------------------------------------------

    @property
    def computing(self) -> float:
        """Seconds per step for arithmetic; a MAC is two FLOP."""
        flops = 2 * self.cost.total_macs * (1 + self.assumptions.backward)
        return self.images_per_gpu * flops / (self.assumptions.gpu_flops * self.assumptions.flops_reached)

    @property
    def moving(self) -> float:
        """Seconds per step for moving activations to and from memory; this overlaps with arithmetic."""
        moved = self.images_per_gpu * self._activation_bytes_per_image * self.assumptions.passes
        return moved / (self.assumptions.gpu_bandwidth * self.assumptions.bandwidth_reached)

    @property
    def exchanged_bytes(self) -> float:
        """Bytes that each GPU sends per step, around a ring and in float32; it receives as many."""
        gpus = self.assumptions.gpus
        return 2 * (gpus - 1) / gpus * 4 * self.cost.parameters

    @property
    def exchanging(self) -> float:
        """Seconds per step for the exchange of gradients."""
        return self.exchanged_bytes / (self.assumptions.link_bandwidth * self.assumptions.link_reached)

    @property
    def loading(self) -> float:
        """Seconds in which all workers together prepare a batch, while the GPUs compute."""
        return self.recipe.batch_size * self.assumptions.seconds_per_image / self.assumptions.workers

    @property
    def gpu_step(self) -> float:
        """Seconds per step on the GPUs, if images are always ready."""
        return max(self.computing, self.moving) + self.exchanging

    @property
    def limit(self) -> str:
        """The slowest part of a step: arithmetic, memory, links or images."""
        parts = {"arithmetic": self.computing, "memory": self.moving, "links": self.exchanging, "images": self.loading}
        return max(parts, key=lambda name: parts[name])

    # --- Data rates and hours ----------------------------------------------------------------------------------------

    @property
    def gpu_images_per_second(self) -> float:
        """Training images per second, if images are always ready."""
        return self.recipe.batch_size / self.gpu_step

    @property
    def loader_images_per_second(self) -> float:
        """Images per second from the workers."""
        return self.assumptions.workers / self.assumptions.seconds_per_image

    @property
    def workers_wanted(self) -> int:
        """Workers needed to keep the GPUs busy."""
        return ceil(self.gpu_images_per_second * self.assumptions.seconds_per_image)

    @property
    def disk_bytes_per_second(self) -> float:
        """Bytes read from disk per second with enough workers; a repeated image is read once."""
        return self.gpu_images_per_second * self.assumptions.file_bytes / self.recipe.repeats

    @property
    def hours(self) -> float:
        """Hours of the training, tests included."""
        test_rate = min(self._gpu_tests_per_second, self.loader_images_per_second)
        return self._hours(max(self.gpu_step, self.loading), test_rate)

    @property
    def hours_if_fed(self) -> float:
        """Hours of the training, if the GPUs never wait for images."""
        return self._hours(self.gpu_step, self._gpu_tests_per_second)

    @property
    def _gpu_tests_per_second(self) -> float:
        return self.gpu_images_per_second * (1 + self.assumptions.backward)  # a test has no backward pass

    def _hours(self, seconds_per_step: float, tests_per_second: float) -> float:
        tests = self.recipe.epochs * self.tests
        return (self.steps * seconds_per_step + tests / tests_per_second) / 3600


def plan(
    recipe: Recipe,
    assumptions: Assumptions | None = None,
    *,
    images: int = IMAGENET,
    tests: int = IMAGENET_TESTS,
    classes: int = 1000,
    channels: int = 3,
) -> Plan:
    """Plan a training on paper.

    Args:
        recipe: the recipe of the training.
        assumptions: on machines and data; the defaults if None.
        images: number of training images.
        tests: number of images tested after every epoch.
        classes: number of classes.
        channels: channels of an image.

    Raises:
        ValueError: if the GPUs cannot share a batch's slices evenly, or a batch is larger than the training set.

    >>> on_paper = plan(get_recipe("imagenet"))
    >>> on_paper.steps, on_paper.limit
    (375300, 'images')
    """
    assumptions = assumptions or Assumptions()
    order = BatchSampler.of(recipe, images)
    order.share(assumptions.gpus)  # raises where it cannot
    config, side = recipe.config(classes, channels), recipe.image_size
    cost, activations = total(network_costs(config, side, side)), training_memory(config, side, side)
    return Plan(recipe, assumptions, order, tests, cost, activations)


# The rows of the page's tables.
ROWS: dict[str, Callable[[Plan], str]] = {
    "steps": lambda p: f"{p.steps:,}",
    "slices per GPU and step": lambda p: f"{p.slices_per_gpu}",
    "GPU memory: activations": lambda p: f"{p.activation_bytes / 1e9:.1f} GB",
    "GPU memory: weights, gradients, optimiser": lambda p: f"{p.weight_bytes / 1e9:.2f} GB",
    "GPU memory used": lambda p: f"{p.memory_share:.0%}",
    "time per step: arithmetic": lambda p: f"{1e3 * p.computing:.1f} ms",
    "time per step: moving activations": lambda p: f"{1e3 * p.moving:.1f} ms",
    "time per step: exchanging gradients": lambda p: f"{1e3 * p.exchanging:.2f} ms",
    "time per step: preparing images": lambda p: f"{1e3 * p.loading:.1f} ms",
    "data sent per GPU and step": lambda p: f"{p.exchanged_bytes / 1e6:.0f} MB",
    "images/s that the GPUs can process": lambda p: f"{p.gpu_images_per_second:,.0f}",
    "images/s that the workers can prepare": lambda p: f"{p.loader_images_per_second:,.0f}",
    "workers needed to keep the GPUs busy": lambda p: f"{p.workers_wanted:,}",
    "read from disk with these workers": lambda p: f"{p.disk_bytes_per_second / 1e6:,.0f} MB/s",
    "hours": lambda p: f"**{p.hours:.1f}**",
    "hours, if the GPUs never wait": lambda p: f"{p.hours_if_fed:.1f}",
}


def plan_table(plans: Mapping[str, Plan]) -> str:
    """Plans side by side, as Markdown."""
    lines = [f"| | {' | '.join(plans)} |", "| --- |" + " ---: |" * len(plans)]
    lines += [f"| {name} | {' | '.join(cell(p) for p in plans.values())} |" for name, cell in ROWS.items()]
    return "\n".join(lines)


def assumption_table(assumptions: Assumptions) -> str:
    """The assumptions and their reasons, as Markdown."""
    lines = ["| Assumption | Value | Reason |", "| --- | ---: | --- |"]
    for entry in fields(assumptions):
        value, because = getattr(assumptions, entry.name), entry.metadata["because"]
        lines.append(f"| `{entry.name}` | {_number(value)} | {because} |")
    return "\n".join(lines)


def variants_on_paper() -> dict[str, Plan]:
    """Plans of the paper's training of its four networks."""
    recipe = get_recipe("imagenet")
    return {
        "Tiny": plan(recipe),
        "Small": plan(replace(recipe, variant="small")),
        "Medium": plan(replace(recipe, variant="medium", drop_path=0.3, clip=1.0)),
        "Large": plan(replace(recipe, variant="large", drop_path=0.3, clip=1.0)),
    }


def machines_on_paper() -> dict[str, Plan]:
    """Plans of the training of Tiny on fewer and on more GPUs."""
    recipe, eight = get_recipe("imagenet"), Assumptions()
    between = replace(eight, gpus=16, link_bandwidth=50e9)  # 400 Gbit/s per GPU between the machines
    return {
        "1 GPU": plan(recipe, replace(eight, gpus=1)),
        "8 GPUs": plan(recipe, eight),
        "8 GPUs, 14 workers each": plan(recipe, replace(eight, workers_per_gpu=14)),
        "16 GPUs, two machines": plan(replace(recipe, slice_size=64), between),
    }


def _number(value: float) -> str:
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g} {name}"
    return f"{value:g}"


if __name__ == "__main__":
    print(assumption_table(Assumptions()), plan_table(variants_on_paper()), plan_table(machines_on_paper()), sep="\n\n")
