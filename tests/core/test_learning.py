"""Learning in NumPy: each part against its equation or PyTorch's version, and a network that learns."""

from pathlib import Path

import numpy as np
import pytest
import torch

import hatnet
import reference
from reference.initial import NetworkSizes, StageSizes, initial_parameters, parameter_shapes
from reference.learning import Learner, Settings, adamw, average, batch_gradients, clip, learning_rate
from tests.cases import NETWORK_MUST_HIT

IMAGES = Path(hatnet.__file__).parent / "assets" / "fashion-mnist-subset.npz"
SMALL = NetworkSizes(
    in_channels=1,
    num_classes=3,
    stages=(StageSizes(8, 1, 2, 3, 2, grid_size=4, pool_size=2), StageSizes(8, 1, 2, 3, 2)),
    stem_channels=4,
)
PARAMS = initial_parameters(SMALL)
RNG = np.random.default_rng(0)


def test_adamw_equals_pytorchs():
    """The correction of both averages, eps outside the root, and a decay that the gradient does not scale."""
    settings = Settings(steps=30)
    w, m, v = RNG.standard_normal(50), np.zeros(50), np.zeros(50)
    parameter = torch.nn.Parameter(torch.from_numpy(w.copy()))
    optimiser = torch.optim.AdamW([parameter], lr=0.0, weight_decay=0.3)
    for t in range(1, 31):
        g = RNG.standard_normal(50) * np.logspace(-9, 1, 50)  # from far below eps to far above
        optimiser.param_groups[0]["lr"] = rate = 0.01 * t
        parameter.grad = torch.from_numpy(g.copy())
        optimiser.step()
        w, m, v = adamw(w, g, m, v, t, rate, 0.3, settings)
        assert np.abs(w - parameter.detach().numpy()).max() < 1e-13


@pytest.mark.parametrize("largest", [0.5, 1.0, 100.0, np.inf])
def test_clipping_equals_pytorchs(largest):
    """One norm for all parameters together; a short gradient is not changed."""
    gradients = {"a": RNG.standard_normal((3, 4)), "b": RNG.standard_normal(5)}
    parameters = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in gradients.values()]
    for parameter, g in zip(parameters, gradients.values(), strict=True):
        parameter.grad = torch.from_numpy(g.copy())
    want_norm = torch.nn.utils.clip_grad_norm_(parameters, largest).item()
    got, norm = clip(gradients, largest)
    assert norm == pytest.approx(want_norm, rel=1e-14)
    for parameter, g in zip(parameters, got.values(), strict=True):
        assert np.allclose(g, parameter.grad.numpy(), rtol=1e-14, atol=0)


def test_the_learning_rate_at_its_landmarks():
    settings = Settings(steps=110, warmup=10, peak_rate=1.0, first_rate=0.2, last_rate=0.1)
    landmarks = {0: 0.2, 5: 0.6, 10: 1.0, 60: 0.55, 110: 0.1}
    assert {step: learning_rate(step, settings) for step in landmarks} == pytest.approx(landmarks)
    quarter = 0.1 + 0.9 * (1 + np.sqrt(0.5)) / 2
    assert learning_rate(35, settings) == pytest.approx(quarter)


def test_an_average_is_a_weighted_sum_of_all_weights():
    """Unrolled: the weights after step t count (1 - beta_t) times all later beta."""
    weights = RNG.standard_normal((40, 3))
    betas = [min(0.6, (1 + t) / (10 + t)) for t in range(40)]
    shares = [(1 - beta) * np.prod(betas[t + 1 :]) for t, beta in enumerate(betas)]
    mean = start = np.ones(3)
    for t, w in enumerate(weights):
        mean = average(mean, w, t, 0.6)
    assert np.allclose(mean, np.prod(betas) * start + shares @ weights, rtol=1e-13)
    assert betas[-1] == 0.6 > betas[0]


def test_the_gradients_of_a_batch_are_means_over_its_images():
    images, labels = RNG.standard_normal((3, 1, 9, 11)), [2, 0, np.array([0.2, 0.3, 0.5])]
    loss, got = batch_gradients(images, labels, PARAMS, SMALL, 0.1)
    alone = [reference.gradients(*pair, PARAMS, SMALL, 0.1) for pair in zip(images, labels, strict=True)]
    assert loss == pytest.approx(np.mean([one[0] for one in alone]))
    for name, gradient in got.items():
        assert np.allclose(gradient, np.mean([one[1][name] for one in alone], axis=0), rtol=1e-12, atol=1e-15)


def test_sizes_have_the_fields_of_a_configuration():
    """A network described for the reference alone computes the same, down to the smallest image."""
    config = NETWORK_MUST_HIT[0].config
    stages = tuple(
        StageSizes(s.channels, s.depth, s.heads, s.kernel_size, s.expansion, s.grid_size, s.pool_size)
        for s in config.stages
    )
    sizes = NetworkSizes(config.in_channels, config.num_classes, stages, config.stem_channels, config.stem_strides)
    assert sizes.min_image_size == config.min_image_size == 32
    assert parameter_shapes(sizes) == parameter_shapes(config)
    params, image = initial_parameters(sizes), RNG.standard_normal((3, 32, 41))
    assert np.array_equal(reference.hat_net(image, params, sizes), reference.hat_net(image, params, config))
    with pytest.raises(ValueError, match="too small"):
        reference.hat_net(image[:, :31], params, sizes)


