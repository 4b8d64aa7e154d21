"""Recipes: every setting of a training, as data."""

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal, get_type_hints

from hatnet.checks import require_between, require_kind, require_type, require_whole, shown
from hatnet.config import HATNetConfig, get_config, nearest
from hatnet.data.sources import absolute
from hatnet.files import absolute_path
from hatnet.weights.pretrained import SHIPPED
from hatnet.weights.windows import WINDOWS


@dataclass(frozen=True)
class Recipe:
    """How to train a network, and on which data. Impossible settings raise a ValueError or a TypeError."""

    data: str  # a name in `hatnet.data.SOURCES`, or folder:PATH
    variant: str  # of HAT-Net, for random weights; trained weights bring their own
    image_size: int  # side in pixels
    epochs: int
    seed: int = 0

    batch_size: int = 128  # images per step, over all processes
    slice_size: int = 128  # images that one process computes at once; divides batch_size
    lr: float = 1e-3  # peak learning rate for the whole batch; it is not rescaled
    first_lr: float = 1e-6
    last_lr: float = 1e-5
    schedule: Literal["cosine", "poly", "steps"] = "cosine"  # from lr to last_lr; steps: x 0.1 after 8 and 11 twelfths
    warmup_epochs: float = 1.0
    weight_decay: float = 0.05  # of matrices and kernels, not of norms and biases
    clip: float = 0.0  # largest norm of the gradient; 0 for no limit
    ema: float = 0.0  # decay of the moving average of the weights, which is then tested; 0 for no average

    crop_padding: int | None = None  # random crop after padding, for small images; None for a random resized crop
    flip: bool = True
    rand_augment: int = 0  # magnitude, up to 30, of RandAugment's two operations; 0 for none
    erasing: float = 0.0  # probability of random erasing
    mixup: float = 0.0  # alpha of mixup; 0 for none
    cutmix: float = 0.0  # alpha of CutMix; 0 for none. With both, each slice takes one of them
    repeats: int = 1  # times that a batch shows an image, each augmented differently
    label_smoothing: float = 0.0
    drop_path: float = 0.0  # rate of the last block
    classifier_drop: float = 0.0

    validation: float = 0.0  # fraction of the training images of each class, split off to choose the best weights

    initial_weights: Literal["authors", "fan-in"] = "authors"  # normal 0.02, or 1 / sqrt(fan-in)
    weights: str | None = None  # trained weights to start from instead: their name, a file, or the folder of a run
    stem_strides: tuple[int, int] | None = None  # None for those of the weights, else the variant's
    grid_sizes: tuple[int, ...] | None = None  # G1; None for those of the weights, else untrained_grid_sizes
    pool_sizes: tuple[int, ...] | None = None  # G2; None for those of the weights, else the variant's
    untrained_grid_sizes: tuple[int, ...] | None = None  # G1 of random weights; None for the variant's

    task: Literal["classification", "segmentation", "detection", "instances"] = "classification"
    width: int = 256  # channels of the pyramid of a dense model, an even number
    regions: int = 512  # per image, that train the heads of Mask R-CNN; at most a quarter are objects
    scales: tuple[float, float] | None = (
        None  # dense: shorter sides over image_size, then a crop; None for whole images
    )
    distort: bool = False  # dense: random brightness, contrast, saturation, hue and order of channels

    head_only: bool = False  # train only the classifier of trained weights; all other layers stay as they are
    layer_decay: float = 1.0  # factor of the learning rate from each layer to the one before it; 1 for one rate

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: bfloat16 on a GPU that has it
    compile: bool = False  # torch.compile
    recompute: bool = False  # the widest maps in the backward pass, which then needs less memory and more time

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(Recipe).items():
            if name not in WHOLE | REAL:
                require_kind(name, getattr(self, name), kind)
        for name, (low, high) in WHOLE.items():
            if name != "crop_padding" or self.crop_padding is not None:
                object.__setattr__(self, name, require_whole(name, getattr(self, name), low, high))
        for name, (least, most) in REAL.items():
            object.__setattr__(self, name, require_between(name, getattr(self, name), least, most))
        if self.batch_size % self.slice_size:
            raise ValueError(f"slice_size={self.slice_size} must divide batch_size={self.batch_size}")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs={self.warmup_epochs:g} must be fewer than epochs={self.epochs}")
        if self.slice_size % 2 and (self.mixup or self.cutmix):
            raise ValueError(f"slice_size={self.slice_size} must be even if images are mixed")
        if self.head_only and self.weights is None:
            raise ValueError("head_only=True trains only the classifier: give the weights of the other layers")
        self._check_task()
        if self.weights is None:  # else the network is known only when they are read
            self.config(10, 3).layout(self.image_size, self.image_size)  # raises if the image is too small
        get_config(self.variant)

    def _check_task(self) -> None:
        """Raise a ValueError for a setting that this task would ignore, and for scales that are none."""
        dense, own = self.task != "classification", {entry.name: entry.default for entry in fields(Recipe)}
        for name in ONLY_CLASSIFICATION if dense else ONLY_DENSE:
            if getattr(self, name) != own[name]:
                other = "classification" if dense else "segmentation, detection and instances"
                raise ValueError(
                    f"{name}={getattr(self, name)} is for {other}, not for task={self.task!r}: leave it out"
                )
        if self.compile and self.task in ("detection", "instances"):
            raise ValueError(
                f"compile=True does not support task={self.task!r}: torchvision's detectors are not compiled"
            )
        if self.scales is not None:
            low, high = (require_between("scales", scale, 0.05, 20) for scale in self.scales)
            if low > high:
                raise ValueError(f"scales={self.scales} must be the smaller and the larger one, such as 0.5 2")
            object.__setattr__(self, "scales", (low, high))
        elif self.task == "segmentation":
            raise ValueError(
                "scales=None trains on whole images, which segmentation cannot: give --scales, such as 0.5 2"
            )

    def config(self, classes: int, channels: int) -> HATNetConfig:
        """The network of this recipe with random weights, for data with these numbers of classes and channels.

        In dense tasks windows that are not given are those of `HATNetConfig.with_dense_windows`.
        """
        given = {name: getattr(self, name) for name in WINDOWS}
        if self.task != "classification":
            dense = get_config(self.variant).with_dense_windows()
            given |= {name: getattr(dense, name) for name in DENSE_WINDOWS if given[name] is None}
        default = self.untrained_grid_sizes
        if self.grid_sizes is None and default and len(default) == len(get_config(self.variant).grid_sizes):
            given["grid_sizes"] = default  # it is for the recipe's own variant
        return get_config(
            self.variant,
            num_classes=classes,
            in_channels=channels,
            drop_path_rate=self.drop_path,
            classifier_drop_rate=self.classifier_drop,
            **{name: value for name, value in given.items() if value is not None},
        )


