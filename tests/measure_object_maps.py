"""Measure whether a map of an object finds what matters to its class outside of it, better than simpler orders.

`python -m tests.measure_object_maps --record docs/measurements/object-maps` takes the objects of test scenes that the
segmenter of the package recognises. It removes squares of 8 x 8 pixels that do not touch the object, a tenth at a time,
up to half, in the order of each method, and measures how far the probability of the object's class falls. Squares are
removed in two ways: blurred, or replaced by the mean colour of the training images.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import fmean

import torch
import tyro
from rich.progress import track
from torch import Tensor

from hatnet.data.scenes.compose import compose
from hatnet.data.scenes.cutouts import Garments
from hatnet.dense import SemanticFPN
from hatnet.dense.source import find_dense
from hatnet.files import write_whole
from hatnet.machine import cpu_model, software
from hatnet.maps.object_map import object_maps
from hatnet.studies.faithfulness.curves import descending_order
from hatnet.studies.faithfulness.patches import blur, patch_means, replace_patches
from hatnet.studies.faithfulness.statistics import interval

PATCH = 8  # pixels
BASELINES = {"blur": "Squares blurred", "mean": "Squares of the mean colour"}
FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5)  # of the squares outside the object


@dataclass(frozen=True)
class Object:
    """An object of a scene, which the segmenter recognises."""

    scene: int
    model: SemanticFPN
    image: Tensor  # (3, H, W) in [0, 1]
    mask: Tensor  # (H, W)
    label: int

    @property
    def outside(self) -> Tensor:
        """Which squares the object does not touch, (P,)."""
        return patch_means(self.mask[None].float(), PATCH)[0] == 0

    def probability(self, images: Tensor) -> Tensor:
        """The probability of the class, averaged over the object's pixels: (B, 3, H, W) -> (B,)."""
        with torch.inference_mode():
            return self.model(images).softmax(dim=1)[:, self.label, self.mask].mean(dim=1)


def object_map(each: Object) -> Tensor:
    found = object_maps(each.model, each.image, each.mask[None], [each.label], pixels=True)
    return torch.from_numpy(found)[0]


def gradient_times_input(each: Object) -> Tensor:
    """The gradient of each pixel times its difference from the mean of the training images."""
    image = each.image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(each.model(image[None])[0, each.label, each.mask].mean(), image)
    mean = torch.tensor(each.model.transform.image_mean)[:, None, None]
    return (slope * (each.image - mean)).sum(dim=0)


def nearness(each: Object) -> Tensor:
    """Minus the distance from the object: what is nearest comes first."""
    places = torch.stack(torch.meshgrid(*map(torch.arange, each.mask.shape), indexing="ij"), dim=-1).float()
    return -torch.cdist(places.flatten(0, 1), places[each.mask]).min(dim=1).values.view(each.mask.shape)


def chance(each: Object) -> Tensor:
    """All places are equal; `descending_order` breaks ties at random."""
    return torch.zeros(each.mask.shape)


METHODS: dict[str, Callable[[Object], Tensor]] = {
    "map of the object": object_map,
    "gradient x input": gradient_times_input,
    "nearest first": nearness,
    "random": chance,
}


def objects(model: SemanticFPN, scenes: int) -> Iterator[Object]:
    """The objects of the first test scenes of which the segmenter names more than half of the pixels correctly."""
    source = Garments()
    for index in range(scenes):
        scene = compose(source, "val", index, 128, seed=0)
        image = torch.from_numpy(scene.pixels).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            answer = model(image[None])[0].argmax(dim=0)
        for number, garment in enumerate(scene.labels, 1):
            mask, label = torch.from_numpy(scene.owner == number), garment + 1  # class 0 is the background
            if (answer[mask] == label).float().mean() > 0.5:
                yield Object(index, model, image, mask, label)


def share_inside(each: Object) -> tuple[float, float]:
    """How much of its map lies on the object, and how much of the image does."""
    found = object_map(each)
    return round(float(found[each.mask].sum() / found.sum()), 5), round(float(each.mask.float().mean()), 5)


def removed(image: Tensor, baseline: str, model: SemanticFPN) -> Tensor:
    """The image (1, 3, H, W) without anything in it."""
    if baseline == "blur":
        return blur(image, PATCH)
    return torch.tensor(model.transform.image_mean).view(1, -1, 1, 1).expand_as(image)


