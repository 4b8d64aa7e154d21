"""The gradients of whole networks, by hand: equal to autograd's, to central differences, and to the authors'."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.nn import functional as F

import reference
from hatnet import load_official, to_numpy
from hatnet.network import MLP
from hatnet.weights.official import authors_names
from reference.backward import hat_net_vjp
from reference.initial import NetworkSizes, StageSizes, initial_parameters
from reference.learning import batch_gradients
from tests.cases import MUST_HIT, NETWORK_MUST_HIT, also, network_cases
from tests.core.authors import FIGURES, images, state_dict

RELATIVE = 1e-12  # measured over 62 drawn networks: largest 8.5e-14, median 1.5e-15
FLOOR = 1e-3  # of the largest gradient of a parameter: its noise also reaches smaller ones


def label_of(case):
    """A class or a mixed distribution, and a smoothing."""
    rng, classes = np.random.default_rng(case.seed), case.config.num_classes
    label = int(rng.integers(classes)) if rng.random() < 0.5 else rng.dirichlet(np.ones(classes))
    return label, float(rng.choice([0, 0.1, 0.5]))


@also(NETWORK_MUST_HIT)
@settings(max_examples=10)
@given(case=network_cases())
def test_loss_and_gradients_equal_autograds(case):
    """Eq. 1-4, 6-14: for any stages and image size, classes and mixed labels, with and without smoothing."""
    label, smoothing = label_of(case)
    model, image = case.model(), case.images()[:1].requires_grad_()
    loss = F.cross_entropy(model(image), torch.as_tensor(label)[None], label_smoothing=smoothing)
    loss.backward()
    wants = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}

    params = to_numpy(model)
    got_loss, got, of_image = reference.gradients(image[0].detach().numpy(), label, params, case.config, smoothing)
    assert got_loss == pytest.approx(loss.item(), rel=1e-13, abs=1e-14)
    assert list(got) == list(params)
    largest = max(np.linalg.norm(want) for want in wants.values())
    for name, want in {**wants, "image": image.grad[0].numpy()}.items():
        one = of_image if name == "image" else got[name]
        assert one.shape == want.shape
        error = np.linalg.norm(one - want) / max(np.linalg.norm(want), FLOOR * largest, 1e-12)
        assert error <= RELATIVE, f"{name}: relative difference {error:.1e}\n{case}"


SIZES = NetworkSizes(  # windows and cells cut by the border, on maps of 5 x 6 and 3 x 3 tokens
    in_channels=2,
    num_classes=4,
    stages=(StageSizes(6, 1, 3, 3, 2, grid_size=4, pool_size=4), StageSizes(4, 1, 2, 3, 3)),
    stem_channels=3,
)
IMAGE = np.random.default_rng(1).standard_normal((2, 18, 23))
LABEL = np.array([0.7, 0.0, 0.3, 0.0])
SMOOTHING = 0.1


def random_parameters():
    """Parameters with random norms and biases."""
    rng = np.random.default_rng(2)
    params = initial_parameters(SIZES, seed=3)
    return {name: w if w.ndim > 1 else w + 0.3 * rng.standard_normal(w.shape) for name, w in params.items()}


PARAMS = random_parameters()


def loss_at(params, image):
    return reference.cross_entropy(reference.hat_net(image, params, SIZES), LABEL, SMOOTHING)


def slope(name, direction, h=2e-3):
    """The derivative of the loss along a direction of one tensor, by central differences of fourth order."""

    def loss(t):
        if name == "image":
            return loss_at(PARAMS, IMAGE + t * direction)
        return loss_at({**PARAMS, name: PARAMS[name] + t * direction}, IMAGE)

    return (8 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12 * h)


@pytest.fixture(scope="module")
def computed():
    """The gradients of all parameters of `SIZES`, and of the image."""
    _, gradients, of_image = reference.gradients(IMAGE, LABEL, PARAMS, SIZES, SMOOTHING)
    return gradients | {"image": of_image}


@pytest.mark.parametrize("name", [*PARAMS, "image"])
def test_gradients_are_central_differences(computed, name):
    """Eq. 1-4, 6-14: along a random direction of each tensor, and for single entries. No PyTorch on either side."""
    gradient = computed[name]
    rng = np.random.default_rng(len(name))
    directions = [rng.standard_normal(gradient.shape) / np.sqrt(gradient.size)]
    entries = rng.integers(gradient.size, size=2)
    directions += [np.eye(1, gradient.size, entry).reshape(gradient.shape) for entry in entries]
    for direction in directions:
        assert slope(name, direction) == pytest.approx((gradient * direction).sum(), rel=1e-6, abs=2e-10)


def bias_of_keys(name, gradient):
    """The part of a gradient that belongs to the bias of the keys; None if there is none."""
    if name.endswith("qkv.bias"):
        return gradient[len(gradient) // 3 : 2 * len(gradient) // 3]
    return gradient[: len(gradient) // 2] if name.endswith("kv.bias") else None


def test_every_parameter_receives_a_gradient(computed):
    """All entries of all parameters learn, except the biases of keys, and so does each pixel."""
    for name, gradient in computed.items():
        live = np.abs(gradient) > 1e-9
        keys = bias_of_keys(name, live)
        if keys is not None:
            assert not keys.any()
            keys[:] = True
        assert live.all(), name


def test_the_bias_of_keys_has_no_effect_and_no_gradient(computed):
    """Eq. 2: it adds Q b / sqrt(d) to a whole row of scores, and softmax does not change if a row is shifted."""
    found = 0
    for name, gradient in computed.items():
        keys = bias_of_keys(name, gradient)
        if keys is not None:
            found += 1
            assert np.abs(keys).max() < 1e-15 < 1e-6 < np.abs(gradient).max()
            shifted = PARAMS[name].copy()
            bias_of_keys(name, shifted)[:] += 5
            assert loss_at({**PARAMS, name: shifted}, IMAGE) == pytest.approx(loss_at(PARAMS, IMAGE), rel=1e-13)
    assert found == 3  # two in H-MHSA, one in plain attention


@pytest.mark.long
@pytest.mark.parametrize("variant", ["tiny", "small"])
def test_gradients_equal_the_authors(variant):
    """For the image, and for parameters in all parts of the network, without PyTorch in between."""
    (case,) = FIGURES[variant]["cases"]
    model = load_official(state_dict(variant))
    dlogits = np.linspace(-1, 1, 1000) / 1000  # of mean(logits * linspace(-1, 1, 1000))
    of_image, got = hat_net_vjp(dlogits, images(*case["shape"][:1], *case["shape"][2:])[0].numpy(), to_numpy(model),
                                model.config)  # fmt: skip
    ours = {theirs: name for name, theirs in authors_names(model.config).items()}
    norms = {name: np.linalg.norm(got[ours[name]]) for name in case["grad_norms"]}
    assert norms == pytest.approx(case["grad_norms"], rel=1e-10)
    assert np.linalg.norm(of_image) == pytest.approx(case["input_grad_norm"], rel=1e-10)


def test_the_reference_imports_no_torch():
    code = "import reference.learning, reference.initial, sys; assert not {'torch', 'hatnet'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)


@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        (4, ValueError, "label 4 is no class: classes are counted from 0 to 3"),
        (-1, ValueError, "label -1 is no class"),
        (1.0, TypeError, "label 1.0 must be a whole number, or an array of floats of shape"),
        (True, TypeError, "label True must be a whole number"),
        ("2", TypeError, "label '2' must be a whole number"),
        (None, TypeError, "label None must be a whole number"),
        ([1, 2], TypeError, "label must be one class or an array, got list; compute a batch image by image"),
        (np.array([1, 2]), TypeError, r"got int64 of shape \(2,\); compute a batch image by image"),
        (np.array([0, 1, 0, 0]), TypeError, "must hold floats, got int64"),
        (np.array([0.5, 0.5]), ValueError, r"over 4 classes, must have shape \(4,\), got \(2,\)"),
        (np.full((1, 4), 0.25), ValueError, r"must have shape \(4,\), got \(1, 4\)"),
        (np.array([0.5, 0.5, 0.5, 0.0]), ValueError, "must sum to 1, got 1.5"),
        (np.array([1.5, -0.5, 0.0, 0.0]), ValueError, "must not hold NaN or negative numbers"),
        (np.array([np.nan, 0.5, 0.5, 0.0]), ValueError, "must not hold NaN or negative numbers"),
        (np.array([np.inf, 0.0, 0.0, 0.0]), ValueError, "must sum to 1, got inf"),
    ],
)
def test_labels_are_checked(label, error, message):
    with pytest.raises(error, match=message):
        reference.gradients(IMAGE, label, PARAMS, SIZES)
    with pytest.raises(error, match=message):
        reference.cross_entropy(np.zeros(4), label)


def test_labels_are_not_smoothed_by_default():
    plain, default = reference.gradients(IMAGE, 2, PARAMS, SIZES, 0.0), reference.gradients(IMAGE, 2, PARAMS, SIZES)
    assert plain[0] == default[0] == reference.cross_entropy(reference.hat_net(IMAGE, PARAMS, SIZES), 2)
    assert all(np.array_equal(default[1][name], gradient) for name, gradient in plain[1].items())
    assert batch_gradients(IMAGE[None], [2], PARAMS, SIZES)[0] == plain[0]


def test_a_distribution_may_have_the_rounding_of_float32():
    rounded = np.array([0.1, 0.2, 0.3, 0.4], dtype=np.float32)
    assert rounded.sum(dtype=np.float64) != 1
    logits = torch.arange(4.0, dtype=torch.float64, requires_grad=True)
    loss = F.cross_entropy(logits, torch.tensor(rounded).double())
    loss.backward()
    assert reference.cross_entropy(np.arange(4.0), rounded) == pytest.approx(loss.item(), rel=1e-14)
    got = reference.backward.cross_entropy_vjp(np.arange(4.0), rounded)
    assert got == pytest.approx(logits.grad.numpy(), rel=1e-13)
    with pytest.raises(ValueError, match="must sum to 1"):
        reference.cross_entropy(np.zeros(4), np.array([0.5, 0.5, 3e-6, 0.0]))


def test_the_loss_of_large_logits_does_not_overflow():
    logits = np.array([1e4, 0.0, -1e4])
    assert reference.cross_entropy(logits, 1) == 1e4
    assert reference.cross_entropy(logits, 0) == 0
    assert reference.cross_entropy(logits, 2, smoothing=0.3) == pytest.approx(0.8 * 2e4 + 0.1 * 1e4)
    assert np.array_equal(reference.backward.cross_entropy_vjp(logits, 1), [1, -1, 0])


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, np.nan, True])
def test_smoothing_is_checked(smoothing):
    with pytest.raises((TypeError, ValueError), match=f"smoothing={smoothing} must be a number from 0 to 1"):
        reference.gradients(IMAGE, 0, PARAMS, SIZES, smoothing)


def test_the_loss_needs_the_logits_of_one_image():
    """The gradient of what is not one number is not defined."""
    for logits in (np.zeros((2, 4)), np.zeros(()), np.zeros(0)):
        with pytest.raises(ValueError, match=r"logits of one image must have shape \(classes,\)"):
            reference.cross_entropy(logits, 0)
        with pytest.raises(ValueError, match=r"logits of one image must have shape \(classes,\)"):
            reference.backward.cross_entropy_vjp(logits, 0)


def test_images_and_names_of_parameters_are_checked():
    with pytest.raises(ValueError, match=r"must have shape \(2, H, W\), got \(18, 23, 2\)"):
        reference.gradients(IMAGE.transpose(1, 2, 0), 0, PARAMS, SIZES)
    with pytest.raises(ValueError, match=r"got \(1, 2, 18, 23\); compute a batch image by image"):
        reference.gradients(IMAGE[None], 0, PARAMS, SIZES)
    with pytest.raises(ValueError, match=r"weight must have shape \(C_out, C_in\) = \(4, 4\), got \(4, 5\)"):
        reference.gradients(IMAGE, 0, {**PARAMS, "classifier.weight": np.ones((4, 5))}, SIZES)
    for shape in ((), (4,), (4, 4, 1)):
        with pytest.raises(ValueError, match=r"classifier.weight must have shape \(classes, C\), got"):
            reference.gradients(IMAGE, 0, {**PARAMS, "classifier.weight": np.ones(shape)}, SIZES)
    with pytest.raises(ValueError, match="stem.conv3.bias"):
        reference.gradients(IMAGE, 0, {**PARAMS, "stem.conv3.bias": np.zeros(1)}, SIZES)
    with pytest.raises(ValueError, match=r"missing \(2\): classifier.weight, classifier.bias; unexpected \(0\)"):
        reference.gradients(IMAGE, 0, {name: w for name, w in PARAMS.items() if "classifier" not in name}, SIZES)


def within(path):
    return reference.within(PARAMS, path)


MAP = np.ones((5, 6, 6))


@pytest.mark.parametrize(
    ("name", "argument", "inputs"),
    [
        ("linear", "dy", (MAP, np.eye(6))),
        ("conv2d", "dy", (MAP, np.ones((6, 6, 3, 3)), np.zeros(6))),
        ("depthwise_conv2d", "dy", (MAP, np.ones((6, 1, 3, 3)))),
        ("group_norm", "dy", (MAP, np.ones(6), np.zeros(6))),
        ("silu", "dy", (MAP,)),
        ("average_pool", "dy", (MAP, 2)),
        ("softmax", "dP", (MAP[0],)),
        ("attention_weights", "dP", (MAP[0], MAP[0])),
        ("multi_head_attention", "dA", (MAP[0], MAP[0], MAP[0], 2)),
        ("mhsa", "dy", (MAP[:, :, :4], within("stages.1.blocks.0.attention"), 2)),
        ("local_attention", "dA1", (MAP, within("stages.0.blocks.0.attention"), 2, 3)),
        ("merge", "dmerged", (MAP, within("stages.0.blocks.0.attention"), 2)),
        ("global_attention", "dA2", (MAP, MAP, within("stages.0.blocks.0.attention"), 2)),
        ("aggregate", "dy", (MAP, MAP, within("stages.0.blocks.0.attention"))),
        ("h_mhsa", "dy", (MAP, within("stages.0.blocks.0.attention"), 2, 3, 2)),
        ("mlp", "dy", (MAP, within("stages.0.blocks.0.mlp"))),
        ("block", "dy", (MAP, within("stages.0.blocks.0"), SIZES.stages[0])),
        ("downsample", "dy", (MAP, within("stages.1.downsample"))),
        ("stem", "dy", (MAP[:, :, :2], within("stem"))),
        ("classifier", "dlogits", (MAP[:, :, :4], within("classifier"))),
        ("hat_net", "dlogits", (IMAGE, PARAMS, SIZES)),
    ],
)
def test_a_gradient_of_another_shape_is_refused(name, argument, inputs):
    """NumPy would repeat one of length 1. The message names the function, the argument and both shapes."""
    vjp, output = getattr(reference.backward, f"{name}_vjp"), getattr(reference, name)(*inputs)
    shape = np.shape(output[0] if isinstance(output, tuple) else output)
    vjp(np.ones(shape), *inputs)
    wrong = [shape[:-1], (1, *shape), (*shape[:-1], 1), (1,) * len(shape), (shape[0] + 1, *shape[1:])]
    for wrong_shape in wrong:
        with pytest.raises(ValueError, match=r"_vjp: \w+ must have shape .*, got ") as caught:
            vjp(np.ones(wrong_shape), *inputs)
        if len(wrong_shape) != len(shape) or wrong_shape[:-1] != shape[:-1]:  # not the channels alone
            assert f"{name}_vjp: {argument} must have shape" in str(caught.value)
    with pytest.raises(ValueError, match="NaN or infinite"):
        vjp(np.full(shape, np.nan), *inputs)


def test_all_backward_functions_are_tested_with_wrong_gradients():
    """The tests of shapes above; the loss has no gradient of an output."""
    (mark,) = (mark for mark in test_a_gradient_of_another_shape_is_refused.pytestmark if mark.name == "parametrize")
    tested = {f"{row[0]}_vjp" for row in mark.args[1]}
    assert tested == {name for name in reference.backward.__all__ if name.endswith("_vjp")} - {"cross_entropy_vjp"}


def test_recomputed_mlps_keep_less_and_give_the_same_gradients():
    """Also with dropout, whose random numbers are drawn again."""
    torch.manual_seed(0)
    layer, _ = MUST_HIT[0].filled(MLP(12, 24, 3, drop_rate=0.5))
    x = torch.from_numpy(MUST_HIT[0].maps()).requires_grad_()

    def kept_and_computed(recompute):
        layer.train().recompute = recompute
        torch.manual_seed(1)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda x: x):
            y = layer(x)
        wide = [tensor for tensor in kept if tensor.ndim == 4 and 24 in tensor.shape[1:] and len(tensor) == len(x)]
        return len(wide), [y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])]

    (wide, want), (none, got) = kept_and_computed(False), kept_and_computed(True)
    assert wide >= 4  # expand, SiLU, depthwise, SiLU
    assert none == 0
    assert all(map(torch.equal, got, want))