NETWORK = ("variant", *WINDOWS, "untrained_grid_sizes")  # all fields that choose the network

DENSE_WINDOWS = ("grid_sizes", "pool_sizes")  # that dense tasks have others of

ONLY_CLASSIFICATION = (
    "crop_padding", "rand_augment", "erasing", "mixup", "cutmix", "repeats", "label_smoothing", "classifier_drop",
    "untrained_grid_sizes",
)  # fmt: skip
ONLY_DENSE = ("width", "regions", "scales", "distort")

# Bounds of a recipe's numbers, both included.
WHOLE = {
    "image_size": (1, 4096), "epochs": (1, 100_000), "seed": (0, 2**32), "batch_size": (1, 2**20),
    "slice_size": (1, 2**20), "crop_padding": (0, 4096), "rand_augment": (0, 30), "repeats": (1, 100),
    "width": (2, 1024), "regions": (1, 4096),
}  # fmt: skip
REAL = {
    "lr": (1e-12, 1e3), "first_lr": (0, 1e3), "last_lr": (0, 1e3), "warmup_epochs": (0, 1e5), "weight_decay": (0, 1e3),
    "clip": (0, 1e9), "ema": (0, 1), "erasing": (0, 1), "mixup": (0, 100), "cutmix": (0, 100),
    "label_smoothing": (0, 1), "drop_path": (0, 0.999), "classifier_drop": (0, 0.999), "validation": (0, 0.9),
    "layer_decay": (1e-6, 1),
}  # fmt: skip


