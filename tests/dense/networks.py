"""The smallest networks with four and three stages and the windows for dense tasks, and targets for them."""

import numpy as np
import torch

from hatnet.config import HATNetConfig
from hatnet.dense import MaskRCNN, RetinaNet, SemanticFPN
from hatnet.equivalence import randomise

THIN = HATNetConfig(
    channels=(4, 8, 8, 12), depths=(1, 1, 2, 1), expansions=(2, 2, 2, 2), head_dim=4, stem_channels=3, num_classes=3,
).with_dense_windows()  # fmt: skip
MODELS = {"segmentation": SemanticFPN, "detection": RetinaNet, "instances": MaskRCNN}
DETECTORS = ("detection", "instances")
FEW = {  # regions and objects, so that Mask R-CNN is quick
    "rpn_post_nms_top_n_train": 40, "rpn_post_nms_top_n_test": 40, "box_batch_size_per_image": 16,
    "box_detections_per_img": 5,
}  # fmt: skip


def thin(task, config=THIN, **settings):
    """A dense model on a thin network, the same for the same seed; images are resized to 64 pixels."""
    torch.manual_seed(0)
    if task == "segmentation":
        return SemanticFPN(config, **settings)
    few = FEW if task == "instances" else {}
    return MODELS[task](config, **{"min_size": 64, "max_size": 128} | few | settings)


def filled(model):
    """The model in float64 and evaluation mode with parameters and statistics that hide no mistake."""
    randomise(model)
    rng = np.random.default_rng(1)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.from_numpy(rng.uniform(0.5, 1.5, buffer.shape)))
    return model.double().eval()


def parameters(module):
    """Parameters and statistics in float64 by name."""
    return {name: tensor.double().numpy() for name, tensor in module.state_dict().items() if tensor.is_floating_point()}


def target(*boxes, size=(64, 64)):
    """The objects of one image: rectangles of class 1, 2, 3, 1, ... with their masks."""
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    labels = torch.arange(len(boxes)) % 3 + 1
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": labels, "masks": masks}
