"""Grad-CAM (Selvaraju et al., arXiv:1610.02391) of the output of a stage, computed by Captum."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from torch import Tensor, nn

from hatnet.network import HATNet


def grad_cam(model: HATNet, images: Tensor, targets: Tensor, stage: int) -> Tensor:
    r"""Relevance of each token of a stage for a class: (B, C_in, H, W) -> (B, H', W'), never negative.

    The gradient of the logit, averaged over the tokens, weights the channels of the stage's output A:
    $\text{ReLU}(\sum_k \text{mean}_{ij}(\partial z_c / \partial A_{kij})\, A_k)$. `targets` holds the class to
    explain for each image, (B,). Raises ValueError if Captum is not installed.
    """
    require_captum()
    from captum.attr import LayerGradCam

    with channels_first_output(model.stages[stage]) as output:
        relevance: Tensor = LayerGradCam(model, output).attribute(images, target=targets, relu_attributions=True)
    return relevance[:, 0].detach()


@contextmanager
def channels_first_output(stage: nn.Module) -> Iterator[nn.Module]:
    """Pass a stage's output through a module as (B, C, H, W), the layout that Captum expects, and yield the module."""
    output = nn.Identity()
    hook = stage.register_forward_hook(lambda _, __, y: output(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    try:
        yield output
    finally:
        hook.remove()


def require_captum() -> None:
    """Raise a ValueError if Captum is not installed."""
    if find_spec("captum") is None:
        raise ValueError(
            "Grad-CAM needs Captum: python -m pip install 'hatnet[studies]'; or leave grad-cam and grad-cam-early "
            "out of --methods"
        )