def drops(each: Object, method: str, generator: torch.Generator) -> dict[str, list[float]]:
    """How far the probability has fallen at each of `FRACTIONS`, for each of `BASELINES`."""
    outside = each.outside
    scores = patch_means(METHODS[method](each)[None].float(), PATCH)[0].masked_fill(~outside, -torch.inf)
    rank = descending_order(scores[None], generator).argsort(dim=1)  # (1, P); squares of the object come last
    counts = torch.tensor([round(fraction * int(outside.sum())) for fraction in FRACTIONS])
    before, found = each.probability(each.image[None]), {}
    for baseline in BASELINES:
        ends = removed(each.image[None], baseline, each.model).expand(len(counts), -1, -1, -1)
        changed = replace_patches(each.image.expand_as(ends), ends, rank < counts[:, None], PATCH)
        found[baseline] = [round(fall, 5) for fall in (before - each.probability(changed)).tolist()]
    return found


def of_scenes(values: list[float], scenes: list[int]) -> list[float]:
    """The mean over the objects of each scene: objects that share an image are not independent."""
    groups: dict[int, list[float]] = {}
    for scene, value in zip(scenes, values, strict=True):
        groups.setdefault(scene, []).append(value)
    return [fmean(group) for group in groups.values()]


def words(values: list[float], scenes: list[int]) -> str:
    """A mean with its 95 % interval over scenes."""
    found = interval(of_scenes(values, scenes))
    return f"{found.mean:z.1f} ± {found.margin:.1f}".replace("-", "\N{MINUS SIGN}")


def table(found: dict[str, list[dict[str, list[float]]]], scenes: list[int]) -> str:
    """How far the probability falls for each order, first and last and on average, beside two other orders."""
    lines = []
    for baseline, title in BASELINES.items():
        lines += [f"**{title}**", ""]
        lines += ["| Order | first<br>tenth | half | mean | mean above<br>random | mean above<br>nearest |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | ---: |"]
        falls = {
            method: [[100 * fall for fall in each[baseline]] for each in values] for method, values in found.items()
        }
        means = {method: list(map(fmean, values)) for method, values in falls.items()}
        for method, values in falls.items():
            ends = [words([each[at] for each in values], scenes) for at in (0, -1)]
            versus = [
                "" if method == other
                else words([a - b for a, b in zip(means[method], means[other], strict=True)], scenes)
                for other in ("random", "nearest first")
            ]  # fmt: skip
            cells = [method.replace(" ", "&nbsp;"), *ends, words(means[method], scenes), *versus]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def sentence(inside: list[tuple[float, float]], scenes: list[int]) -> str:
    """Where the maps lie."""
    shares, areas = ([100 * value for value in values] for values in zip(*inside, strict=True))
    return (
        f"{len(inside)} objects in {len(set(scenes))} scenes; percentage points, with 95 % intervals over scenes. "
        f"{words(shares, scenes)} % of a map lies on its object, which covers {words(areas, scenes)} % of the image."
    )


@dataclass(frozen=True)
class Options:
    """What to measure, and where the record goes."""

    scenes: int = 150
    seed: int = 0
    record: Path | None = None  # without suffix


def main(options: Options) -> None:
    """Measure all methods on the same objects; print the table; write the record if asked."""
    model = find_dense("scenes-segmentation").model
    assert isinstance(model, SemanticFPN)
    generator = torch.Generator().manual_seed(options.seed)
    found: dict[str, list[dict[str, list[float]]]] = {method: [] for method in METHODS}
    inside: list[tuple[float, float]] = []
    scenes: list[int] = []
    for each in track(list(objects(model.eval(), options.scenes)), "objects"):
        scenes.append(each.scene)
        inside.append(share_inside(each))
        for method, values in found.items():
            values.append(drops(each, method, generator))
    shown = f"{table(found, scenes)}\n{sentence(inside, scenes)}\n"
    print(shown)
    if options.record is not None:
        facts = {
            "date": str(date.today()), "machine": cpu_model(), "software": software(), "seed": options.seed,
            "patch": PATCH, "fractions": FRACTIONS, "scene of each object": scenes,
            "share of the map and of the image inside the object": inside, "drops": found,
        }  # fmt: skip
        write_whole(options.record.with_suffix(".json"), json.dumps(facts).encode())
        write_whole(options.record.with_suffix(".txt"), shown.encode())


if __name__ == "__main__":
    main(tyro.cli(Options))
