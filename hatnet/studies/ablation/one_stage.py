"""One stage of HAT-Net that answers for every token: the network for the questions.

It is stage 0 of the published networks for dense tasks: two blocks on a map with one token for 4 x 4 pixels, G1 = 8 and
G2 = 16. The questions are about attention on such a map. Whole networks end in a stage of plain attention over all
tokens, and a classifier averages over all places; either would carry information that the arm's attention does not. So
do HAT-Net's norms over the whole map (D1): in a pilot, windows without far attention answered 85 % of `far` through
their mean and variance. Here all norms are batch norms instead: at the test they are fixed for each channel.
"""

from dataclasses import replace

from torch import Tensor, nn

from hatnet.checks import require_type, require_whole
from hatnet.complexity import Cost, Part, total
from hatnet.config import HATNetConfig
from hatnet.layers import GroupNorm
from hatnet.network import Backbone
from hatnet.studies.ablation.arms import ARMS, BASE, KINDS, Arm
from hatnet.studies.ablation.matching import MatchedArm, part_costs
from hatnet.trace import Trace

# Of its two stages only the first is built: the last stage of a configuration has no windows.
CONFIG = HATNetConfig(
    "one-stage",
    num_classes=2,
    stem_channels=16,
    channels=(32, 32),
    depths=(2, 1),
    kernel_sizes=(3, 3),
    expansions=(4, 4),
    head_dim=16,
    grid_sizes=(8,),
    pool_sizes=(16,),
    classifier_drop_rate=0.0,
)


class OneStage(Backbone):
    """Stem and stage 0, then one linear layer for each token: (B, 3, H, W) -> logits (B, classes, H / 4, W / 4)."""

    def __init__(self, config: HATNetConfig) -> None:
        super().__init__(config)
        self.stages = self.stages[:1]
        self.norm = GroupNorm(config.channels[0])
        self.classifier = nn.Linear(config.channels[0], config.num_classes)
        self.reset_parameters()

    def forward(self, image: Tensor, trace: Trace | None = None) -> Tensor:
        (x,) = self.forward_features(image, trace)  # (B, C, H / 4, W / 4)
        x = self.classifier(self.norm(x.permute(0, 2, 3, 1)))  # (B, H / 4, W / 4, classes)
        return x.permute(0, 3, 1, 2)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm of maps (B, H, W, C), for each channel over images and tokens."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.reshape(-1, x.shape[-1])).view(x.shape)


class OneStageArm(MatchedArm):
    """An arm in this network, with the width of its MLPs."""

    network = OneStage

    @property
    def cost(self) -> Cost:
        """Cost of one image: MACs term by term, and parameters."""
        parts = part_costs(self.arm, self.config, self.image_size, self.widths * 2)
        built = [part for part in parts if part.name.startswith(("stem", "stages.0."))]
        (H, W), C = self.config.layout(self.image_size, self.image_size)[0].map, self.config.channels[0]
        classes = self.config.num_classes
        classifier = Cost({"classifier": H * W * C * classes}, parameters=2 * C + C * classes + classes)
        return total([*built, Part("classifier", classifier, None)])

    def adapt(self, model: Backbone) -> None:
        """Replace every norm over the whole map by batch norm, with as many parameters."""
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, GroupNorm):
                    setattr(module, name, BatchNorm(len(child.weight)))


def match_macs(arm: Arm, image_size: int) -> OneStageArm:
    """Choose the width of an arm's MLPs so that its MACs are nearest to those of H-MHSA; at its own cost, H-MHSA's.

    One width cannot match the parameters, too. They differ where an attention has products without parameters, or
    parameters that are used once for many tokens, as PVT's convolution has. Raises ValueError for H-MHSA with other G1
    or G2, which are for three stages, and if no width matches.
    """
    require_type("arm", arm, Arm, "one of ARMS")
    image_size = require_whole("image_size", image_size, CONFIG.min_image_size, 4096)
    if arm.is_variant:
        known = ", ".join((BASE, *(each.name for each in KINDS)))
        raise ValueError(
            f"the arm {arm.name!r} has G1 and G2 for three stages; a question has one: choose from {known}"
        )
    target = OneStageArm(ARMS[BASE], CONFIG, image_size, (CONFIG.expansions[0] * CONFIG.channels[0],))
    if arm.own_cost or arm.name == BASE:
        return replace(target, arm=arm)
    one, two = (OneStageArm(arm, CONFIG, image_size, (width,)).cost.total_macs for width in (1, 2))
    width = 1 + round((target.cost.total_macs - one) / (two - one))
    if width < 1:
        raise ValueError(f"no width gives {arm.title} the MACs of {ARMS[BASE].title}")
    return OneStageArm(arm, CONFIG, image_size, (width,))
