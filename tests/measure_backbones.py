"""Compare HAT-Net micro with torchvision's ResNet-18 below Semantic FPN, on the same scenes, from random weights.

`python -m tests.measure_backbones --record docs/measurements/scenes-backbones` trains both with each seed by the recipe
`scenes-segmentation`, without its starting weights, then writes the record and the table of the site. Trainings that
are done are kept: after Ctrl-C, the same command goes on. `--arms` and `--seeds` divide the work; a call without
`--record` trains only.
"""

from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import date
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import torch
import tyro
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FeaturePyramidNetwork

from hatnet.config import HATNetConfig
from hatnet.data import open_data
from hatnet.dense import SemanticFPN
from hatnet.dense.semantic_fpn import SemanticFPNHead
from hatnet.files import json_bytes, write_whole
from hatnet.machine import cpu_model, software
from hatnet.network import Backbone
from hatnet.training.distributed import Processes
from hatnet.training.loop import Training
from hatnet.training.progress import Monitor
from hatnet.training.recipes import Recipe, get_recipe
from hatnet.training.run_folder import read_metrics

CHANNELS = [64, 128, 256, 512]  # of ResNet-18's four maps


class ResNet18(Backbone):
    """torchvision's ResNet-18 where the training expects a HAT-Net: a body without MLPs and blocks of ours."""

    def __init__(self, config: HATNetConfig) -> None:
        nn.Module.__init__(self)
        self.config, self.stages = config, nn.ModuleList()
        self.maps = IntermediateLayerGetter(resnet18(weights=None), {f"layer{k + 1}": str(k) for k in range(4)})

    def _check(self, image: Tensor) -> None:
        """Images of a training are right."""

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.maps(image)


class ResNetSegmenter(SemanticFPN):
    """Semantic FPN on ResNet-18: the same pyramid and head, with a level for each of its four maps."""

    def __init__(self, config: HATNetConfig, width: int) -> None:
        super().__init__(config, width=width)
        parts = OrderedDict(body=ResNet18(config), fpn=FeaturePyramidNetwork(CHANNELS, width))
        self.backbone = nn.Sequential(parts)  # type: ignore[assignment]
        self.head = SemanticFPNHead(len(CHANNELS), width, config.num_classes, width // 2)


BUILD = {"HAT-Net micro": SemanticFPN, "ResNet-18": ResNetSegmenter}


@dataclass(frozen=True)
class Options:
    """What to train, and where results go."""

    folder: Path = Path("runs/backbones")
    data_dir: Path = Path("data")
    epochs: int = 3
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[str, ...] = tuple(BUILD)
    record: Path | None = None  # where the record goes, without suffix, once all trainings are done


def recipe_of(arm: str, epochs: int, seed: int) -> Recipe:
    """The recipe without its weights, which only HAT-Net could start from; each network has its own random ones."""
    initial = "fan-in" if arm == "HAT-Net micro" else "authors"  # the latter leaves torchvision's weights as they are
    return replace(get_recipe("scenes-segmentation"), epochs=epochs, seed=seed, weights=None, initial_weights=initial)


def build(arm: str, config: HATNetConfig) -> SemanticFPN:
    return BUILD[arm](config, width=get_recipe("scenes-segmentation").width)


def train(arm: str, seed: int, options: Options) -> None:
    """One training, or what is left of it."""
    recipe, folder = recipe_of(arm, options.epochs, seed), folder_of(arm, seed, options)
    data = open_data(recipe.data, options.data_dir, task="segmentation")
    training = Training(
        recipe, data, folder, Processes(0, 1, torch.device("cpu")), resume=True, threads=1,
        build=lambda config: build(arm, config),
    )  # fmt: skip
    if training.step < training.steps:
        print(f"{arm}, seed {seed}: {training.steps - training.step} steps, into {folder}", flush=True)
        training.run(Monitor())


def folder_of(arm: str, seed: int, options: Options) -> Path:
    return options.folder / f"{arm.lower().replace(' ', '-')}-seed-{seed}"


def costs(arm: str) -> dict[str, float]:
    """Parameters, and multiply-accumulates of one scene as PyTorch counts them."""
    config = recipe_of(arm, 1, 0).config(6, 3)
    model = build(arm, config).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 128, 128))
    return {"parameters": sum(p.numel() for p in model.parameters()), "MACs": counter.get_total_flops() // 2}


def results(options: Options) -> dict[str, dict]:
    """Of each arm its costs, and the mean IoU of each seed."""
    found = {}
    for arm in options.arms:
        last = [read_metrics(folder_of(arm, seed, options) / "metrics.csv")[-1] for seed in options.seeds]
        assert all(row["epoch"] == options.epochs for row in last)
        scores = [row["test_mean_IoU"] for row in last]
        found[arm] = costs(arm) | {"mean IoU": scores}
    return found


def table(found: dict[str, dict]) -> str:
    """The table of the site."""
    lines = ["| Backbone | M parameters | M MACs | mean IoU of each seed, % | mean | standard deviation |"]
    lines += ["| --- | ---: | ---: | --- | ---: | ---: |"]
    for arm, facts in found.items():
        scores = [100 * score for score in facts["mean IoU"]]
        each = ", ".join(f"{score:.1f}" for score in scores)
        spread = f"{stdev(scores):.1f}" if len(scores) > 1 else "one seed"
        cost = f"{facts['parameters'] / 1e6:.2f} | {facts['MACs'] / 1e6:,.0f}"
        lines.append(f"| {arm} | {cost} | {each} | {mean(scores):.1f} % | {spread} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Train what is missing; write the record if asked."""
    for seed, arm in product(options.seeds, options.arms):
        train(arm, seed, options)
    if options.record is not None:
        found = results(options)
        facts = {
            "date": str(date.today()), "machine": cpu_model(), "software": software(),
            "epochs": options.epochs, "seeds": options.seeds, "results": found,
        }  # fmt: skip
        write_whole(options.record.with_suffix(".json"), json_bytes(facts))
        write_whole(options.record.with_suffix(".txt"), table(found).encode())


if __name__ == "__main__":
    main(tyro.cli(Options))
