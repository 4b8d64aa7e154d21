"""Dense prediction (extra `train`): Semantic FPN, RetinaNet and Mask R-CNN on the maps of a HAT-Net.

`create_model("small", task="segmentation")` builds one by name. The pyramid, the anchors, the heads and the losses of
the detectors are torchvision's; the head of Semantic FPN, which torchvision lacks, is ours.

All three take pixels in [0, 1] and normalise them inside, with the mean and std in `model.transform`. They accept
images of any size.
"""

try:
    import torchvision  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        "hatnet.dense needs torchvision: python -m pip install 'hatnet[train]', or pip install torchvision"
    ) from error

from hatnet.dense.backbone import load_backbone
from hatnet.dense.detectors import MaskRCNN, RetinaNet
from hatnet.dense.predicting import predict
from hatnet.dense.semantic_fpn import SemanticFPN, SemanticFPNHead

__all__ = ["MaskRCNN", "RetinaNet", "SemanticFPN", "SemanticFPNHead", "load_backbone", "predict"]
