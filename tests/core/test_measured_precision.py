"""`tests.measure_precision` and the emulation of TF32, against computations that share nothing with them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import reference
from hatnet import to_numpy
from hatnet.equivalence import run_model
from tests import measure_precision
from tests.cases import NETWORK_MUST_HIT
from tests.measure_precision import FORMATS, Blocks, Cell, blocks, errors, lost, measure, run
from tests.tf32 import emulated_tf32, to_tf32


def rounded(x):
    """Float32 numbers to 11 significant bits, one of them implicit, by NumPy; its `round` sends ties to even."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.round(np.ldexp(mantissa, 11)), exponent - 11)


def test_tf32_rounds_to_ten_bits_of_mantissa():
    x = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    ties = (1 + np.arange(2048) / 2048).astype(np.float32)  # every second one lies between two numbers of TF32
    for values in (x, 1e30 * x, 1e-30 * x, ties, -ties):
        np.testing.assert_array_equal(to_tf32(torch.from_numpy(values)).numpy(), rounded(values))
    special = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0])
    assert torch.equal(to_tf32(special).nan_to_num(), special.nan_to_num())
    assert to_tf32(torch.tensor(3.4028235e38)).isinf()  # the largest float32 lies above the largest TF32


@pytest.mark.parametrize("kind", ["linear", "batched", "convolution", "depthwise"])
def test_tf32_rounds_the_factors_of_products_forward_and_backward(kind):
    """Y = A B + b: dA, dB and db are those of float64 with rounded A, B and dY, and b itself is not rounded."""
    functions = {
        "linear": (F.linear, (5, 64), (7, 64)),
        "batched": (lambda a, b: a @ b, (3, 5, 64), (3, 64, 7)),
        "convolution": (F.conv2d, (2, 8, 6, 6), (7, 8, 3, 3)),
        "depthwise": (lambda a, b, bias: F.conv2d(a, b, bias, groups=7), (2, 7, 6, 6), (7, 1, 3, 3)),
    }
    function, *shapes = functions[kind]
    shapes = shapes if kind == "batched" else [*shapes, (7,)]
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    with emulated_tf32():
        y = function(*given)
        dy = torch.randn(y.shape, generator=generator)
        found = torch.autograd.grad(y, given, dy)

    def exactly(x, tf32=True):
        return torch.from_numpy(rounded(x.detach().numpy()) if tf32 else x.detach().double().numpy()).requires_grad_()

    exact = [exactly(x, tf32=index < 2) for index, x in enumerate(given)]
    want = function(*exact)
    wants = list(torch.autograd.grad(want, exact, exactly(dy)))
    if kind != "batched":
        wants[2] = dy.double().sum(dim=0 if kind == "linear" else (0, 2, 3))  # a sum, so dY is not rounded
    for got, value in zip((y.detach(), *found), (want.detach(), *wants), strict=True):
        error = (got.double() - value).norm() / value.norm()
        assert error.item() < 1e-6  # sums are float32; without rounding the difference is 3e-4


def test_tf32_refuses_attention_whose_products_it_cannot_reach():
    q = torch.zeros(1, 1, 4, 8)
    with emulated_tf32(), pytest.raises(NotImplementedError, match="attention kernel"):
        F.scaled_dot_product_attention(q, q, q)


def test_gradients_of_blocks_are_slopes_of_the_loss():
    """The derivative along a direction, by central differences at the output of each block; float64, loss scaled."""
    case = NETWORK_MUST_HIT[0]
    model, images, labels = case.model(), case.images(), torch.tensor([1, 4])
    found = run(model, images, labels, replace(FORMATS["float64"], loss_scale=64.0))
    assert len(found.gradient) == len(blocks(model)) == 5
    for (_, block), output, gradient in zip(blocks(model), found.output, found.gradient, strict=True):
        direction = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        losses = []
        for step in (1e-5, -1e-5):
            hook = block.register_forward_hook(lambda _m, _i, y, step=step, d=direction: y + step * d)
            with torch.no_grad():
                losses.append(F.cross_entropy(model(images), labels))
            hook.remove()
        assert float((gradient * direction).sum()) == pytest.approx(float(losses[0] - losses[1]) / 2e-5, rel=1e-6)


def test_errors_are_euclidean_and_belong_to_their_own_block():
    def block(*vectors):
        return [torch.tensor(vector) for vector in vectors]

    want = Blocks(block([3.0, 4.0], [0.0, 2.0]), block([1.0], [10.0]), block([0.0, 5.0], [1.0, 1.0]), block([1.0]))
    got = Blocks(block([3.3, 4.4], [2.0, 2.0]), block([1.5], [10.0]), block([0.0, 0.0], [1.0, torch.inf]), block([1.0]))
    found = errors(got, want)
    assert found["output"] == pytest.approx([0.1, 1.0])
    assert found["gradient"] == pytest.approx([0.5, 0.0])
    assert found["parameters"] == [1.0, None]
    assert lost(got, want) == {"zero": [0.5, 0.0], "infinite": [0, 1]}


def test_a_run_compares_every_block_with_float64(monkeypatch):
    """`same`: the reference with rounded weights and pixels. `all`: with those of float32."""
    monkeypatch.setattr(measure_precision, "FORMATS", {name: FORMATS[name] for name in ("float64", "bfloat16")})
    cell = Cell("micro", "random", 28, 1, seed=0)
    exact, row = measure(cell)
    assert all(max(values) < 1e-14 for values in exact["reference"].values())
    model = cell.model()
    images, labels = cell.data(model)
    low = cell.model().bfloat16()
    trace = run_model(low, images)
    F.cross_entropy(low(images.bfloat16()).double(), labels).backward()
    for rounding, network, pixels in (("same", low, images.bfloat16()), ("all", model, images)):
        params, wanted = to_numpy(network), {}
        image = pixels[0].double().numpy()
        wanted["logits"] = reference.hat_net(image, params, network.config, wanted)
        _, of_params, _ = reference.gradients(image, int(labels[0]), params, network.config)

        def distance(pairs):
            a, b = (np.concatenate([np.ravel(each) for each in side]) for side in zip(*pairs, strict=True))
            return np.sqrt(np.sum((a - b) ** 2) / np.sum(b**2))

        for index, (name, block) in enumerate(blocks(low)):
            output = (trace[f"{name}.output"][0].double().numpy(), wanted[f"{name}.output"])
            pairs = [(p.grad.double().numpy(), of_params[f"{name}.{key}"]) for key, p in block.named_parameters()]
            assert row[rounding]["output"][index] == pytest.approx(distance([output]), rel=1e-3)
            assert row[rounding]["parameters"][index] == pytest.approx(distance(pairs), rel=1e-3)
        logits = trace["logits"][0].double().numpy()
        assert row[rounding]["logits"][0] == pytest.approx(distance([(logits, wanted["logits"])]), rel=1e-3)
