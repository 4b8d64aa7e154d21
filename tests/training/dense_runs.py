"""Small trainings of dense models for tests, on rectangles and ellipses."""

from dataclasses import replace
from pathlib import Path

import torch

from hatnet.config import HATNetConfig
from hatnet.data import Split, open_data
from hatnet.dense import MaskRCNN, RetinaNet, SemanticFPN
from hatnet.training import Recipe, Training
from tests.training.coco_files import write_coco
from tests.training.runs import ALONE

# Slices, random scales and flips, drop path, dropout, clipping, averaged weights.
SMALL = Recipe(
    data="coco:scenes", variant="micro", image_size=32, epochs=2, seed=3, batch_size=4, slice_size=2, lr=3e-3,
    warmup_epochs=0.5, clip=1.0, ema=0.9, drop_path=0.3, initial_weights="fan-in", stem_strides=(2, 2),
    task="segmentation", width=8, scales=(0.8, 1.3),
)  # fmt: skip


def recipe_for(task: str) -> Recipe:
    return replace(SMALL, task=task, **({"regions": 8} if task == "instances" else {}))


def data_for(task: str, folder: Path, **sizes: int) -> Split:
    """The data in `folder`, written if it is not there."""
    if not folder.exists():
        write_coco(folder, **({"side": 40} | sizes))
    return open_data(f"coco:{folder}", task=task)


def thin(config: HATNetConfig) -> HATNetConfig:
    """A thin version of a recipe's network, whose steps take milliseconds."""
    return replace(config, channels=(8, 16, 16), head_dim=8, depths=(1, 1, 1), stem_channels=4, expansions=(1, 1, 1))


def segmenter(config: HATNetConfig) -> SemanticFPN:
    return SemanticFPN(thin(config), width=8)


def detector(config: HATNetConfig) -> RetinaNet:
    return RetinaNet(thin(config), width=8, min_size=32, max_size=53)


def outliner(config: HATNetConfig) -> MaskRCNN:
    return MaskRCNN(thin(config), width=8, min_size=32, max_size=53, box_batch_size_per_image=8)


THIN = {"segmentation": segmenter, "detection": detector, "instances": outliner}


def resume_in_child(task: str, data: Path, folder: Path) -> None:
    """Resume `folder` and save the state after every step. One thread, as in the parent, so that bits can be equal."""
    torch.set_num_threads(1)
    recipe, split = recipe_for(task), data_for(task, data)
    Training(recipe, split, folder, ALONE, build=THIN[task], resume=True, save_every=0.0).run()
