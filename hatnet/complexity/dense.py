"""Cost of the models of dense prediction: a HAT-Net, a feature pyramid on its maps, and the heads of a task.

The heads are those of the paper's experiments. A detector's cost depends on the regions that it finds; as mmdetection
counts, the box head of Mask R-CNN has 1000 regions and its mask head 100. Resizing and batch normalisation do not
count, in the spirit of `hatnet.complexity.cost`.
"""

from collections.abc import Sequence

from hatnet.checks import require_choice, require_whole
from hatnet.complexity.cost import Cost, linear_parameters
from hatnet.complexity.network import Part, network_costs
from hatnet.config import TASKS, HATNetConfig, ceil_div, require_config

Size = tuple[int, int]  # rows and columns of a map

DENSE_TASKS = tuple(task for task in TASKS if task != "classification")
PYRAMID = 256  # channels of the pyramid in the paper; the head of Semantic FPN has half as many
WIDEST = 1024  # pyramid
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


def dense_costs(
    config: HATNetConfig, task: str, height: int, width: int, padded: bool = False, pyramid: int = PYRAMID
) -> list[Part]:
    """The cost of every part of a dense model for one image of `height` x `width` pixels; `num_classes` as in `config`.

    `pyramid` is the number of channels of the pyramid, the `width` of `create_model`; the heads scale along.
    The parts of the HAT-Net are those of `network_costs` without the classifier, the others `fpn` and the heads.
    Detectors resize images; here the size is that after resizing. Raises ValueError for an unknown task or an
    odd `pyramid`, and as `network_costs` does.

    >>> from hatnet.complexity.network import total
    >>> from hatnet.config import get_config
    >>> config = get_config("small", num_classes=150).with_dense_windows()
    >>> cost = total(dense_costs(config, "segmentation", 512, 512))
    >>> cost.parameters, round(cost.total_macs / 1e9, 1)
    (29492214, 45.3)
    """
    require_config(config)
    require_choice("task", task, DENSE_TASKS)
    if require_whole("pyramid", pyramid, 2, WIDEST) % 2:
        raise ValueError(f"pyramid={pyramid} must be even, since the head of Semantic FPN has half as many channels")
    parts = network_costs(config, height, width, padded)[:-1]
    sizes = [layout.map for layout in config.layout(height, width)]
    return parts + head_costs(task, config.channels, sizes, config.num_classes, pyramid)


def head_costs(
    task: str, channels: Sequence[int], sizes: Sequence[Size], classes: int, pyramid: int = PYRAMID
) -> list[Part]:
    """The cost of pyramid and heads on maps of any backbone, with these channels and sizes, the finest first."""
    if task == "segmentation":
        return [_part("fpn", _pyramid(channels, sizes, pyramid)), _part("head", _semantic_fpn(sizes, classes, pyramid))]
    if task == "detection":
        sizes, channels = sizes[1:], channels[1:]
        p6 = _halved(sizes[-1])
        p7 = _halved(p6)
        more = [_convolution(p6, channels[-1], pyramid), _convolution(p7, pyramid, pyramid)]
        head = _retina_net([*sizes, p6, p7], classes + 1, pyramid)
        return [_part("fpn", _pyramid(channels, sizes, pyramid) + more), _part("head", head)]
    return [
        _part("fpn", _pyramid(channels, sizes, pyramid)),
        _part("rpn", _proposals([*sizes, _halved(sizes[-1])], pyramid)),
        _part("roi_heads", _regions(classes + 1, pyramid)),
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


def _pyramid(channels: Sequence[int], sizes: Sequence[Size], pyramid: int) -> list[Cost]:
    lateral = [_convolution(size, C, pyramid, 1) for size, C in zip(sizes, channels, strict=True)]
    return lateral + [_convolution(size, pyramid, pyramid) for size in sizes]


def _semantic_fpn(sizes: Sequence[Size], classes: int, pyramid: int) -> list[Cost]:
    inside = pyramid // 2
    layers = [  # each with a batch norm, and no bias
        _convolution(sizes[level - step], inside if step else pyramid, inside, extra=2 * inside)
        for level in range(len(sizes))
        for step in range(max(level, 1))
    ]
    return [*layers, _convolution(sizes[0], inside, classes, 1)]


def _retina_net(sizes: Sequence[Size], outputs: int, pyramid: int) -> list[Cost]:
    shared = [_shared([_convolution(size, pyramid, pyramid) for size in sizes])] * 8  # four for classes, four for boxes
    last = [
        _shared([_convolution(size, pyramid, ANCHORS["detection"] * count) for size in sizes]) for count in (outputs, 4)
    ]
    return shared + last


def _proposals(sizes: Sequence[Size], pyramid: int) -> list[Cost]:
    first = _shared([_convolution(size, pyramid, pyramid) for size in sizes])
    last = [
        _shared([_convolution(size, pyramid, ANCHORS["instances"] * count, 1) for size in sizes]) for count in (1, 4)
    ]
    return [first, *last]


def _regions(outputs: int, pyramid: int) -> list[Cost]:
    inside = 4 * pyramid
    linear = [(pyramid * 7 * 7, inside), (inside, inside), (inside, outputs), (inside, 4 * outputs)]
    box = [Cost({"": REGIONS * i * o}, linear_parameters(i, o)) for i, o in linear]
    masks = [_convolution((MASKS * 14, 14), pyramid, pyramid)] * 4
    doubling = Cost({"": MASKS * 14 * 14 * pyramid * pyramid * 4}, pyramid * pyramid * 4 + pyramid)  # 2 x 2, stride 2
    return [*box, *masks, doubling, _convolution((MASKS * 28, 28), pyramid, outputs, 1)]