@pytest.mark.parametrize("config", [case.config for case in NETWORK_MUST_HIT])
def test_initial_parameters_have_the_names_and_shapes_of_the_network(config):
    state = hatnet.HATNet(config).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert parameter_shapes(config) == shapes
    params = initial_parameters(config, seed=3)
    assert {name: w.shape for name, w in params.items()} == shapes
    for name, w in params.items():
        if w.ndim == 1:
            assert (w == (1 if name.endswith("weight") else 0)).all()
    scaled = np.concatenate([(w * np.sqrt(w[0].size)).ravel() for w in params.values() if w.ndim > 1])
    assert abs(scaled.mean()) < 5 / np.sqrt(scaled.size)
    assert abs(scaled.std() - 1) < 5 / np.sqrt(2 * scaled.size)
    other = initial_parameters(config, seed=4)
    assert not np.array_equal(other["stem.conv1.weight"], params["stem.conv1.weight"])


def clothes(classes, per_class):
    """Normalised images (N, 1, 28, 28) and labels of the first classes of Fashion-MNIST, in random order."""
    with np.load(IMAGES) as file:
        pixels, labels = file["train_images"], file["train_labels"].astype(int)
    chosen = np.concatenate([np.flatnonzero(labels == label)[:per_class] for label in range(classes)])
    chosen = np.random.default_rng(1).permutation(chosen)
    return (pixels[chosen, None] / 255 - 0.286) / 0.353, labels[chosen]


