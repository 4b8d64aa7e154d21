"""Grad-CAM (Selvaraju et al., arXiv:1610.02391) as Captum computes it, of the map that a stage gives."""

from __future__ import annotations

from importlib.util import find_spec

from torch import Tensor, nn

from hatnet.network import HATNet


def grad_cam(model: HATNet, images: Tensor, labels: Tensor, stage: int) -> Tensor:
    r"""What of a stage's output A speaks for a class, (B, H, W) over that stage's tokens, not negative.

    The gradient of the logit, averaged over tokens, weighs the channels:
    $\text{ReLU}(\sum_k \text{mean}_{ij}(\partial z_c / \partial A_{kij})\, A_k)$.

    Raises:
        ValueError: if Captum is not installed.
    """
    require_captum()
    from captum.attr import LayerGradCam

    network = Watched(model, stage)
    found: Tensor = LayerGradCam(network, network.output).attribute(images, target=labels, relu_attributions=True)
    return found[:, 0].detach()


def require_captum() -> None:
    """Raise a ValueError if Captum is not installed."""
    if find_spec("captum") is None:
        raise ValueError(
            "Grad-CAM is computed by Captum: python -m pip install 'hatnet[faithfulness]'; or leave grad-cam and "
            "grad-cam-early out of --methods"
        )


class Watched(nn.Module):
    """A HAT-Net in which a stage's output passes through a module, `output`, as libraries expect it: (B, C, H, W)."""

    def __init__(self, model: HATNet, stage: int) -> None:
        super().__init__()
        self.model, self.stage = model, stage
        self.output = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """The logits of the network."""
        x = self.model.stem(images.permute(0, 2, 3, 1))
        for index, stage in enumerate(self.model.stages):
            x = stage(x)  # (B, H, W, C)
            if index == self.stage:
                x = self.output(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.model.classifier(self.model.drop(x.mean(dim=(1, 2))))
