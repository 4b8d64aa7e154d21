"""Derivatives of derivatives, and forward-mode derivatives: with PyTorch's plain attention."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from hatnet import create_model

STEP = 1e-5
pytestmark = [  # of torch.func.jvp itself
    pytest.mark.filterwarnings(f"ignore:.*torch.jit.script:{kind}") for kind in ("FutureWarning", "DeprecationWarning")
]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = create_model("micro").double().eval()
    image = torch.randn(1, 3, 16, 20, dtype=torch.float64)
    return model, image, torch.randn_like(image)


def logit(model, image):
    return model(image)[0, 3]


def gradient(model, image):
    image = image.clone().requires_grad_()
    return torch.autograd.grad(logit(model, image), image)[0]


def test_a_jvp_is_the_difference_quotient(network):
    model, image, direction = network
    with sdpa_kernel(SDPBackend.MATH):
        _, got = torch.func.jvp(model, (image,), (direction,))
    want = (model(image + STEP * direction) - model(image - STEP * direction)) / (2 * STEP)
    assert torch.allclose(got, want, rtol=1e-5, atol=1e-8)


def test_a_double_backward_is_the_difference_quotient_of_gradients(network):
    model, image, direction = network
    with sdpa_kernel(SDPBackend.MATH):
        inputs = image.clone().requires_grad_()
        (first,) = torch.autograd.grad(logit(model, inputs), inputs, create_graph=True)
        (got,) = torch.autograd.grad((first * direction).sum(), inputs)
    want = (gradient(model, image + STEP * direction) - gradient(model, image - STEP * direction)) / (2 * STEP)
    assert torch.allclose(got, want, rtol=1e-4, atol=1e-8)


def test_the_fused_kernel_refuses_both_with_an_error(network):
    """It does not compute anything wrong. When PyTorch supports them, `docs/ecosystem.md` can be shortened."""
    model, image, direction = network
    inputs = image.clone().requires_grad_()
    (first,) = torch.autograd.grad(logit(model, inputs), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match="not implemented"):
        torch.autograd.grad((first * direction).sum(), inputs)
    with pytest.raises(NotImplementedError, match="forward AD"):
        torch.func.jvp(model, (image,), (direction,))
