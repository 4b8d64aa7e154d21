"""A training on paper: steps, memory, data rate and hours, before any machine is rented.

Nothing here was measured. A plan is arithmetic on a recipe, on the counts of `hatnet.complexity`, and on assumptions.
Each assumption is a field of `Assumptions` with its reason. Change one and plan again.

`python -m hatnet.studies.plan` prints the tables of the page on training at scale.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import ceil, inf
from types import NoneType
from typing import Any

from hatnet.checks import is_number, require_type, require_whole, shown
from hatnet.complexity import network_costs, total, training_memory
from hatnet.training.recipes import Recipe, get_recipe
from hatnet.training.sampling import BatchSampler

IMAGENET = 1_281_167  # training images of ImageNet-1K
IMAGENET_TESTS = 50_000


def _assume(value: float, because: str, high: float = inf) -> Any:
    return field(default=value, metadata={"because": because, "high": high})


@dataclass(frozen=True)
class Assumptions:
    """The assumptions of a plan, with the reason for each value. Units are FLOP, bytes and seconds.

    Raises ValueError, naming the field, if a value is not above 0, or a fraction is above 1.
    """

    gpus: int = _assume(8, "the paper's number, there V100")
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
    workers_per_gpu: int = _assume(8, "the default of `hatnet train`, if there are enough processors")
    seconds_per_image: float = _assume(0.010, "to decode and augment: a guess, twice what 500 x 400 took on 2.8 GHz")
    file_bytes: float = _assume(115e3, "the 147.9 GB of ImageNet's training files, divided by their number")

    def __post_init__(self) -> None:
        for assumption in fields(self):
            value, high = getattr(self, assumption.name), assumption.metadata["high"]
            if not is_number(value) or not 0 < value <= high or value == inf:
                raise ValueError(
                    f"{assumption.name}={shown(value)} must be above 0" + (f", at most {high}" * (high < inf))
                )

    @property
    def seconds_per_mac(self) -> float:
        """Seconds of a GPU for one MAC of the forward pass, backward pass included; a MAC is two FLOP."""
        return 2 * (1 + self.backward) / (self.gpu_flops * self.flops_reached)

    @property
    def loader_rate(self) -> float:
        """Images per second from all workers together."""
        return self.gpus * self.workers_per_gpu / self.seconds_per_image


@dataclass(frozen=True)
class Plan:
    """Memory, time and data rates of one training. Units are bytes and seconds."""

    steps_per_epoch: int
    steps: int  # of the whole training
    slices_per_gpu: int  # that a GPU computes one after the other in each step

    activation_bytes: float  # of one slice, kept for the backward pass
    weight_bytes: int  # weights, gradients, AdamW's moments, and copies of them
    memory_share: float  # fraction of a GPU's memory that both take
    exchanged_bytes: float  # that each GPU sends per step; it receives as many

    computing: float  # seconds per step for arithmetic
    moving: float  # seconds per step to move activations to and from memory; this overlaps with arithmetic
    exchanging: float  # seconds per step to exchange gradients
    loading: float  # seconds in which all workers together prepare a batch, while the GPUs compute

    gpu_images_per_second: float  # training images, if images are always ready
    loader_images_per_second: float  # from all workers together
    workers_wanted: int  # to keep the GPUs busy
    disk_bytes_per_second: float  # with enough workers; a repeated image is read once
    hours: float  # of the training, tests included
    hours_if_fed: float  # the same, if the GPUs never wait for images

    @property
    def limit(self) -> str:
        """The slowest part of a step: arithmetic, memory, links or images."""
        parts = {"arithmetic": self.computing, "memory": self.moving, "links": self.exchanging, "images": self.loading}
        return max(parts, key=lambda name: parts[name])


def plan(
    recipe: Recipe,
    assumptions: Assumptions | None = None,
    *,
    images: int = IMAGENET,
    tests: int = IMAGENET_TESTS,
    classes: int = 1000,
    channels: int = 3,
) -> Plan:
    """Plan a training on `images` images, with `tests` images tested after every epoch.

    Raises ValueError if the GPUs cannot share a batch's slices evenly, or a batch is larger than the training set.

    >>> on_paper = plan(get_recipe("imagenet"))
    >>> on_paper.steps, on_paper.limit
    (375300, 'images')
    """
    require_type("recipe", recipe, Recipe, "a Recipe, such as get_recipe('imagenet')")
    given, order = _checked(assumptions), BatchSampler.of(recipe, images)
    slices, config, side = order.share(given.gpus), recipe.config(classes, channels), recipe.image_size
    cost = total(network_costs(config, side, side))
    kept = recipe.slice_size * training_memory(config, side, side, recompute=recipe.recompute) * given.element_bytes
    held = cost.parameters * _bytes_per_parameter(recipe, given.gpus)
    sent = 2 * (given.gpus - 1) / given.gpus * 4 * cost.parameters  # around a ring, in float32

    computing = slices * recipe.slice_size * cost.total_macs * given.seconds_per_mac
    moving = slices * kept * given.passes / (given.gpu_bandwidth * given.bandwidth_reached)
    exchanging = sent / (given.link_bandwidth * given.link_reached)
    loading = recipe.batch_size / given.loader_rate
    step = max(computing, moving) + exchanging
    rate = recipe.batch_size / step
    test_rate = rate * (1 + given.backward)  # a test has no backward pass
    tests = require_whole("tests", tests, 0) * recipe.epochs
    return Plan(
        steps_per_epoch=order.steps_per_epoch,
        steps=order.steps,
        slices_per_gpu=slices,
        activation_bytes=kept,
        weight_bytes=held,
        memory_share=(kept + held) / given.gpu_memory,
        exchanged_bytes=sent,
        computing=computing,
        moving=moving,
        exchanging=exchanging,
        loading=loading,
        gpu_images_per_second=rate,
        loader_images_per_second=given.loader_rate,
        workers_wanted=ceil(rate * given.seconds_per_image),
        disk_bytes_per_second=rate * given.file_bytes / recipe.repeats,
        hours=(order.steps * max(step, loading) + tests / min(test_rate, given.loader_rate)) / 3600,
        hours_if_fed=(order.steps * step + tests / test_rate) / 3600,
    )


def _checked(assumptions: Assumptions | None) -> Assumptions:
    require_type("assumptions", assumptions, (Assumptions, NoneType), "Assumptions, or None")
    return assumptions or Assumptions()


def _bytes_per_parameter(recipe: Recipe, gpus: int) -> int:
    # Weight, gradient, two moments and any average in float32; autocast's copy; buckets to exchange gradients.
    return 4 * 4 + (4 if recipe.ema else 0) + 2 + (4 if gpus > 1 else 0)


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
