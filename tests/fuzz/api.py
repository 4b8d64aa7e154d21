"""The functions under test, each with valid arguments: `TABLE`. A function is added with one entry.

`arguments` makes valid ones from a few small sizes. With these the function must give an answer that passes `check`.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import torch
from PIL import Image

import hatnet
import hatnet.dense
import hatnet.timm
import hatnet.torchvision
import reference
from hatnet import complexity, data, equivalence, export, hub, relatives, training
from hatnet.complexity import dense, summary, window_sizes
from hatnet.data import ade20k, coco, coco_json, photo
from hatnet.data import image_file as image_file_module
from hatnet.data.scenes import pictures, writer
from hatnet.dense.source import find_dense
from hatnet.maps.maps import attention_maps
from hatnet.maps.object_map import object_maps
from hatnet.network import HATNet
from hatnet.studies import plan
from hatnet.studies.ablation import matching, one_stage, questions, statistics
from hatnet.studies.ablation import record as ablation_record
from hatnet.studies.ablation.arms import ARMS
from hatnet.studies.bench import record as bench_record
from hatnet.studies.bench import settings as bench_settings
from hatnet.studies.common import statistics as common
from hatnet.studies.faithfulness import curves
from hatnet.studies.faithfulness import record as faithfulness_record
from hatnet.studies.faithfulness import statistics as intervals
from hatnet.studies.scaling import fit
from hatnet.studies.scaling import record as scaling_record
from hatnet.training import learner, recipes, sampling, seeds
from hatnet.training.recipe_file import read_recipe, recipe_text
from hatnet.training.resuming import State, load_state, save_state
from hatnet.weights import checkpoints, pretrained, source
from reference import learning
from tests.data.dense_files import write_ade20k, write_coco, write_cutouts
from tests.fuzz.dense import GOOD, read_all
from tests.fuzz.files import ROOT
from tests.fuzz.networks import SMALL
from tests.fuzz.reference import REFERENCE, TABLES, floats, network, x


def segmenter(**given):
    return hatnet.dense.SemanticFPN(SMALL.with_dense_windows(), **given)


def detector(**given):
    return hatnet.dense.RetinaNet(SMALL.with_dense_windows(), min_size=16, max_size=32, **given)


def finite(result, given) -> None:
    """No array, tensor or float of the result is NaN or infinite."""
    parts = result if isinstance(result, tuple | list) else result.values() if isinstance(result, dict) else [result]
    for part in parts:
        if isinstance(part, np.ndarray | float):
            assert np.isfinite(part).all()


def anything(result, given) -> None:
    pass


def rows_sum_to_one(result, given) -> None:
    assert np.allclose((result[1] if isinstance(result, tuple) else result).sum(axis=-1), 1)


def same_shape(result, given) -> None:
    assert result.shape == next(value for value in given.values() if hasattr(value, "shape")).shape


def logits_as_reference(result, given) -> None:
    """PyTorch gives the same for the same parameters, where the image passes both."""
    model = HATNet(given["config"]).double().eval()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in given["params"].items()})
    got = model(torch.from_numpy(given["image"])[None].double())[0]
    assert equivalence.relative_error(got.detach().numpy(), result) < 1e-9


@dataclass(frozen=True)
class Entry:
    function: Callable
    arguments: Callable[[SimpleNamespace], dict] = field(default=lambda d: {})
    check: Callable = finite
    files: tuple[str, ...] = ()  # that the function writes into the working folder
    reads: dict[str, str] = field(default_factory=dict)  # arguments that are paths, and the kind of file
    answers: bool = True  # valid arguments must give an answer


def weights_file(d) -> str:
    hatnet.save(network(d), "in.safetensors", {"classes": ["a", "b", "c"], "image_size": 16})
    return "in.safetensors"


def dense_file(d, task="segmentation") -> str:
    hatnet.save(
        segmenter(width=2) if task == "segmentation" else detector(width=2), "in.safetensors", {"image_size": 16}
    )
    return "in.safetensors"


def hub_folder(d) -> str:
    hub.for_hub(network(d)).save_pretrained("in.folder")
    return "in.folder"


def intermediates(**given) -> list[torch.Tensor]:
    return hatnet.timm.TimmHATNet(SMALL).forward_intermediates(intermediates_only=True, **given)


def tensors(d) -> data.ImageTensor:
    return data.ImageTensor(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.tensor([0, 1, 2, 0]))


def split(d) -> data.Split:
    return data.Split("drawn", tensors(d), tensors(d), ("a", "b", "c"), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def image_file(d) -> Path:
    Image.fromarray(np.full((20, 24, 3), 7, np.uint8)).save("in.png")
    return Path("in.png")


def folder_of_images(d) -> str:
    for place in ("train/cat", "train/dog", "val/cat", "val/dog"):
        (Path("photos") / place).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(Path("photos") / place / "0.png")
    return "folder:photos"


def annotation_file(d) -> Path:
    Path("in.json").write_text(json.dumps(GOOD))
    return Path("in.json")


def open_and_read(name, folder, task) -> None:
    opened = data.open_data(name, folder, task=task)
    for images in opened.parts.values():
        for index in range(min(len(images), 5)):
            images.image(index)


def predict(images, weights, **settings) -> list[np.ndarray]:
    found = list(hatnet.predict(images, weights, **settings))
    return [np.array(each.probabilities) for each in found] + [each.class_map for each in found]


def image(d) -> torch.Tensor:
    return torch.from_numpy(floats(3, 16, 12 + d.W)).float()


def maps_of(model, image, limit) -> list[np.ndarray]:
    found = attention_maps(model, image, limit)
    return [found.logits, *found.weights.values(), found.rollout(), found.class_map()]


@cache
def some_maps():
    torch.manual_seed(0)
    return attention_maps(HATNet(SMALL), image(SimpleNamespace(W=4)))


def take_step(images, labels) -> tuple:
    taken = learning.Learner(equivalence.to_numpy(network(SimpleNamespace(heads=1))), SMALL, learning.Settings(steps=2))
    return taken.take_step(images, labels)


def recipe_file(d) -> Path:
    Path("in.json").write_text(recipe_text(training.RECIPES["fashion"]))
    return Path("in.json")


def state_file(d) -> Path:
    save_state(Path("in.state"), State(0, {"model.x": torch.ones(2)}), training.RECIPES["fashion"])
    return Path("in.state")


def kept(name: str) -> Path:
    return ROOT / "docs/measurements" / name


def agreements(d) -> list:
    return [equivalence.Agreement("stem", (2, 3), 1e-9, 1.0), equivalence.Agreement("logits", (3,), 1e-8, 1.0)]


def six(d):
    return {"x": torch.from_numpy(floats(2, d.H, d.W, 6)).float()}


CHECKS = {  # of answers; the others are finite
    **dict.fromkeys(("within", "scope"), anything),
    **dict.fromkeys(("softmax", "attention_weights", "multi_head_attention", "target"), rows_sum_to_one),
    **dict.fromkeys(("pooling_matrix", "composed_matrix", "plain_matrix"), rows_sum_to_one),
    **dict.fromkeys(("group_norm", "silu", "depthwise_conv2d", "mlp", "mhsa", "h_mhsa"), same_shape),
    **dict.fromkeys(("local_attention", "block", "global_attention"), same_shape),
}


TABLE: dict[str, Entry] = {}
for _module, _arguments in TABLES.items():
    for _name, _make in _arguments.items():
        TABLE[f"{_module.__name__}.{_name}"] = Entry(getattr(_module, _name), _make, CHECKS.get(_name, finite))


IMAGE, WEIGHTS, RECORD = {"path": "images"}, {"path": "weights"}, {"path": "records"}
PLACE = {"stage": 0, "block": 0, "query": (1, 2)}
HW = lambda d: {"H": d.H, "W": d.W, "C": d.C}  # noqa: E731
SIZE = lambda d: {"config": SMALL, "height": 8 + d.H, "width": 8 + d.W}  # noqa: E731
TABLE |= {
    "Learner.take_step": Entry(take_step, lambda d: {"images": floats(2, 3, 8 + d.H, 9), "labels": np.array([0, d.heads - 1])}),
    "reference.hat_net": Entry(reference.hat_net, REFERENCE["hat_net"], logits_as_reference),
    "hatnet.MHSA": Entry(hatnet.MHSA, lambda d: {"channels": d.C, "heads": d.heads, "drop_rate": 0.1}),
    "hatnet.HMHSA": Entry(hatnet.HMHSA, lambda d: {"channels": d.C, "heads": d.heads, "grid_size": d.G1, "pool_size": d.G2, "drop_rate": 0.0}),
    "MHSA.forward": Entry(lambda x: hatnet.MHSA(6, 3)(x), six, same_shape),
    "HMHSA.forward": Entry(lambda x: hatnet.HMHSA(6, 3, 2, 2)(x), six, same_shape),
    "HATNet.forward": Entry(lambda image: HATNet(SMALL)(image), lambda d: {"image": torch.from_numpy(floats(2, 3, 8 + d.H, 16)).float()}),
    "hatnet.HATNet": Entry(hatnet.HATNet, lambda d: {"config": SMALL}),
    "hatnet.Backbone": Entry(hatnet.Backbone, lambda d: {"config": SMALL}),
    "hatnet.HATNetConfig": Entry(hatnet.HATNetConfig, lambda d: vars(SMALL) | {"drop_rate": 0.1, "drop_path_rate": 0.2}),
    "hatnet.create_model": Entry(hatnet.create_model, lambda d: {"name": "micro", "pretrained": "fashion-mnist", "grid_sizes": (d.G1, 2), "drop_rate": 0.1}),
    "create_model, segmentation": Entry(hatnet.create_model, lambda d: {"name": "micro", "task": "segmentation", "pretrained": None, "num_classes": d.heads, "grid_sizes": (d.G1, 2)}),
    "hatnet.dense.SemanticFPN": Entry(hatnet.dense.SemanticFPN, lambda d: {"config": SMALL, "image_mean": [0.5] * 3, "image_std": None, "width": 2 * d.G1}),
    "hatnet.dense.RetinaNet": Entry(hatnet.dense.RetinaNet, lambda d: {"config": SMALL, "image_mean": [0.5] * 3, "image_std": None, "width": 2 * d.G1}),
    "hatnet.dense.MaskRCNN": Entry(hatnet.dense.MaskRCNN, lambda d: {"config": SMALL, "image_mean": [0.5] * 3, "image_std": None, "width": 2 * d.G1}),
    "hatnet.dense.SemanticFPNHead": Entry(hatnet.dense.SemanticFPNHead, lambda d: {"levels": d.G2, "in_channels": d.C, "num_classes": d.heads, "channels": d.H, "drop_rate": 0.1}),
    "SemanticFPN.forward": Entry(lambda image: segmenter().eval()(image), lambda d: {"image": torch.from_numpy(floats(2, 3, 8 + d.H, 16)).float()}),
    "RetinaNet.forward": Entry(lambda images, targets: detector()(images, targets), lambda d: {"images": [image(d)], "targets": [{"boxes": torch.tensor([[1.0, 2.0, 9.0, 12.0]]), "labels": torch.tensor([d.heads])}]}),
    "hatnet.dense.load_backbone": Entry(lambda **given: hatnet.dense.load_backbone(**given), lambda d: {"model": segmenter(), "weights": weights_file(d)}, anything, files=("in.safetensors",), reads={"weights": "weights"}),
    "hatnet.dense.predict": Entry(lambda **given: list(hatnet.dense.predict(**given)), lambda d: {"images": image_file(d), "weights": dense_file(d), "score": 0.1 * d.H, "image_size": 8 + d.H, "background": "white"}, anything, files=("in.",), reads={"images": "images", "weights": "weights"}),
    "hatnet.dense.predict, detection": Entry(lambda **given: list(hatnet.dense.predict(**given)), lambda d: {"images": image_file(d), "weights": dense_file(d, "detection"), "score": 0.1 * d.H, "image_size": None}, anything, files=("in.",), reads={"images": "images"}),
    "dense.source.find_dense": Entry(find_dense, lambda d: {"weights": dense_file(d), "windows": {"grid_sizes": (d.G1,)}}, anything, files=("in.",), reads={"weights": "weights"}),
    "hatnet.save, dense": Entry(hatnet.save, lambda d: {"model": detector(width=2), "path": "out.safetensors", "about": {"data": "drawn"}}, files=("out",)),
    "hatnet.load, dense": Entry(hatnet.load, lambda d: {"path": dense_file(d), "task": "segmentation"}, files=("in.",), reads=WEIGHTS),
    "complexity.dense.dense_costs": Entry(dense.dense_costs, lambda d: SIZE(d) | {"task": "segmentation", "padded": False, "pyramid": 2 * d.G1}),
    "hatnet.get_config": Entry(hatnet.get_config, lambda d: {"name": "tiny", "num_classes": d.heads}),
    "HATNetConfig.layout": Entry(SMALL.layout, lambda d: {"height": 8 + d.H, "width": 8 + d.W}),
    "HATNet.set_drop_path_rate": Entry(lambda rate: HATNet(SMALL).set_drop_path_rate(rate), lambda d: {"rate": 0.5}),
    "hatnet.to_numpy": Entry(hatnet.to_numpy, lambda d: {"model": network(d)}),
    "hatnet.save": Entry(hatnet.save, lambda d: {"model": network(d), "path": "out.safetensors", "about": {"data": "drawn"}}, files=("out",)),
    "hatnet.load": Entry(hatnet.load, lambda d: {"path": weights_file(d)}, files=("in.safetensors",), reads=WEIGHTS),
    "equivalence.randomise": Entry(equivalence.randomise, lambda d: {"model": network(d), "seed": d.H}),
    "equivalence.relative_error": Entry(equivalence.relative_error, lambda d: {"got": x(d), "want": x(d)}, anything),
    "equivalence.compare": Entry(equivalence.compare, lambda d: {"model": network(d), "images": torch.from_numpy(floats(1, 3, 16, 8 + d.W))}, anything),
    "equivalence.worst": Entry(equivalence.worst, lambda d: {"agreements": agreements(d)}),
    "hatnet.data.ImageTensor": Entry(data.ImageTensor, lambda d: vars(tensors(d))),
    "hatnet.data.Split": Entry(data.Split, lambda d: vars(split(d))),
    "hatnet.data.fingerprint": Entry(data.fingerprint, lambda d: {"data": split(d)}),
    "hatnet.data.open_data": Entry(open_and_read, lambda d: {"name": folder_of_images(d), "folder": Path("data"), "task": "classification"}, files=("photos",), reads={"name": "folders"}),
    "data.coco.open_coco": Entry(lambda **given: read_all(coco.open_coco(**given)), lambda d: {"root": write_coco(Path("in.coco") / uuid4().hex, GOOD, GOOD), "task": "instances"}, files=("in.coco",), reads={"root": "coco"}),
    "data.coco_json.read_annotations": Entry(coco_json.read_annotations, lambda d: {"path": annotation_file(d), "masks": True}, anything, files=("in.json",), reads={"path": "annotations"}),
    "data.ade20k.open_ade20k": Entry(lambda root: read_all(ade20k.open_ade20k(root)), lambda d: {"root": write_ade20k(Path("in.ade20k") / uuid4().hex)}, files=("in.ade20k",), reads={"root": "ade20k"}),
    "data.scenes.pictures.Pictures": Entry(pictures.Pictures, lambda d: {"folder": write_cutouts(Path("in.cutouts") / uuid4().hex)}, anything, files=("in.cutouts",), reads={"folder": "cutouts"}),
    "data.scenes.writer.Settings": Entry(writer.Settings, lambda d: {"objects": "", "size": 64 + d.H, "train": d.H, "val": d.W, "seed": d.C, "plain_photos": d.H / (d.H + d.W)}, anything),
    "hatnet.data.absolute": Entry(data.absolute, lambda d: {"name": "folder:photos"}, reads={"name": "folders"}),
    "data.photo.load_photo": Entry(photo.load_photo, lambda d: {"path": image_file(d), "size": 8 + d.H, "background": "white"}, files=("in.png",), reads=IMAGE),
    "data.photo.size_when_read": Entry(photo.size_when_read, lambda d: {"path": image_file(d), "size": 8 + d.H, "square": False}, files=("in.png",), reads=IMAGE),
    "data.image_file.open_image": Entry(image_file_module.open_image, lambda d: {"path": image_file(d), "mode": "RGB", "background": "black"}, anything, files=("in.png",), reads=IMAGE),
    "hatnet.predict": Entry(predict, lambda d: {"images": image_file(d), "weights": weights_file(d), "top": d.H, "maps": d.W - 1, "background": "white", "memory": 1.0}, files=("in.",), reads={"images": "images", "weights": "weights"}),
    "hatnet.change_windows": Entry(hatnet.change_windows, lambda d: {"model": network(d), "source": "x", "grid_sizes": (d.G1,), "pool_sizes": (d.G2,), "stem_strides": (2, 2)}),
    "maps.attention_maps": Entry(maps_of, lambda d: {"model": network(d), "image": image(d), "limit": 2**30}),
    "AttentionMaps.local": Entry(lambda **place: some_maps().local(**place), lambda d: PLACE | {"head": 0}),
    "AttentionMaps.global_": Entry(lambda **place: some_maps().global_(**place), lambda d: PLACE | {"head": None, "over_tokens": True}),
    "AttentionMaps.composed": Entry(lambda **place: some_maps().composed(**place), lambda d: PLACE | {"head": None}),
    "AttentionMaps.dense": Entry(lambda **place: some_maps().dense(**place), lambda d: {"stage": 1, "block": 0, "head": 1}),
    "AttentionMaps.rollout": Entry(lambda **place: some_maps().rollout(**place), lambda d: PLACE | {"pixels": True}),
    "AttentionMaps.class_map": Entry(lambda **given: some_maps().class_map(**given), lambda d: {"label": d.heads - 1, "pixels": False}),
    "maps.object_map.object_maps": Entry(object_maps, lambda d: {"model": segmenter(), "image": image(d), "masks": torch.ones(1, 16, 12 + d.W, dtype=torch.bool), "labels": [d.heads - 1], "pixels": True, "limit": 2**30}),
    "AttentionMaps.token_at": Entry(lambda **given: some_maps().token_at(**given), lambda d: {"x": d.W, "y": d.H, "stage": 1}),
    "hatnet.complexity.mhsa_cost": Entry(complexity.mhsa_cost, HW),
    "hatnet.complexity.h_mhsa_cost": Entry(complexity.h_mhsa_cost, lambda d: HW(d) | {"G1": d.G1, "G2": d.G2}),
    "hatnet.complexity.equation_5": Entry(complexity.equation_5, HW),
    "hatnet.complexity.equation_15": Entry(complexity.equation_15, lambda d: {"H": 4 * d.H, "W": 4 * d.W, "C": d.C, "G1": 2, "G2": 4}),
    "hatnet.complexity.attention_weights": Entry(complexity.attention_weights, lambda d: {"cost": complexity.mhsa_cost(d.H, d.W, d.C), "C": d.C, "heads": d.heads}),
    "hatnet.complexity.inference_memory": Entry(complexity.inference_memory, lambda d: SIZE(d) | {"batch": d.heads}),
    "hatnet.complexity.training_memory": Entry(complexity.training_memory, lambda d: SIZE(d) | {"batch": d.heads}),
    "hatnet.complexity.reference_memory": Entry(complexity.reference_memory, SIZE),
    "hatnet.complexity.network_costs": Entry(complexity.network_costs, SIZE),
    "complexity.summary.summarise": Entry(summary.summarise, SIZE),
    "complexity.summary.describe": Entry(summary.describe, SIZE),
    "complexity.summary.published_parameters": Entry(summary.published_parameters, lambda d: {"config": hatnet.VARIANTS["tiny"]}),
    "complexity.window_sizes.cheapest": Entry(window_sizes.cheapest_window_sizes, HW),
    "complexity.window_sizes.valley": Entry(window_sizes.valley, HW),
    "hatnet.relatives.SwinAttention": Entry(relatives.SwinAttention, lambda d: {"channels": d.C, "heads": d.heads, "window": 3, "shift": 1}),
    "hatnet.relatives.PVTAttention": Entry(relatives.PVTAttention, lambda d: {"channels": d.C, "heads": d.heads, "reduction": d.G2}),
    "hatnet.relatives.PVTv2LinearAttention": Entry(relatives.PVTv2LinearAttention, lambda d: {"channels": d.C, "heads": d.heads, "pooled": d.G2}),
    "hatnet.relatives.TwinsAttention": Entry(relatives.TwinsAttention, lambda d: {"channels": d.C, "heads": d.heads, "window": 3, "reduction": 2}),
    "SwinAttention.forward": Entry(lambda x: relatives.SwinAttention(6, 3, 3, 1)(x), six, same_shape),
    "PVTAttention.forward": Entry(lambda x: relatives.PVTAttention(6, 3, 2)(x), six, same_shape),
    "TwinsAttention.forward": Entry(lambda x: relatives.TwinsAttention(6, 3, 3, 2)(x), six, same_shape),
    "hatnet.relatives.swin_cost": Entry(relatives.swin_cost, lambda d: HW(d) | {"window": d.G1, "heads": d.heads}),
    "hatnet.relatives.pvt_cost": Entry(relatives.pvt_cost, lambda d: HW(d) | {"reduction": d.G2}),
    "hatnet.relatives.pvt_v2_linear_cost": Entry(relatives.pvt_v2_linear_cost, lambda d: HW(d) | {"pooled": d.G2}),
    "hatnet.relatives.twins_cost": Entry(relatives.twins_cost, lambda d: HW(d) | {"window": d.G1, "reduction": d.G2}),
    "hatnet.training.Recipe": Entry(training.Recipe, lambda d: vars(training.RECIPES["fashion-quick"])),
    "hatnet.training.get_recipe": Entry(training.get_recipe, lambda d: {"name": "fashion"}),
    "training.recipes.from_json": Entry(recipes.from_json, lambda d: {"content": recipes.to_json(training.RECIPES["fashion"])}),
    "training.learner.learning_rate": Entry(learner.learning_rate, lambda d: {"step": d.H, "steps": 9, "warmup": 2, "peak": 1.0, "first": 0.0, "last": 0.0}),
    "training.seeds.derive": Entry(seeds.derive, lambda d: {"seed": d.H}),
    "training.sampling.BatchSampler": Entry(lambda **given: sampling.BatchSampler(**given).steps, lambda d: {"images": 12, "batch_size": 4, "slice_size": 2, "epochs": 2, "seed": 0, "repeats": 1}),
    "training.recipe_file.read_recipe": Entry(read_recipe, lambda d: {"path": recipe_file(d)}, files=("in.json",), reads={"path": "recipes"}),
    "training.resuming.load_state": Entry(load_state, lambda d: {"path": state_file(d)}, files=("in.",), reads={"path": "states"}),
    "studies.plan.plan": Entry(plan.plan, lambda d: {"recipe": training.RECIPES["imagenet"], "images": 10**6, "tests": 100, "classes": 10, "channels": 3}),
    "studies.plan.Assumptions": Entry(plan.Assumptions, lambda d: {"gpus": 2, "backward": 2.0, "flops_reached": 0.5}),
    "studies.common.quartiles": Entry(common.quartiles, lambda d: {"values": [1.0, 2.0, 5.0]}),
    "studies.common.schedule": Entry(common.schedule, lambda d: {"count": d.H, "rounds": 2, "seed": 0}),
    "studies.common.t_quantile": Entry(common.t_quantile, lambda d: {"degrees_of_freedom": d.H}),
    "studies.scaling.fit_exponent": Entry(fit.fit_exponent, lambda d: {"tokens": [10, 20, 40], "costs": [1.0, 2.0, 5.0]}),
    "studies.scaling.macs_per_second": Entry(fit.macs_per_second, lambda d: {"macs": [10, 20], "seconds": [1.0, 2.0]}),
    "studies.scaling.crossings": Entry(fit.crossings, lambda d: {"tokens": [10, 20], "ratios": [0.5, 2.0]}),
    "studies.ablation.residual_deviation": Entry(statistics.residual_deviation, lambda d: {"table": [[1.0, 2.0], [2.0, 4.0]]}, anything),
    "studies.ablation.match_cost": Entry(matching.match_cost, lambda d: {"arm": ARMS["local"], "image_size": 28, "classes": 10, "channels": 1}),
    "studies.ablation.match_macs": Entry(one_stage.match_macs, lambda d: {"arm": ARMS["local"], "image_size": 128}),
    "studies.ablation.open_question": Entry(questions.open_question, lambda d: {"question": "far", "training": d.H, "tests": 2}, anything),
    "studies.ablation.arrange": Entry(questions.arrange, lambda d: {"question": "both", "generator": np.random.default_rng(d.H), "reverse": True}, anything),
    "studies.faithfulness.patch_counts": Entry(curves.patch_counts, lambda d: {"patches": 9, "steps": d.H}),
    "studies.faithfulness.interval": Entry(intervals.interval, lambda d: {"values": [1.0, 2.0, 4.0]}),
    "studies.scaling.read": Entry(scaling_record.read, lambda d: {"path": kept("scaling-stage-0-cpu.json")}, reads=RECORD),
    "studies.bench.read": Entry(bench_record.read, lambda d: {"path": kept("bench-inference-cpu.json")}, reads=RECORD),
    "studies.bench.Settings": Entry(bench_settings.Settings, lambda d: {"networks": ("micro",), "batch": d.H, "layouts": ("1x2",), "seconds": 0.5}),
    "studies.bench.Layout.parse": Entry(bench_settings.Layout.parse, lambda d: {"text": f"{d.H}x2"}),
    "studies.ablation.read": Entry(ablation_record.read, lambda d: {"path": kept("ablation-subset-cpu.json")}, reads=RECORD),
    "studies.faithfulness.read": Entry(faithfulness_record.read, lambda d: {"path": kept("faithfulness.json")}, reads=RECORD),
    "weights.checkpoints.about": Entry(checkpoints.about, lambda d: {"path": weights_file(d)}, anything, files=("in.safetensors",), reads=WEIGHTS),
    "hatnet.load_official": Entry(hatnet.load_official, lambda d: {"checkpoint": weights_file(d)}, files=("in.safetensors",), reads={"checkpoint": "weights"}, answers=False),
    "weights.pretrained.weights_file": Entry(pretrained.weights_file, lambda d: {"given": "fashion-mnist"}),
    "hatnet.timm.TimmHATNet": Entry(hatnet.timm.TimmHATNet, lambda d: {"cfg": SMALL, "global_pool": "avg", "num_classes": d.H - 1, "drop_rate": 0.1}),
    "hatnet.timm.load": Entry(hatnet.timm.load, lambda d: {"weights": weights_file(d)}, files=("in.safetensors",), reads={"weights": "weights"}),
    "hatnet.timm.hat_net_micro": Entry(hatnet.timm.hat_net_micro, lambda d: {"pretrained": False, "num_classes": d.H - 1, "global_pool": "", "grid_sizes": (d.G1, 2)}),
    "TimmHATNet.forward_intermediates": Entry(intermediates, lambda d: {"x": torch.from_numpy(floats(2, 3, 8 + d.H, 16)).float(), "output_fmt": "NCHW", "stop_early": True}),
    "TimmHATNet.reset_classifier": Entry(lambda **given: hatnet.timm.TimmHATNet(SMALL).reset_classifier(**given), lambda d: {"num_classes": d.H - 1, "global_pool": "avg"}),
    "hatnet.export.export": Entry(export.export, lambda d: {"model": network(d).eval(), "path": "out.pt2", "about": {"classes": ["a", "b", "c"]}, "image_size": (16, 16)}, files=("out.",)),
    "hatnet.export.program": Entry(export.program, lambda d: {"model": network(d).eval(), "image_size": (16, 16)}, anything),
    "hatnet.export.facts_of": Entry(export.facts_of, lambda d: {"model": network(d), "about": {"mean": [0.5] * 3, "image_size": 8 + d.H}}, anything),
    "hatnet.torchvision.fpn_backbone": Entry(hatnet.torchvision.fpn_backbone, lambda d: {"model": network(d), "out_channels": d.C, "stages": (0, 1), "extra_blocks": None}),
    "hatnet.hub.for_hub": Entry(hub.for_hub, lambda d: {"weights": weights_file(d), "about": {"image_size": d.H}}, files=("in.safetensors",), reads={"weights": "weights"}),
    "hatnet.hub.HubHATNet": Entry(hub.HubHATNet, lambda d: {"config": SMALL, "about": {"data": "drawn"}}),
    "HubHATNet.from_pretrained": Entry(lambda name: hub.HubHATNet.from_pretrained(name, local_files_only=True, cache_dir="drawn-cache"), lambda d: {"name": hub_folder(d)}, files=("in.folder",), reads={"name": "folders"}),
    "weights.source.find_source": Entry(source.find_source, lambda d: {"weights": weights_file(d), "variant": None, "seed": d.H, "windows": {"grid_sizes": (d.G1,)}}, files=("in.safetensors",), reads={"weights": "weights"}),
}  # fmt: skip

# Names that `__all__` lists and that are not in the table, with the reason.
EXCLUDED = {
    "reference.backward.gradients": "reference.gradients", "reference.loss.cross_entropy": "reference.cross_entropy",
    "reference.learning.Step": "a result",
    "hatnet.VARIANTS": "data", "hatnet.CheckpointError": "an error", "hatnet.data.SOURCES": "data",
    **{f"hatnet.timm.hat_net_{name}": "as hat_net_micro" for name in ("tiny", "small", "medium", "large")},
    "hatnet.torchvision.FPNBackbone": "by fpn_backbone",
    "hatnet.data.DataError": "an error", "hatnet.data.Images": "a protocol", "hatnet.data.ImageFolder": "with the folder",
    "hatnet.data.leave_out": "of a folder", "hatnet.data.left_out": "of a folder", "hatnet.complexity.Cost": "a result",
    "hatnet.complexity.Part": "a result", "hatnet.complexity.total": "adds results", "hatnet.relatives.ATTENTIONS": "data",
    "hatnet.relatives.Attention": "data", "hatnet.training.RECIPES": "data", "hatnet.training.Monitor": "a record",
    "hatnet.training.NonFiniteLossError": "an error", "hatnet.training.Processes": "a record",
    "hatnet.training.Progress": "a record", "hatnet.training.Training": "by the commands", "hatnet.training.join": "starts processes",
}  # fmt: skip
