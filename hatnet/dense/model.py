"""What the dense models share: the facts from which `hatnet.load` rebuilds one."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch

from hatnet.checks import require_between, require_whole, shown
from hatnet.config import HATNetConfig, nearest
from hatnet.network import require_windows

LARGEST_SIDE = 4096  # pixels, of images in a detector
SIZES = ("min_size", "max_size")
NOT_COMPARED = {"p", "rate", *SIZES}  # drop rates, and sizes of images
MOST = 100_000  # of any number of regions or objects


class DenseModel:
    """A base of `SemanticFPN`, `RetinaNet` and `MaskRCNN`, which set its attributes.

    Attributes:
        task: the name of the task in `create_model`.
        config: the HAT-Net.
        width: channels of the pyramid.
        settings: the detector's other arguments that were given.
        transform: has `image_mean` and `image_std`.
        backbone: has the HAT-Net as `body`.
    """

    task: ClassVar[str]
    config: HATNetConfig
    width: int
    settings: dict[str, Any]
    transform: Any
    backbone: Any

    def facts(self) -> dict[str, Any]:
        """Everything that `from_facts` needs beside the configuration, as JSON can hold it.

        Raises ValueError for a setting that is no number, such as an anchor generator: a file cannot hold it.
        """
        sizes = {name: getattr(self.transform, name) for name in SIZES if hasattr(self.transform, name)}
        check_numbers(self.settings | sizes)
        return {
            "task": self.task,
            "width": self.width,
            "mean": list(self.transform.image_mean),
            "std": list(self.transform.image_std),
            "settings": self.settings | sizes,
        }

    @classmethod
    def from_facts(cls, config: HATNetConfig, facts: Mapping[str, Any]) -> Self:
        """The model of these `facts`, without memory for its weights, on the device `meta`.

        Raises ValueError or TypeError for impossible facts.
        """
        check_numbers(facts["settings"])
        with torch.device("meta"):
            model: Any = cls
            return model(config, facts["mean"], facts["std"], width=facts["width"], **facts["settings"])

    def require_unchanged(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters of a model that is rebuilt from `facts`.

        Raises ValueError if it would compute something else, since a number was changed after the model was built, such
        as a threshold. Drop rates, which only training uses, may differ, and the sizes of images, which are facts.
        """
        require_windows(self.backbone.body)
        again: Any = type(self).from_facts(self.config, self.facts())
        ours, theirs = _numbers(self), _numbers(again)
        changed = [name for name, value in theirs.items() if ours.get(name, value) != value]
        if changed:
            name = changed[0]
            raise ValueError(
                f"{name}={shown(ours[name])} was changed after the model was built with {shown(theirs[name])}; give it "
                f"to {type(self).__name__} as an argument"
            )
        return {name: tuple(tensor.shape) for name, tensor in again.state_dict().items()}


def _numbers(model: Any) -> dict[str, Any]:
    """The numbers of all modules by name, without drop rates and the sizes of images."""
    return {
        f"{name}.{key}".removeprefix("."): value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, int | float | tuple) and not isinstance(value, bool) and key not in NOT_COMPARED
    }


def check_numbers(settings: Mapping[str, Any]) -> None:
    """Raise a ValueError that names the first setting that is no number within its bounds.

    >>> check_numbers({"min_size": 64, "score_thresh": 0.5})
    >>> check_numbers({"min_size": -1})
    Traceback (most recent call last):
    ValueError: min_size=-1 must be a whole number from 1 to 4096
    """
    for name, value in settings.items():
        if name in SIZES:
            for side in value if name == "min_size" and isinstance(value, list | tuple) and value else [value]:
                require_whole(name, side, 1, LARGEST_SIDE)
        elif isinstance(value, int):
            require_whole(name, value, 0, MOST)
        elif isinstance(value, float):
            require_between(name, value, -1e3, 1e3)
        else:
            raise ValueError(f"the setting {name}={shown(value)} is no number, so a file cannot keep it")


def require_known(settings: Mapping[str, Any], known: set[str]) -> None:
    """Raise a TypeError for an unknown setting; torchvision would ignore it."""
    for name in settings:
        if name not in known:
            raise TypeError(f"unknown setting {name!r}{nearest(name, known)}; known: {', '.join(sorted(known))}")