def to_json(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data."""
    return asdict(recipe)


def from_json(content: dict[str, Any]) -> Recipe:
    """Read a recipe that `to_json` wrote.

    Raises ValueError for an unknown key, with the nearest known one, and for a missing key; TypeError for a value of
    another type than the field's.
    """
    require_type("content", content, dict, "the fields of a recipe by name")
    known, types = [field.name for field in fields(Recipe)], get_type_hints(Recipe)
    for key in content:
        if key not in known:
            raise ValueError(f"unknown key {key!r} in a recipe{nearest(key, known)}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    for key, value in values.items():
        require_kind(key, value, types[key])
    missing = [field.name for field in fields(Recipe) if field.default is MISSING and field.name not in values]
    if missing:
        raise ValueError(f"a recipe needs the keys {', '.join(missing)}, too")
    return Recipe(**values)


CIFAR = Recipe(
    data="cifar10", variant="micro", image_size=32, epochs=200, lr=2e-3, warmup_epochs=5, crop_padding=4,
    rand_augment=9, erasing=0.25, mixup=0.8, cutmix=1.0, label_smoothing=0.1, drop_path=0.1, ema=0.9995, clip=1.0,
    initial_weights="fan-in",
)  # fmt: skip

# Of the dense recipes, below. Detectors on scenes start from the segmenter in the package, and see the scenes enlarged:
# two thirds of the objects have fewer than 32 x 32 of the 128 x 128 pixels.
COCO = Recipe(
    data="coco:data/coco", variant="small", image_size=800, epochs=12, batch_size=16, slice_size=2, lr=1e-4,
    first_lr=1e-7, schedule="steps", warmup_epochs=500 / 7392, weight_decay=1e-4, drop_path=0.1, task="instances",
)  # fmt: skip
SCENES = Recipe(
    data="scenes", variant="micro", image_size=128, epochs=24, batch_size=8, slice_size=8, lr=2e-3, warmup_epochs=0.5,
    clip=1.0, ema=0.998, initial_weights="fan-in", weights="fashion-mnist", stem_strides=(2, 2), task="segmentation",
    width=64, scales=(0.8, 1.25), distort=True,
)  # fmt: skip
SCENE_OBJECTS = replace(SCENES, task="detection", weights="scenes-segmentation", image_size=192, epochs=4)

RECIPES: dict[str, Recipe] = {
    "fashion-quick": Recipe(
        data="fashion-subset", variant="micro", image_size=28, epochs=3, batch_size=64, slice_size=64, lr=2e-3,
        warmup_epochs=0.5, crop_padding=0, ema=0.98, flip=True, clip=1.0, initial_weights="fan-in",
        untrained_grid_sizes=(7, 4),
    ),
    "fashion": Recipe(
        data="fashion-mnist", variant="micro", image_size=28, epochs=22, batch_size=64, slice_size=64, lr=2e-3,
        crop_padding=2, label_smoothing=0.1, ema=0.999, clip=1.0, initial_weights="fan-in",
        untrained_grid_sizes=(7, 4),
    ),
    "photos": Recipe(  # your own: few photos, from the weights that come with the package
        data="folder:photos", variant="micro", image_size=32, epochs=60, batch_size=32, slice_size=32, lr=1e-3,
        warmup_epochs=3, label_smoothing=0.1, ema=0.98, clip=1.0, initial_weights="fan-in", weights="fashion-mnist",
    ),
    "cifar10": CIFAR,
    "cifar100": replace(CIFAR, data="cifar100"),
    "imagenette": Recipe(
        data="imagenette", variant="tiny", image_size=224, epochs=200, batch_size=256, slice_size=64, lr=1e-3,
        warmup_epochs=10, rand_augment=27, erasing=0.25, mixup=0.8, cutmix=1.0, label_smoothing=0.1, drop_path=0.1,
        ema=0.999, clip=1.0,
    ),
    # Section 4.1 of the paper: AdamW, 128 images on each of 8 GPUs, 1e-3, 0.05, cosine, 300 epochs, mixup, label
    # smoothing. The paper does not state the rest, but follows PVT, so the rest is PVT's (without its colour jitter,
    # which RandAugment replaces there too; magnitude 9 of 10 there is 27 of 30 here). Drop path and clipping are for
    # Tiny and Small; for Medium and Large PVT has 0.3 and 1.0.
    "imagenet": Recipe(
        data="folder:data/imagenet", variant="tiny", image_size=224, epochs=300, batch_size=1024, slice_size=128,
        lr=1e-3, warmup_epochs=5, rand_augment=27, erasing=0.25, mixup=0.8, cutmix=1.0, repeats=3,
        label_smoothing=0.1, drop_path=0.1, classifier_drop=0.2,
    ),
    "scenes-segmentation": SCENES,
    "scenes-detection": SCENE_OBJECTS,
    "scenes-instances": replace(SCENE_OBJECTS, task="instances", width=48, regions=32),
    # Section 4.2 of the paper: AdamW, 1e-4, 1e-4, polynomial of power 0.9, batches of 16, squares of 512 pixels. The
    # paper does not state the number of steps; PVT, which it follows, has 80,000, which are 63 epochs of ADE20K's
    # 20,210 images, scales of 0.5 to 2 and distorted colours. Give --weights with ImageNet's.
    "ade20k": Recipe(
        data="ade20k:data/ADEChallengeData2016", variant="small", image_size=512, epochs=63, batch_size=16,
        slice_size=4, lr=1e-4, last_lr=0.0, schedule="poly", warmup_epochs=0, weight_decay=1e-4, drop_path=0.1,
        task="segmentation", scales=(0.5, 2.0), distort=True,
    ),
    # Section 4.3 of the paper: AdamW, 1e-4, x 0.1 after epochs 8 and 11 of 12, batches of 16, shorter sides of 800
    # pixels and longer ones of at most 1333. The paper does not state warm-up and weight decay; PVT has 500 steps (of
    # 7,392 in an epoch) and 1e-4. Give --weights with ImageNet's.
    "coco-retinanet": replace(COCO, task="detection"),
    "coco-maskrcnn": COCO,
}  # fmt: skip


# Test accuracy to expect, and where it was measured. Times are from start to end, tests included.
EXPECT: dict[str, str] = {
    "fashion-quick": "84 to 87 % (seeds 0-2: 85.3 to 86.0), in 145 to 158 s on 2 cores of a Xeon at 2.8 GHz; 1.1 GB.",
    "fashion": "93.60 % (seed 0), in 2 hours on one core of a Xeon at 2.8 GHz; 1.1 GB.",
    "photos": "Your own. On 113 photos of 4 kinds 68 to 77 % (3 splits), in 3 to 6 minutes on one busy core; 1.5 GB.",
    "cifar10": "Not measured: CIFAR was not available.",
    "cifar100": "Not measured: CIFAR was not available.",
    "imagenette": "Not measured: needs a GPU.",
    "imagenet": "Not measured here. The paper reports top-1 79.8 % for Tiny, 82.6 Small, 84.0 Medium, 84.2 Large.",
    "scenes-segmentation": "Mean IoU 66.2 % (seed 0), in about 2 h on one busy EPYC core; 1.1 GB.",
    "scenes-detection": "AP50 of boxes 87.6 % (seed 0), in 30 min on one busy Xeon core; 1.3 GB.",
    "scenes-instances": "AP50 of boxes 88.2 %, of masks 85.1 % (seed 0), in 42 min on one busy Xeon core; 2.3 GB.",
    "ade20k": "Not measured here. The paper reports mean IoU 46.6 % for Small.",
    "coco-retinanet": "Not measured here. The paper reports AP 44.8 % for Small.",
    "coco-maskrcnn": "Not measured here. The paper reports AP 45.2 % of boxes and 41.6 % of masks for Small.",
}


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with the paths of data and weights made absolute, `~` expanded. Names stay as they are."""
    weights = recipe.weights
    if weights is not None and weights not in SHIPPED:
        weights = str(absolute_path(weights))
    return replace(recipe, data=absolute(recipe.data), weights=weights)


def get_recipe(name: str) -> Recipe:
    """Look up a recipe by name. Raises ValueError for an unknown name, with the nearest known one."""
    if not isinstance(name, str) or name not in RECIPES:
        raise ValueError(f"unknown recipe {shown(name)}{nearest(name, RECIPES)}; known: {', '.join(RECIPES)}")
    return RECIPES[name]
