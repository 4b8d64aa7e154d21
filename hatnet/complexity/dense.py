"""Cost of the models of dense prediction: a HAT-Net, a feature pyramid on its maps, and the heads of a task.

The heads are those of the paper's experiments. A detector's cost depends on the regions that it finds; as mmdetection
counts, the box head of Mask R-CNN has 1000 regions and its mask head 100. Resizing and batch normalisation do not
count, in the spirit of `hatnet.complexity.cost`.
"""

from collections.abc import Sequence

from hatnet.checks import require_choice
from hatnet.complexity.cost import Cost, linear_parameters
from hatnet.complexity.network import Part, network_costs
from hatnet.config import TASKS, HATNetConfig, ceil_div, require_config

Size = tuple[int, int]  # rows and columns of a map

DENSE_TASKS = tuple(task for task in TASKS if task != "classification")
PYRAMID, HEAD = 256, 128  # channels of the pyramid, and in the head of Semantic FPN
REGIONS, MASKS = 1000, 100  # of one image, in the heads of Mask R-CNN
ANCHORS = {"detection": 9, "instances": 3}  # at each place of a map

# Tables 3 and 4 of the paper: parameters in millions, and what it calls FLOPs, in G, at 512 x 512 pixels for
# segmentation, and at 800 x 1280 for the detectors.
PAPER: dict[str, dict[str, tuple[float, float]]] = {
    "segmentation": {"tiny": (15.9, 33.2), "small": (29.5, 49.6), "medium": (46.7, 74.7), "large": (66.8, 96.4)},
    "detection": {"tiny": (21.6, 212), "small": (35.5, 286), "medium": (52.7, 405), "large": (73.1, 519)},
    "instances": {"tiny": (31.8, 231), "small": (45.4, 303), "medium": (62.6, 424), "large": (82.7, 537)},
}
PAPER_SIZES = {"segmentation": (512, 512), "detection": (800, 1280), "instances": (800, 1280)}


def dense_costs(config: HATNetConfig, task: str, height: int, width: int, padded: bool = False) -> list[Part]:
    """The cost of every part of a dense model for one image of `height` x `width` pixels; `num_classes` as in `config`.

    The parts of the HAT-Net are those of `network_costs` without the classifier, the others `fpn` and the heads.
    Detectors resize images; here the size is that after resizing. Raises ValueError for an unknown task, and as
    `network_costs` does.

    >>> from hatnet.complexity.network import total
    >>> from hatnet.config import get_config
    >>> config = get_config("small", num_classes=150).with_dense_windows()
    >>> cost = total(dense_costs(config, "segmentation", 512, 512))
    >>> cost.parameters, round(cost.total_macs / 1e9, 1)
    (29492214, 45.3)
    """
    require_config(config)
    require_choice("task", task, DENSE_TASKS)
    parts = network_costs(config, height, width, padded)[:-1]
    sizes = [layout.map for layout in config.layout(height, width)]
    return parts + head_costs(task, config.channels, sizes, config.num_classes)


def head_costs(task: str, channels: Sequence[int], sizes: Sequence[Size], classes: int) -> list[Part]:
    """The cost of pyramid and heads on maps of any backbone, with these channels and sizes, the finest first."""
    if task == "segmentation":
        return [_part("fpn", _pyramid(channels, sizes)), _part("head", _semantic_fpn(sizes, classes))]
    if task == "detection":
        sizes, channels = sizes[1:], channels[1:]
        p6 = _halved(sizes[-1])
        p7 = _halved(p6)
        more = [_convolution(p6, channels[-1], PYRAMID), _convolution(p7, PYRAMID, PYRAMID)]
        head = _retina_net([*sizes, p6, p7], classes + 1)
        return [_part("fpn", _pyramid(channels, sizes) + more), _part("head", head)]
    return [
        _part("fpn", _pyramid(channels, sizes)),
        _part("rpn", _proposals([*sizes, _halved(sizes[-1])])),
        _part("roi_heads", _regions(classes + 1)),
    ]


def _part(name: str, layers: list[Cost]) -> Part:
    macs = sum(layer.total_macs for layer in layers)
    return Part(name, Cost({name: macs}, sum(layer.parameters for layer in layers)), None)


def _convolution(size: Size, inputs: int, outputs: int, kernel: int = 3, extra: int | None = None) -> Cost:
    """A convolution with `size` places in its output; `extra` parameters beside the weights, None for a bias."""
    weights = inputs * outputs * kernel**2
    return Cost({"": size[0] * size[1] * weights}, weights + (outputs if extra is None else extra))


def _shared(layers: list[Cost]) -> Cost:
    """One layer that is applied to several maps."""
    return Cost({"": sum(layer.total_macs for layer in layers)}, layers[0].parameters)


def _halved(size: Size) -> Size:
    return ceil_div(size[0], 2), ceil_div(size[1], 2)


def _pyramid(channels: Sequence[int], sizes: Sequence[Size]) -> list[Cost]:
    lateral = [_convolution(size, C, PYRAMID, 1) for size, C in zip(sizes, channels, strict=True)]
    return lateral + [_convolution(size, PYRAMID, PYRAMID) for size in sizes]


def _semantic_fpn(sizes: Sequence[Size], classes: int) -> list[Cost]:
    layers = [
        _convolution(sizes[level - step], HEAD if step else PYRAMID, HEAD, extra=2 * HEAD)  # a batch norm, no bias
        for level in range(len(sizes))
        for step in range(max(level, 1))
    ]
    return [*layers, _convolution(sizes[0], HEAD, classes, 1)]


def _retina_net(sizes: Sequence[Size], outputs: int) -> list[Cost]:
    shared = [_shared([_convolution(size, PYRAMID, PYRAMID) for size in sizes])] * 8  # four for classes, four for boxes
    last = [
        _shared([_convolution(size, PYRAMID, ANCHORS["detection"] * count) for size in sizes]) for count in (outputs, 4)
    ]
    return shared + last


def _proposals(sizes: Sequence[Size]) -> list[Cost]:
    first = _shared([_convolution(size, PYRAMID, PYRAMID) for size in sizes])
    last = [
        _shared([_convolution(size, PYRAMID, ANCHORS["instances"] * count, 1) for size in sizes]) for count in (1, 4)
    ]
    return [first, *last]


def _regions(outputs: int) -> list[Cost]:
    linear = [(PYRAMID * 7 * 7, 1024), (1024, 1024), (1024, outputs), (1024, 4 * outputs)]
    box = [Cost({"": REGIONS * i * o}, linear_parameters(i, o)) for i, o in linear]
    masks = [_convolution((MASKS * 14, 14), PYRAMID, PYRAMID)] * 4
    doubling = Cost({"": MASKS * 14 * 14 * PYRAMID * PYRAMID * 4}, PYRAMID * PYRAMID * 4 + PYRAMID)  # 2 x 2, stride 2
    return [*box, *masks, doubling, _convolution((MASKS * 28, 28), PYRAMID, outputs, 1)]
