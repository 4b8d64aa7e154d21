"""Compare HAT-Net and torchvision's ResNet-18 as backbones of the same dense models, on scenes.

`python -m tests.measure_backbones --record docs/measurements/scenes-backbones` trains every network with each seed by
the recipes: the segmenter from random weights, then each detector from the segmenter's backbone. It then writes the
record and the table of the site. Finished trainings are kept; after Ctrl-C, the same command continues. `--tasks`,
`--arms` and `--seeds` divide the work; a call without `--record` trains only.
"""

from dataclasses import dataclass, replace
from datetime import date
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import torch
import tyro
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter

from hatnet.config import HATNetConfig
from hatnet.data import open_data
from hatnet.dense.model import DenseModel
from hatnet.files import json_bytes, write_whole
from hatnet.machine import device_model, software
from hatnet.network import Backbone
from hatnet.training.distributed import Processes
from hatnet.training.loop import Training
from hatnet.training.networks import BODY, body_of
from hatnet.training.preparation import precision_of
from hatnet.training.progress import Monitor
from hatnet.training.recipes import Recipe, get_recipe
from hatnet.training.run_folder import read_metrics
from hatnet.training.tasks import task_of

RESNET = "ResNet-18"
VARIANTS = {"HAT-Net micro": "micro", "HAT-Net tiny": "tiny", RESNET: "tiny"}  # ResNet-18 has as many stages as Tiny
CHANNELS = (64, 128, 256, 512)  # of ResNet-18's four maps, at the strides of Tiny's
EPOCHS = {"segmentation": 5, "detection": 2, "instances": 1}  # 7 to 24 minutes each on one core
SCORES = {
    "segmentation": {"mean IoU": "test_mean_IoU"},
    "detection": {"AP50 of boxes": "test_box_AP50"},
    "instances": {"AP50 of boxes": "test_box_AP50", "AP50 of masks": "test_mask_AP50"},
}


class ResNet18(Backbone):
    """torchvision's ResNet-18 in place of a HAT-Net; it has none of our MLPs or blocks."""

    def __init__(self, config: HATNetConfig) -> None:
        nn.Module.__init__(self)
        self.config, self.stages = config, nn.ModuleList()
        self.maps = IntermediateLayerGetter(resnet18(weights=None), {f"layer{k + 1}": str(k) for k in range(4)})

    def _check(self, image: Tensor) -> None:
        """Images of a training are right."""

    def forward_features(self, image: Tensor, trace: Any = None) -> list[Tensor]:
        return list(self.maps(image).values())


def on_resnet(detector: type[DenseModel]) -> type[DenseModel]:
    """The same model with ResNet-18 as its backbone."""

    class OnResNet18(detector):  # type: ignore[valid-type, misc]
        def __init__(self, *arguments: Any, **settings: Any) -> None:
            super().__init__(*arguments, **settings)
            self.backbone.body = ResNet18(self.config)

    return OnResNet18


@dataclass(frozen=True)
class Options:
    """What to train, and where results go."""

    folder: Path = Path("runs/backbones")
    data: str = "scenes"
    data_dir: Path = Path("data")
    epochs: int | None = None  # None for EPOCHS
    image_size: int = 128
    batch_size: int = 8
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "bfloat16"
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[str, ...] = ("HAT-Net micro", RESNET)
    tasks: tuple[str, ...] = tuple(SCORES)
    from_segmenter: bool = True  # False: detectors start from random weights, too
    device: str = "cpu"
    workers: int = 0
    record: Path | None = None  # where the record goes, without suffix, once all trainings are done


def recipe_of(task: str, arm: str, seed: int, options: Options) -> Recipe:
    """The recipe without its weights, which only HAT-Net could start from; each network has its own random ones."""
    own = arm == RESNET or starts_from(task, options) is not None
    return replace(
        get_recipe(f"scenes-{task}"), data=options.data, variant=VARIANTS[arm], image_size=options.image_size,
        epochs=options.epochs or EPOCHS[task], seed=seed, batch_size=options.batch_size, slice_size=options.batch_size,
        precision=options.precision, weights=None,
        initial_weights="authors" if own else "fan-in",  # the former leaves the weights of `build` as they are
    )  # fmt: skip


def starts_from(task: str, options: Options) -> str | None:
    """The task from whose backbone a training starts; None for random weights."""
    return "segmentation" if options.from_segmenter and task != "segmentation" else None


def build(arm: str, recipe: Recipe, config: HATNetConfig) -> Any:
    """The model of the task, with its width and settings, on the network of `arm`."""
    if arm != RESNET:
        return task_of(recipe).build(config)
    model: Any = task_of(recipe).build(replace(config, channels=CHANNELS, head_dim=CHANNELS[0]))
    other: Any = on_resnet(type(model))
    return other(model.config, width=model.width, **model.settings)


def start(model: Any, task: str, arm: str, seed: int, options: Options) -> Any:
    """The model with the backbone that `starts_from` names, which was trained with the same network and seed."""
    first = starts_from(task, options)
    if first is not None:
        require_finished(first, arm, seed, options)
        tensors = load_file(folder_of(first, arm, seed, options) / "best.safetensors")
        body = {name.removeprefix(BODY): tensor for name, tensor in tensors.items() if name.startswith(BODY)}
        body_of(model).load_state_dict(body)
    return model


