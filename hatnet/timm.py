"""HAT-Net in timm (extra `timm`): after `import hatnet.timm`, `timm.create_model("hat_net_tiny")` builds it.

timm's tools expect timm's interface, which this module adds. The parameters keep their names, so state dicts fit both
ways. One name has two meanings: `forward_features` returns the maps of all stages in hatnet, and the last map in timm.
A network of this module follows timm; its `forward_intermediates` returns the maps of all stages.
"""

from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

try:
    from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
    from timm.models._builder import resolve_pretrained_cfg
    from timm.models._features import feature_take_indices
    from timm.models._pretrained import PretrainedCfg
except ModuleNotFoundError as error:
    raise ImportError("hatnet.timm needs timm: python -m pip install 'hatnet[timm]', or pip install timm") from error

from hatnet.checks import require_choice, require_type, require_whole
from hatnet.config import VARIANTS, HATNetConfig, nearest, require_config
from hatnet.data.photo import MEAN, STD
from hatnet.network import Backbone, HATNet, initialise
from hatnet.trace import Trace, given_or_none
from hatnet.weights.checkpoints import load_with_facts
from hatnet.weights.official import load_official
from hatnet.weights.pretrained import PRETRAINED
from hatnet.weights.source import find_source
from hatnet.weights.windows import changed_fields

__all__ = ["TimmHATNet", "load"]

POOLING = ("avg", "")  # the mean over the map, or none
NAMES = {"in_channels": "in_chans", "classifier_drop_rate": "drop_rate", "drop_rate": "proj_drop_rate"}  # ours: timm's
SHIPPED_FILE = PRETRAINED["micro", "fashion-mnist"]


