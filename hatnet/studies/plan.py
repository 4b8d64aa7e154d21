"""A training on paper: steps, memory, data rate and hours, before any machine is rented.

Nothing here was measured on the machines it speaks of. A plan is arithmetic on a recipe, on what `hatnet.complexity`
counts, and on assumptions, each of which is a field of `Assumptions` with its reason. Change one and plan again.

`python -m hatnet.studies.plan` prints the tables of the page on training at scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import ceil, inf

from hatnet.complexity import network, total, training_memory
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
    """What a plan takes for granted, with the reason for each value. Units are FLOP, bytes and seconds.

    Raises ValueError, naming the field, for a value that is not above 0, or a share above 1.
    """

    gpus: int = _count(8, "as many as the paper had, of V100")
    gpu_flops: float = _assume(989e12, "an H200's dense bfloat16 peak, by its data sheet")
    gpu_memory: float = _assume(141e9, "an H200's, by its data sheet")
    gpu_bandwidth: float = _assume(4.8e12, "of an H200's memory, by its data sheet")
    link_bandwidth: float = _assume(450e9, "NVLink of an H200 in one direction, half of its data sheet's 900 GB/s")
    flops_reached: float = _assume(0.3, "a guess: 48 to 640 channels make small matrices", high=1)
    bandwidth_reached: float = _assume(0.6, "a guess, for kernels that only move data", high=1)
    link_reached: float = _assume(0.5, "a guess, and no overlap with the backward pass", high=1)
    backward: float = _assume(2, "MACs, of those of the forward pass: for the gradients of inputs and of weights")
    element_bytes: float = _assume(3, "under autocast norms give 4 bytes and matrices 2; see the check below")
    passes: float = _assume(5, "over what is kept: written, read twice, its gradient written and read")
    workers_per_gpu: int = _count(8, "what `hatnet train` starts, where there are as many processors")
    seconds_per_image: float = _assume(0.010, "to decode and augment: a guess, twice what 500 x 400 took on 2.8 GHz")
    file_bytes: float = _assume(115e3, "the 147.9 GB of ImageNet's training files over their number")

    def __post_init__(self) -> None:
        for assumption in fields(self):
            value, high = getattr(self, assumption.name), assumption.metadata["high"]
            if not 0 < value <= high:
                raise ValueError(f"{assumption.name}={value} must be above 0" + (f", at most {high}" * (high < inf)))


@dataclass(frozen=True)
class Plan:
    """What comes of a recipe and assumptions. Bytes and seconds."""

    steps_per_epoch: int
    steps: int
    slices_per_gpu: int  # one after the other in each step

    activation_bytes: float  # kept for the backward pass of one slice
    weight_bytes: int  # weights, gradients, AdamW's moments, an average if there is one, and copies of them
    memory_share: float  # of a GPU's memory that both take
    exchanged_bytes: float  # that each GPU sends in a step, and as much that it receives

    computing: float  # seconds of a step in which arithmetic units would be busy
    moving: float  # and memory; the two overlap
    exchanging: float  # and the links
    loading: float  # seconds in which all workers together prepare a batch, while the GPUs compute

    gpu_images_per_second: float  # that the GPUs would take
    loader_images_per_second: float  # that the workers would give
    workers_wanted: int  # for the GPUs not to wait
    disk_bytes_per_second: float  # read if they do not wait; an image that is repeated is read once
    hours: float
    hours_if_fed: float  # if the GPUs never waited for images

    @property
    def limit(self) -> str:
        """What a step waits for most."""
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
    """Work a training out on paper.

    Args:
        recipe: what is to be trained.
        assumptions: on machines and data.
        images: to train on.
        tests: images to be tested on after every epoch.
        classes: of the data set.
        channels: of an image.

    Raises:
        ValueError: if the GPUs can't share a batch's slices evenly, or there are fewer images than a batch has.

    >>> on_paper = plan(get_recipe("imagenet"))
    >>> on_paper.steps, on_paper.limit
    (375300, 'images')
    """
    given = assumptions or Assumptions()
    order = BatchSampler.of(recipe, images)
    slices, config = order.share(given.gpus), recipe.config(classes, channels)
    mine = slices * recipe.slice_size  # images of a step on one GPU

    cost = total(network(config, recipe.image_size, recipe.image_size))
    flops = 2 * cost.total_macs * (1 + given.backward)  # a MAC is two FLOP
    kept = training_memory(config, recipe.image_size, recipe.image_size) * given.element_bytes
    sent = 2 * (given.gpus - 1) / given.gpus * 4 * cost.parameters  # around a ring, in float32

    computing = mine * flops / (given.gpu_flops * given.flops_reached)
    moving = mine * kept * given.passes / (given.gpu_bandwidth * given.bandwidth_reached)
    exchanging = sent / (given.link_bandwidth * given.link_reached)
    held = cost.parameters * _bytes_per_parameter(recipe, given.gpus)
    workers = given.gpus * given.workers_per_gpu
    loading = recipe.batch_size * given.seconds_per_image / workers

    step = max(computing, moving) + exchanging
    taken, given_out = recipe.batch_size / step, workers / given.seconds_per_image
    testing = 1 + given.backward  # times as fast as training, on a GPU
    fed = order.steps * step + recipe.epochs * tests / (taken * testing)
    whole = order.steps * max(step, loading) + recipe.epochs * tests / min(taken * testing, given_out)
    return Plan(
        steps_per_epoch=order.steps_per_epoch,
        steps=order.steps,
        slices_per_gpu=slices,
        activation_bytes=recipe.slice_size * kept,
        weight_bytes=held,
        memory_share=(recipe.slice_size * kept + held) / given.gpu_memory,
        exchanged_bytes=sent,
        computing=computing,
        moving=moving,
        exchanging=exchanging,
        loading=loading,
        gpu_images_per_second=taken,
        loader_images_per_second=given_out,
        workers_wanted=ceil(taken * given.seconds_per_image),
        disk_bytes_per_second=taken * given.file_bytes / recipe.repeats,
        hours=whole / 3600,
        hours_if_fed=fed / 3600,
    )


def _bytes_per_parameter(recipe: Recipe, gpus: int) -> int:
    """Weight, gradient, two moments and any average in float32; autocast's copy; and DDP's buckets of gradients."""
    return 4 * 4 + (4 if recipe.ema else 0) + 2 + (4 if gpus > 1 else 0)


def assumption_table(assumptions: Assumptions) -> str:
    """The assumptions and their reasons, as Markdown."""
    lines = ["| Assumption | Value | Because |", "| --- | ---: | --- |"]
    for entry in fields(assumptions):
        value, because = getattr(assumptions, entry.name), entry.metadata["because"]
        lines.append(f"| `{entry.name}` | {_number(value)} | {because} |")
    return "\n".join(lines)


def plan_table(plans: Mapping[str, Plan]) -> str:
    """Plans side by side, as Markdown."""
    rows: dict[str, Callable[[Plan], str]] = {
        "steps": lambda p: f"{p.steps:,}",
        "slices one after the other": lambda p: f"{p.slices_per_gpu}",
        "GPU memory: activations": lambda p: f"{p.activation_bytes / 1e9:.1f} GB",
        "GPU memory: weights and their like": lambda p: f"{p.weight_bytes / 1e9:.2f} GB",
        "GPU memory taken": lambda p: f"{p.memory_share:.0%}",
        "a step: arithmetic": lambda p: f"{1e3 * p.computing:.1f} ms",
        "a step: moving activations": lambda p: f"{1e3 * p.moving:.1f} ms",
        "a step: exchanging gradients": lambda p: f"{1e3 * p.exchanging:.2f} ms",
        "a step: preparing images": lambda p: f"{1e3 * p.loading:.1f} ms",
        "each GPU sends, a step": lambda p: f"{p.exchanged_bytes / 1e6:.0f} MB",
        "images/s that the GPUs would take": lambda p: f"{p.gpu_images_per_second:,.0f}",
        "images/s that the workers give": lambda p: f"{p.loader_images_per_second:,.0f}",
        "workers, for the GPUs not to wait": lambda p: f"{p.workers_wanted:,}",
        "read from the disk then": lambda p: f"{p.disk_bytes_per_second / 1e6:,.0f} MB/s",
        "hours": lambda p: f"**{p.hours:.1f}**",
        "hours, if the GPUs never wait": lambda p: f"{p.hours_if_fed:.1f}",
    }
    lines = [f"| | {' | '.join(plans)} |", "| --- |" + " ---: |" * len(plans)]
    lines += [f"| {name} | {' | '.join(cell(p) for p in plans.values())} |" for name, cell in rows.items()]
    return "\n".join(lines)


def variants_on_paper() -> dict[str, Plan]:
    """The paper's training of its four networks."""
    recipe = get_recipe("imagenet")
    return {
        "Tiny": plan(recipe),
        "Small": plan(replace(recipe, variant="small")),
        "Medium": plan(replace(recipe, variant="medium", drop_path=0.3, clip=1.0)),
        "Large": plan(replace(recipe, variant="large", drop_path=0.3, clip=1.0)),
    }


def machines_on_paper() -> dict[str, Plan]:
    """The same training of Tiny with fewer and with more GPUs."""
    recipe, eight = get_recipe("imagenet"), Assumptions()
    between = replace(eight, gpus=16, link_bandwidth=50e9)  # 400 Gbit/s a GPU from machine to machine
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