def train(task: str, arm: str, seed: int, options: Options) -> None:
    """One training, or what is left of it."""
    recipe, folder = recipe_of(task, arm, seed, options), folder_of(task, arm, seed, options)
    data = open_data(recipe.data, options.data_dir, task=task)
    training = Training(
        recipe, data, folder, Processes(0, 1, torch.device(options.device)), resume=True, threads=1,
        workers=options.workers, build=lambda config: start(build(arm, recipe, config), task, arm, seed, options),
    )  # fmt: skip
    if training.step < training.steps:
        print(f"{task}, {arm}, seed {seed}: {training.steps - training.step} steps, into {folder}", flush=True)
        training.run(Monitor())


def folder_of(task: str, arm: str, seed: int, options: Options) -> Path:
    return options.folder / f"{task}-{arm.lower().replace(' ', '-')}-seed-{seed}"


def require_finished(task: str, arm: str, seed: int, options: Options) -> dict[str, Any]:
    """The last row of `metrics.csv`. Raises ValueError unless the training is complete."""
    file, epochs = folder_of(task, arm, seed, options) / "metrics.csv", recipe_of(task, arm, seed, options).epochs
    rows = read_metrics(file) if file.exists() else []
    if not rows or rows[-1]["epoch"] != epochs:
        raise ValueError(f"{file} has {len(rows)} of {epochs} epochs: train {task} with {arm} and seed {seed} first")
    return rows[-1]


def config_of(task: str, recipe: Recipe) -> HATNetConfig:
    """The HAT-Net for scenes: five classes of objects, plus the background for segmentation."""
    return recipe.config(6 if task == "segmentation" else 5, 3)


def costs(task: str, arm: str, options: Options) -> dict[str, float]:
    """Parameters of the model, and multiply-accumulates of network and pyramid for one image, as PyTorch counts them.

    The heads are left out. Those of the detectors cost the same on all networks; Semantic FPN's has one level per map.
    """
    recipe = recipe_of(task, arm, 0, options)
    model = build(arm, recipe, config_of(task, recipe)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.backbone(torch.zeros(1, 3, recipe.image_size, recipe.image_size))
    return {"parameters": sum(p.numel() for p in model.parameters()), "MACs": counter.get_total_flops() // 2}


def settings(task: str, options: Options) -> dict[str, Any]:
    """What all networks of a task have in common."""
    recipe = recipe_of(task, options.arms[0], options.seeds[0], options)
    names = ("data", "image_size", "epochs", "batch_size", "lr")
    precision = str(precision_of(recipe, torch.device(options.device))).removeprefix("torch.")
    weights = starts_from(task, options) or "random weights"
    return {name: getattr(recipe, name) for name in names} | {"precision": precision, "starts_from": weights}


def results(options: Options) -> dict[str, dict[str, dict[str, Any]]]:
    """The costs of each task and arm, and the scores of each seed."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for task, arm in product(options.tasks, options.arms):
        last = [require_finished(task, arm, seed, options) for seed in options.seeds]
        scores = {name: [row[column] for row in last] for name, column in SCORES[task].items()}
        found.setdefault(task, {})[arm] = costs(task, arm, options) | scores
    return found


def table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The tables of the site, one for each task."""
    return "\n".join(map(_table, found, found.values()))


def _table(task: str, arms: dict[str, dict[str, Any]]) -> str:
    """A row for each network: mean, standard deviation and the scores of each seed."""

    def row(arm: str, facts: dict[str, Any]) -> str:
        cells = [arm, f"{facts['parameters'] / 1e6:.2f}", f"{facts['MACs'] / 1e6:,.0f}"]
        for name in SCORES[task]:
            scores = [100 * score for score in facts[name]]
            spread = f" ± {stdev(scores):.1f}" if len(scores) > 1 else ""
            cells.append(f"**{mean(scores):.1f}**{spread} ({', '.join(f'{score:.1f}' for score in scores)})")
        return f"| {' | '.join(cells)} |"

    names = " | ".join(f"{name}, %" for name in SCORES[task])
    lines = [f"| Backbone | M parameters | M MACs | {names} |", f"| --- | ---: | ---: |{' --- |' * len(SCORES[task])}"]
    return "\n".join([*lines, *map(row, arms, arms.values())]) + "\n"


def main(options: Options) -> None:
    """Train what is missing; write the record if asked."""
    for seed, task, arm in product(options.seeds, options.tasks, options.arms):
        train(task, arm, seed, options)
    if options.record is not None:
        facts = {
            "date": str(date.today()), "machine": device_model(torch.device(options.device)), "software": software(),
            "settings": {task: settings(task, options) for task in options.tasks}, "seeds": options.seeds,
            "results": results(options),
        }  # fmt: skip
        write_whole(options.record.with_suffix(".json"), json_bytes(facts))
        write_whole(options.record.with_suffix(".txt"), table(facts["results"]).encode())  # type: ignore[arg-type]


if __name__ == "__main__":
    main(tyro.cli(Options))