def test_a_network_learns_in_numpy_alone():
    """The loss on real images falls to less than half, and so does that of the averaged weights."""
    images, labels = clothes(classes=3, per_class=10)
    learner = Learner(PARAMS, SMALL, Settings(steps=30, warmup=3, peak_rate=0.01, clip=5.0, average_decay=0.8))
    losses = [learner.take_step(images[i : i + 6], labels[i : i + 6]).loss for _ in range(6) for i in range(0, 30, 6)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    for params in (learner.params, learner.averaged):
        answers = [reference.hat_net(image, params, SMALL).argmax() for image in images]
        assert np.mean(answers == labels) > 0.85
    assert np.array_equal(PARAMS["classifier.bias"], np.zeros(3))  # the start is not changed


def test_norms_and_biases_do_not_decay():
    """With a learning rate that only decays: matrices shrink, vectors stay where their gradients leave them."""
    image, label = RNG.standard_normal((1, 1, 8, 8)), [0]
    results = []
    for decay in (0.0, 0.5):
        learner = Learner(PARAMS, SMALL, Settings(steps=2, peak_rate=0.1, weight_decay=decay))
        learner.take_step(image, label)
        results.append(learner.params)
    for name, w in PARAMS.items():
        shrunk = results[0][name] - results[1][name]
        assert np.allclose(shrunk, 0.1 * 0.5 * w if w.ndim > 1 else 0, atol=1e-15), name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps=0 must be a whole number of at least 1"),
        ({"warmup": 9}, "warmup=9 must be a whole number from 0 to 8"),
        ({"warmup": -1}, "warmup=-1 must be a whole number from 0 to 8"),
        ({"peak_rate": -1.0}, "peak_rate=-1.0 must be a number of at least 0"),
        ({"weight_decay": np.nan}, "weight_decay=nan must be"),
        ({"first_rate": np.inf}, "first_rate=inf must be"),
        ({"beta1": 1.0}, "beta1=1.0 must be below 1"),
        ({"average_decay": 1.5}, "average_decay=1.5 must be"),
        ({"clip": 0.0}, "clip=0.0 must be above 0, or None"),
        ({"smoothing": 1.5}, "smoothing=1.5 must be a number from 0 to 1"),
        ({"steps": 2.5}, "steps=2.5 must be a whole number"),
        ({"warmup": True}, "warmup=True must be a whole number"),
        ({"eps": "0"}, "eps='0' must be a number of at least 0"),
    ],
)
def test_impossible_settings_are_refused(fields, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Settings(**{"steps": 9, **fields})


ONE, NINE = np.ones(3), Settings(steps=9)
BATCH = np.zeros((2, 1, 8, 8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: batch_gradients(BATCH[0], [0], PARAMS, SMALL), r"shape \(B, C_in, H, W\), got shape \(1, 8, 8\)"),
        (lambda: batch_gradients(BATCH.tolist(), [0, 1], PARAMS, SMALL), "images must be an array of .* got list"),
        (
            lambda: batch_gradients(BATCH, 0, PARAMS, SMALL),
            "labels must be a sequence with one label per image, got 0",
        ),
        (lambda: batch_gradients(BATCH, np.array(0), PARAMS, SMALL), "one label per image, got the single number 0"),
        (lambda: batch_gradients(BATCH, [0, 3], PARAMS, SMALL), "label 3 is no class"),
        (lambda: batch_gradients(BATCH, [0, 1], {}, SMALL), "missing"),
        (lambda: batch_gradients(BATCH, [0, 1], PARAMS, [SMALL]), "config must be a HATNetConfig .* got list"),
        (lambda: batch_gradients(BATCH, [0, 1], PARAMS, SMALL, np.nan), "smoothing=nan must be a number from 0 to 1"),
        (lambda: clip([ONE], 1.0), "clip: gradients must be a dictionary of arrays by name, got list"),
        (lambda: clip({"a": np.ones(3, complex)}, 1.0), r"gradients\['a'\] must be a NumPy array of floats"),
        (lambda: clip({"a": ONE}, 0.0), "largest=0 must be above 0"),
        (lambda: clip({"a": ONE}, np.nan), "largest=nan must be a number of at least 0"),
        (lambda: clip({"a": 1e200 * ONE}, 1.0), "norm inf, which is not finite"),  # it would be clipped to zero
        (lambda: learning_rate(1.5, NINE), "step=1.5 must be a whole number from 0 to 9"),
        (lambda: learning_rate(1, {}), "settings must be Settings, got dict"),
        (lambda: adamw(ONE, ONE[:1], ONE, ONE, 1, 0.1, 0.0, NINE), r"adamw: g must have shape .* = \(3,\), got \(1,\)"),
        (lambda: adamw(ONE, ONE, ONE, -ONE, 1, 0.1, 0.0, NINE), "v holds negative numbers"),
        (lambda: adamw(ONE, ONE, ONE, ONE, 0, 0.1, 0.0, NINE), "t=0 must be a whole number of at least 1"),
        (lambda: adamw(ONE, ONE, ONE, ONE, 1, -0.1, 0.0, NINE), "rate=-0.1 must be a number of at least 0"),
        (lambda: average(ONE, np.ones((1, 3)), 0, 0.9), r"average: w must have shape .*, got \(1, 3\)"),
        (lambda: average(ONE, ONE, 0, 1.5), "decay=1.5 must be a number from 0 to 1"),
        (lambda: Learner({}, SMALL, NINE), "missing"),
        (lambda: Learner(PARAMS, SMALL, None), "settings must be Settings, got NoneType"),
        (lambda: Learner(PARAMS, None, NINE), "config must be a HATNetConfig"),
        (lambda: StageSizes(8, 1, 3), "heads=3 must divide channels=8"),
        (lambda: StageSizes(8, 1, 2, grid_size=4), "pool_size=None must be a whole number"),
        (lambda: StageSizes(8, 1, 2, kernel_size=4), "kernel_size=4 must be odd"),
        (lambda: NetworkSizes(1, 3, ()), "stages must be a tuple of at least one StageSizes"),
        (lambda: NetworkSizes(0, 3, SMALL.stages), "in_channels=0 must be a whole number from 1"),
        (lambda: parameter_shapes(None), "config must be NetworkSizes or have its fields, got NoneType"),
        (lambda: initial_parameters(SMALL, seed=-1), "seed=-1 must be a whole number of at least 0"),
        (lambda: initial_parameters(NetworkSizes(1, 3, (StageSizes(2**16, 9, 1),))), "at most 1073741824 are made"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_without_a_seed_the_initial_parameters_are_those_of_seed_0():
    other = initial_parameters(SMALL, seed=0)
    assert all(np.array_equal(w, other[name]) for name, w in PARAMS.items())
    assert not np.array_equal(initial_parameters(SMALL, seed=1)["classifier.weight"], PARAMS["classifier.weight"])


@pytest.mark.parametrize("name", ["step", "m", "v", "averaged"])
def test_a_learner_begins_at_its_first_step(name):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        Learner(PARAMS, SMALL, NINE, **{name: 1})


def test_a_step_that_cannot_be_taken_changes_nothing():
    image = RNG.standard_normal((1, 1, 8, 8))
    learner = Learner(PARAMS, SMALL, Settings(steps=1))
    with pytest.raises(ValueError, match="1 images and 2 labels: a batch needs one label per image"):
        learner.take_step(image, [0, 1])
    with pytest.raises(ValueError, match="0 images and 0 labels"):
        learner.take_step(image[:0], [])
    with pytest.raises(ValueError, match="label 3 is no class"):
        learner.take_step(image, [3])
    assert learner.step == 0
    assert all(np.array_equal(w, PARAMS[name]) for name, w in learner.params.items())
    learner.take_step(image, [0])
    with pytest.raises(ValueError, match="all 1 steps are done"):
        learner.take_step(image, [0])
    with pytest.raises(ValueError, match="step=3 must be a whole number from 0 to 1"):
        learning_rate(3, learner.settings)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow, on purpose
def test_a_gradient_that_is_not_finite_is_refused():
    learner = Learner({**PARAMS, "classifier.weight": np.full((3, 8), 1e308)}, SMALL, Settings(steps=1))
    with pytest.raises(ValueError, match="finite"):
        learner.take_step(RNG.standard_normal((1, 1, 8, 8)), [0])