class TimmHATNet(HATNet):
    """A `HATNet` with timm's interface; `timm.create_model` and `load` build one.

    Args:
        cfg: the configuration to start from.
        num_classes: of the classifier, 0 for none; None keeps that of `cfg`.
        global_pool: `avg`, or an empty text to return maps instead of one vector per image.
        device: where to create the parameters; None is PyTorch's default.
        dtype: of the parameters; None is PyTorch's default.
        changes: fields of `HATNetConfig` under timm's names: `in_chans` is `in_channels`, `drop_rate` is
            `classifier_drop_rate`, and `proj_drop_rate` is our `drop_rate`.

    Raises TypeError for an unknown name, ValueError for impossible values.
    """

    pretrained_cfg: dict[str, Any]  # what timm keeps about the weights and their images
    default_cfg: dict[str, Any]  # the same
    _model_args: dict[str, Any]  # of `timm.create_model`

    def __init__(
        self,
        cfg: HATNetConfig,
        num_classes: int | None = None,
        global_pool: str = "avg",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **changes: Any,
    ) -> None:
        require_choice("global_pool", global_pool, POOLING)
        if num_classes is not None and require_whole("num_classes", num_classes, 0):
            changes["num_classes"] = num_classes
        config = configuration(cfg, changes)
        with nullcontext() if device is None else torch.device(device):
            super().__init__(config)
        self.to(dtype=dtype)
        self.num_classes, self.in_chans, self.global_pool = config.num_classes, config.in_channels, global_pool
        self.num_features = self.head_hidden_size = config.channels[-1]
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": stage.channels, "reduction": stage.stride, "module": f"stages.{index}"}
            for index, stage in enumerate(config.stages)
        ]
        if num_classes == 0:
            self.reset_classifier(0)

    def forward(self, image: Tensor, trace: Trace | None = None) -> Tensor:
        """Images (B, C_in, H, W) -> logits (B, classes), or what is left without a classifier or pooling."""
        trace = given_or_none(trace)
        logits = self.forward_head(self.forward_features(image, trace))
        trace["logits"] = logits
        return logits

    def forward_features(self, image: Tensor, trace: Trace | None = None) -> Tensor:  # type: ignore[override]
        """The output of the last stage, (B, C, H / s, W / s), as timm defines it. Errors as in `Backbone`."""
        return Backbone.forward_features(self, image, trace)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The map of `forward_features` -> logits, or the input of the classifier if `pre_logits`."""
        if self.global_pool:
            x = x.mean(dim=(2, 3))  # (B, C)
        x = self.drop(x)
        return x if pre_logits else self.classifier(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last map and the maps of some stages, (B, C, H / s, W / s); only these if `intermediates_only`.

        `indices` are the stages: a list, a number for the last ones, or None for all. `stop_early` skips the stages
        after the last of them. `norm` changes nothing: no norm follows the stages. `output_fmt` must be NCHW.
        """
        require_choice("output_fmt", output_fmt, ("NCHW",))
        require_type("stop_early", stop_early, bool, "True or False")
        require_type("intermediates_only", intermediates_only, bool, "True or False")
        chosen, last = feature_take_indices(len(self.stages), indices)
        self._check(x)
        x = self.stem(x.permute(0, 2, 3, 1))
        maps = []
        for index, stage in enumerate(self.stages[: last + 1] if stop_early else self.stages):
            x = stage(x)
            if index in chosen:
                maps.append(x.permute(0, 3, 1, 2))
        return maps if intermediates_only else (x.permute(0, 3, 1, 2), maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last of `indices`, and the head; returns the indices from 0."""
        chosen, last = feature_take_indices(len(self.stages), indices)
        if last < len(self.stages) - 1:
            prune_head = True  # it is made for the channels of the last stage
            self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        self.stages = self.stages[: last + 1]
        if prune_head:
            self.reset_classifier(0, "")
        return chosen

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one for `num_classes`, 0 for none, and the pooling unless it is None."""
        require_whole("num_classes", num_classes, 0)
        if global_pool is not None:
            require_choice("global_pool", global_pool, POOLING)
            self.global_pool = global_pool
        self.num_classes = num_classes
        classifier: nn.Module = nn.Identity()
        if num_classes:
            self.config = replace(self.config, num_classes=num_classes)
            weight = self.stem.conv1.weight
            classifier = nn.Linear(self.num_features, num_classes, device=weight.device, dtype=weight.dtype)
            initialise(classifier)
        self.classifier = classifier.train(self.training)  # type: ignore[assignment]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute the widest maps of MLPs again in the backward pass, which needs less memory and more time."""
        self.recompute_mlps(enable)

    def no_weight_decay(self) -> set[str]:
        """Parameters without weight decay, apart from norms and biases, which timm recognises: none."""
        return set()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns of parameter names from the first layer to the last, for rates that fall from layer to layer."""
        blocks = [(r"^stages\.(\d+)\.downsample", (0,)), (r"^stages\.(\d+)\.blocks\.(\d+)", None)]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else blocks}


def configuration(cfg: HATNetConfig, changes: dict[str, Any]) -> HATNetConfig:
    """The configuration with changes under timm's names. Raises as `TimmHATNet` does.

    >>> configuration(VARIANTS["tiny"], {"in_chans": 1}).in_channels
    1
    """
    ours = {NAMES.get(field.name, field.name): field.name for field in fields(HATNetConfig)}
    require_config(cfg)
    for name in changes:
        if name not in ours:
            raise TypeError(f"unknown argument {name!r}{nearest(name, ours)}; known: {', '.join(ours)}")
    return replace(cfg, **{ours[name]: value for name, value in changes.items()})


def load(weights: str | Path) -> TimmHATNet:
    """A trained network as one of timm's, in evaluation mode, with its classes, mean, std and size in `pretrained_cfg`.

    `weights` is a name, a file (ours or the authors') or the folder of a training, as in `weights_file`, whose errors
    this raises.

    >>> from timm.data import resolve_model_data_config
    >>> resolve_model_data_config(load("fashion-mnist"))["mean"]
    (0.286,)
    """
    source = find_source(weights)
    config, facts = source.model.config, source.about
    model = TimmHATNet(config, device="meta")
    model.load_state_dict(source.model.state_dict(), assign=True)
    cfg = pretrained_cfg(config, {**facts, "image_size": source.image_size, "mean": source.mean, "std": source.std})
    base = BASES.get(config.name)
    if base is not None:  # how timm rebuilds the network, for instance when it is downloaded from a hub
        cfg = replace(cfg, architecture=f"hat_net_{config.name}")
        names = changed_fields(base, config)
        model._model_args = {NAMES.get(name, name): getattr(config, name) for name in names}
    model.pretrained_cfg = model.default_cfg = cfg.to_dict()  # type: ignore[no-untyped-call]
    return model.eval()


def pretrained_cfg(config: HATNetConfig, facts: dict[str, Any], **more: Any) -> PretrainedCfg:
    """What timm keeps about a network and its images; `facts` are those of `hatnet.weights.checkpoints.about`."""
    size, smallest = int(facts.get("image_size", 224)), config.min_image_size
    as_they_are = facts.get("recipe", {}).get("crop_padding") is not None  # small images are neither resized nor cut
    return PretrainedCfg(
        input_size=(config.in_channels, size, size),
        min_input_size=(config.in_channels, smallest, smallest),
        pool_size=config.layout(size, size)[-1].map,
        interpolation="bicubic",
        crop_pct=1.0 if as_they_are else 0.875,
        mean=tuple(facts.get("mean", MEAN.tolist())),
        std=tuple(facts.get("std", STD.tolist())),
        num_classes=config.num_classes,
        label_names=tuple(facts["classes"]) if facts.get("classes") else None,
        first_conv="stem.conv1",
        classifier="classifier",
        origin_url="https://github.com/yun-liu/HAT-Net",
        paper_ids="doi:10.1007/s11633-024-1393-8",
        **more,
    )


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """A state dict with our names, from ours or from one of the authors' files. Errors as in `load_official`."""
    ours = any(name.startswith("stem.") for name in state_dict)
    return state_dict if ours else dict(load_official(state_dict).state_dict())


def build(variant: str, pretrained: bool = False, **given: Any) -> nn.Module:
    """The network that `timm.create_model` returns. Raises ValueError if `pretrained` and no weights are known."""
    name, base = f"hat_net_{variant}", BASES[variant]
    if pretrained:
        cfg = resolve_pretrained_cfg(name, given.get("pretrained_cfg"), given.get("pretrained_cfg_overlay"))
        if not cfg.has_weights and not cfg.state_dict:
            raise ValueError(
                f"pretrained=True: this package hosts no weights of {name}. Download the authors' file from "
                f"{cfg.origin_url} and give pretrained_cfg_overlay=dict(file='HAT-Net_{variant.capitalize()}.pth'), "
                f"which converts it, or use hatnet.timm.load(FILE), or pretrained=False for random weights"
            )
    features = {"out_indices": tuple(range(len(given.get("channels", base.channels)))), "feature_cls": "getter"}
    features |= given.pop("feature_cfg", {})
    for kind in (given.get("feature_cls", "getter"), features["feature_cls"]):  # others would return (B, H, W, C)
        require_choice("feature_cls", kind, ("getter",))
    return build_model_with_cfg(
        TimmHATNet,
        name,
        pretrained,
        model_cfg=base,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg=features,
        **given,
    )


# micro is the network of the weights in the package: a name means one network, with or without `pretrained`.
_shipped, _facts = load_with_facts(SHIPPED_FILE)
BASES = {**VARIANTS, "micro": _shipped.config}
_cfgs: dict[str, Any] = {f"hat_net_{name}": pretrained_cfg(VARIANTS[name], {}) for name in VARIANTS if name != "micro"}
_cfgs["hat_net_micro.fashion_mnist"] = pretrained_cfg(_shipped.config, _facts, file=str(SHIPPED_FILE))
default_cfgs = generate_default_cfgs(_cfgs)


@register_model
def hat_net_tiny(pretrained: bool = False, **given: Any) -> nn.Module:
    """HAT-Net Tiny of Table 1."""
    return build("tiny", pretrained, **given)


@register_model
def hat_net_small(pretrained: bool = False, **given: Any) -> nn.Module:
    """HAT-Net Small of Table 1."""
    return build("small", pretrained, **given)


@register_model
def hat_net_medium(pretrained: bool = False, **given: Any) -> nn.Module:
    """HAT-Net Medium of Table 1."""
    return build("medium", pretrained, **given)


@register_model
def hat_net_large(pretrained: bool = False, **given: Any) -> nn.Module:
    """HAT-Net Large of Table 1."""
    return build("large", pretrained, **given)


@register_model
def hat_net_micro(pretrained: bool = False, **given: Any) -> nn.Module:
    """Our network for grey images of 28 pixels, with the windows of the weights in the package."""
    return build("micro", pretrained, **given)
