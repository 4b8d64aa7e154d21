"""The bounds of the reference's arguments: the last value that is accepted, the next that is refused, the message."""

import re
from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import numpy as np
import pytest

import reference
from reference import backward, checks, initial, learning, network
from reference.initial import NetworkSizes, StageSizes, initial_parameters, parameter_shapes
from reference.learning import Learner, Settings, adamw, batch_gradients
from reference.loss import target
from reference.names import require_params

STAGE = StageSizes(4, 1, 2, 3, 1, grid_size=2, pool_size=2)
SMALL = NetworkSizes(1, 3, (STAGE, StageSizes(4, 1, 2, 3, 1)), stem_channels=2)
PARAMS = initial_parameters(SMALL)
RNG = np.random.default_rng(0)
IMAGE = RNG.standard_normal((1, 8, 9))


def refused(call, message, error=ValueError):
    """Assert that a call raises exactly this type, with a message that begins or goes on like this."""
    with pytest.raises(error, match=message) as caught:
        call()
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("kind", "name", "high"),
    [
        (StageSizes, "channels", 65_536),
        (StageSizes, "depth", 1000),
        (StageSizes, "heads", 65_536),
        (StageSizes, "kernel_size", 255),
        (StageSizes, "expansion", 1024),
        (StageSizes, "grid_size", 1_048_576),
        (StageSizes, "pool_size", 1_048_576),
        (NetworkSizes, "in_channels", 4096),
        (NetworkSizes, "num_classes", 10_000_000),
        (NetworkSizes, "stem_channels", 65_536),
    ],
)
def test_sizes_are_accepted_from_one_to_their_largest(kind, name, high):
    fields = {"channels": 65_536, "depth": 1, "heads": 1, "grid_size": 1, "pool_size": 1}
    if kind is NetworkSizes:
        fields = {"in_channels": 1, "num_classes": 1, "stages": (STAGE,)}
    for value in (1, high):
        assert getattr(kind(**fields | {name: value}), name) == value
    for wrong in (-1, 0, high + 1):
        refused(lambda wrong=wrong: kind(**fields | {name: wrong}), f"^{name}={wrong} must be .* from 1 to {high}$")
    for wrong in (1.0, True, None, "1"):
        refused(lambda wrong=wrong: kind(**fields | {name: wrong}), f"^{name}=.* must be", TypeError)


def test_networks_have_stages_and_two_strides():
    for strides in ((1, 64), (64, 1)):
        assert NetworkSizes(1, 3, (STAGE,), stem_strides=strides).min_image_size == 64
    for index in (0, 1):
        for wrong in (0, -1, 65):
            strides = (wrong, 2) if index == 0 else (2, wrong)
            refused(
                lambda strides=strides: NetworkSizes(1, 3, (STAGE,), stem_strides=strides),
                rf"^stem_strides\[{index}\]={wrong} must be a whole number from 1 to 64$",
            )
    for strides in ([2, 2], (2,), (2, 2, 2), 2, None, {1: 2, 2: 2}):
        refused(lambda s=strides: NetworkSizes(1, 3, (STAGE,), stem_strides=s), "tuple of 2 whole numbers", TypeError)
    for stages in ((), [STAGE], None, STAGE):
        refused(lambda s=stages: NetworkSizes(1, 3, s), "stages must be a tuple of at least one StageSizes", TypeError)
    refused(lambda: NetworkSizes(1, 3, (STAGE, None)), r"stages\[1\] must be StageSizes, got NoneType", TypeError)


def test_a_configuration_lacks_its_first_missing_field():
    names = ["in_channels", "num_classes", "stages", "stem_channels", "stem_strides"]
    for first in range(5):
        given = SimpleNamespace(**{name: getattr(SMALL, name) for name in names[:first]})
        refused(lambda given=given: parameter_shapes(given), f"SimpleNamespace without {names[first]}$", TypeError)
    stage = SimpleNamespace(channels=4, depth=1, heads=2)
    given = SimpleNamespace(**{name: getattr(SMALL, name) for name in names} | {"stages": (STAGE, stage)})
    refused(lambda: parameter_shapes(given), "without kernel_size$", TypeError)


def test_as_many_parameters_are_made_as_a_matrix_has_entries(monkeypatch):
    count = sum(w.size for w in PARAMS.values())
    monkeypatch.setattr(initial, "LARGEST", count)
    assert initial_parameters(SMALL).keys() == PARAMS.keys()
    monkeypatch.setattr(initial, "LARGEST", count - 1)
    refused(lambda: initial_parameters(SMALL), f"a network of {count} parameters; at most {count - 1} are made")


def test_a_matrix_may_have_the_largest_number_of_entries(monkeypatch):
    checks.require_size(32_768, 32_768)  # 8 GiB
    refused(lambda: checks.require_size(32_768, 32_769), "at most 1073741824 entries are formed")
    monkeypatch.setattr(checks, "LARGEST", 12)
    checks.require_size(3, 4)
    checks.require_size(12, 1)
    for rows, columns in ((1, 13), (13, 1), (4, 4)):
        refused(
            lambda rows=rows, columns=columns: checks.require_size(rows, columns),
            f"^a matrix of {rows} x {columns} is too large: at most 12 entries are formed$",
        )


def test_sizes_and_settings_have_these_defaults_and_do_not_change():
    """Changed fields would not be checked."""
    assert StageSizes(8, 1, 2) == StageSizes(8, 1, 2, 3, 4, None, None)
    assert NetworkSizes(1, 3, (STAGE,)) == NetworkSizes(1, 3, (STAGE,), 16, (2, 2))
    for one in (STAGE, SMALL, Settings(1)):
        with pytest.raises(FrozenInstanceError):
            setattr(one, next(iter(vars(one))), 1)
    assert Settings(1) == Settings(1, 0, 0.001, 0.000001, 0.00001, 0.05, 0.9, 0.999, 0.00000001, None, 0.999, 0.0)


FROM_ZERO = ("peak_rate", "first_rate", "last_rate", "weight_decay", "eps")


@pytest.mark.parametrize("name", [*FROM_ZERO, "beta1", "beta2", "average_decay", "smoothing"])
def test_settings_are_accepted_from_zero_to_their_largest(name):
    below_one = float(np.nextafter(1, 0))
    accepted = {"smoothing": (0, 1)}.get(name, (0, 1e6) if name in FROM_ZERO else (0, below_one))
    for value in accepted:
        assert getattr(Settings(steps=2, **{name: value}), name) == value
    for wrong in (-5e-324, -0.001, -1, np.nan, np.inf, *(() if name in FROM_ZERO else (1.001,))):
        refused(lambda wrong=wrong: Settings(steps=2, **{name: wrong}), f"^{name}=.* must be")
    if name in ("beta1", "beta2", "average_decay"):
        refused(lambda: Settings(steps=2, **{name: 1}), f"^{name}=1 must be below 1$")


def test_the_largest_norm_is_above_zero_and_no_rate_is_below():
    assert Settings(steps=2, clip=5e-324).clip == 5e-324
    for wrong in (0, -5e-324, -1):
        refused(lambda wrong=wrong: Settings(steps=2, clip=wrong), "^clip=")
    one, settings = np.ones(2), Settings(steps=2)
    assert np.array_equal(adamw(one, one, one, one, 1, 0, 0, settings)[0], one)
    for name in ("rate", "decay"):
        rates = {"rate": 0.1, "decay": 0.1, name: -0.001}
        refused(lambda rates=rates: adamw(one, one, one, one, 1, **rates, settings=settings), f"{name}=-0.001 must be")
    for wrong in (None, {}, vars(settings), SimpleNamespace(**vars(settings))):
        refused(
            lambda wrong=wrong: adamw(one, one, one, one, 1, 0.1, 0.1, wrong), "settings must be Settings", TypeError
        )


def test_two_steps_by_their_equations():
    """Warm-up, clipping, AdamW with its corrections at t = 1 and 2, decay of matrices only, and the average."""
    images, labels = RNG.standard_normal((2, 1, 8, 9)), [2, 0]
    settings = Settings(5, 2, 0.1, 0.01, 0.0, 0.3, 0.8, 0.95, 1e-6, clip=0.5, average_decay=0.15)
    learner = Learner({name: w.astype(np.float32) for name, w in PARAMS.items()}, SMALL, settings)
    w = {name: p.astype(np.float32).astype(np.float64) for name, p in PARAMS.items()}
    m, v, mean = dict.fromkeys(w, 0), dict.fromkeys(w, 0), dict(w)
    for t, rate, beta in ((1, 0.01, 0.1), (2, 0.055, 0.15)):
        alone = [reference.gradients(*pair, w, SMALL) for pair in zip(images, labels, strict=True)]
        g = {name: (alone[0][1][name] + alone[1][1][name]) / 2 for name in w}
        norm = np.linalg.norm(np.concatenate([one.ravel() for one in g.values()]))
        assert norm > 0.5
        for name in w:
            own = g[name] * 0.5 / (norm + 1e-6)
            m[name], v[name] = 0.8 * m[name] + 0.2 * own, 0.95 * v[name] + 0.05 * own**2
            towards = (m[name] / (1 - 0.8**t)) / (np.sqrt(v[name] / (1 - 0.95**t)) + 1e-6)
            w[name] = w[name] - rate * towards - (rate * 0.3 * w[name] if PARAMS[name].ndim > 1 else 0)
            mean[name] = beta * mean[name] + (1 - beta) * w[name]
        step = learner.take_step(images, labels)
        assert learner.step == t
        assert step == pytest.approx(((alone[0][0] + alone[1][0]) / 2, rate, norm), rel=1e-10)
        for found, want in ((learner.params, w), (learner.averaged, mean)):
            assert all(one.dtype == np.float64 for one in found.values())
            assert all(np.allclose(found[name], want[name], rtol=1e-9, atol=1e-11) for name in w)


def test_a_batch_is_checked_before_the_work(monkeypatch):
    """A wrong label of the last image, or wrong parameters, cost no gradient."""
    monkeypatch.setattr(learning, "gradients", lambda *_: pytest.fail("gradients were computed"))
    images = np.stack([IMAGE, IMAGE])
    refused(lambda: batch_gradients(images, [0, 3], PARAMS, SMALL), "label 3 is no class")
    refused(lambda: batch_gradients(images, [0, 1], [*PARAMS], SMALL), "params must be a dictionary", TypeError)
    refused(lambda: batch_gradients(images, [0, 1], PARAMS | {"a": [1]}, SMALL), "params must be a dict", TypeError)
    refused(lambda: batch_gradients(images, [0, 1], PARAMS | {1: IMAGE}, SMALL), "params must be a dict", TypeError)
    monkeypatch.setattr(backward.network, "hat_net", lambda *_: pytest.fail("logits were computed"))
    refused(lambda: reference.gradients(IMAGE[:, :7], 3, PARAMS, SMALL), "7 x 9 pixels is too small")
    refused(lambda: reference.gradients(IMAGE, 3, PARAMS, SMALL), "label 3 is no class")
    monkeypatch.setattr(backward.network, "stem", lambda *_: pytest.fail("the stem was computed"))
    more = PARAMS | {"other.weight": np.ones(1)}
    refused(lambda: backward.hat_net_vjp(np.ones(3), IMAGE, more, SMALL), r"unexpected \(1\): other\.weight$")
    refused(lambda: backward.hat_net_vjp(np.ones(4), IMAGE, PARAMS, SMALL), r"\(classes,\) = \(3,\), got \(4,\)$")


def test_a_list_of_names_has_ten_at_most():
    for count in (1, 9, 10, 11, 12):
        names = sorted(f"other{i}" for i in range(count))
        more = PARAMS | dict.fromkeys(names, np.ones(1))
        refused(
            lambda more=more: network.check_names(more, SMALL),
            rf"missing \(0\): none; unexpected \({count}\): {', '.join(names[:10])}$",
        )
        fewer, expected = dict(list(PARAMS.items())[count:]), list(network.parameter_names(SMALL))[:count]
        listed = re.escape(", ".join(expected[:10]))
        refused(
            lambda fewer=fewer: network.check_names(fewer, SMALL), rf"missing \({count}\): {listed}; unexpected \(0\)"
        )


def test_messages_count_what_is_not_finite():
    image = IMAGE.copy()
    image[0, 3, :2] = np.nan, np.inf
    refused(lambda: network.check_image(image, SMALL), "^image holds 2 NaN or infinite values of 72$")
    refused(lambda: checks.require_finite("x", np.array([np.nan, 1.0, -np.inf])), "^x holds 2 NaN .* of 3; finite")
    refused(lambda: checks.require_finite("x", np.nan), "^x holds 1 NaN .* of 1; finite")


def test_configurations_and_stages_need_their_fields():
    broken = SimpleNamespace(in_channels=1, min_image_size=8, stem_strides=(2, 2), stages=(*SMALL.stages, "plain"))
    for call in (network.check_image, lambda image, config: reference.hat_net(image, PARAMS, config)):
        for wrong, message in (
            (None, "config must be a HATNetConfig .* got NoneType"),
            (broken, "stage must .* got str"),
        ):
            refused(lambda call=call, wrong=wrong: call(IMAGE, wrong), message, TypeError)
    x, params = np.ones((3, 4, 4)), reference.within(PARAMS, "stages.0.blocks.0")
    refused(lambda: reference.block(x, params, None), "block: stage must .* got NoneType", TypeError)
    refused(lambda: backward.block_vjp(x, x, params, None), "block_vjp: stage must .* got NoneType", TypeError)


def test_a_message_names_the_innermost_function_once():
    params = reference.within(PARAMS, "stages.0.blocks.0")
    wrong = params | {"attention.local_norm.bias": np.ones(5)}
    refused(lambda: reference.block(np.ones((3, 4, 4)), wrong, STAGE), r"^group_norm: bias must have shape")
    local = {"local_attention.qkv.weight": np.ones((18, 6)), "local_attention.qkv.bias": np.ones(18)}
    refused(
        lambda: reference.local_attention(np.ones((3, 4, 6)), local, heads=4, G1=2),
        "^local_attention: 4 heads do not divide 6 channels$",
    )


def test_a_value_in_a_message_has_sixty_characters_at_most():
    for value in ("a" * 58, list(range(6)), 1.5):
        assert checks.shortened(value) == repr(value)
    assert len(checks.shortened("a" * 59)) == len(checks.shortened("a" * 99)) == 60
    assert len(checks.shortened(np.ones(40))) == 60


def test_names_are_texts_and_values_are_arrays():
    for wrong in ({1: np.ones(1)}, {"a": [1.0]}, {1: 1}, {"a": np.ones(1), "b": None}):
        refused(lambda wrong=wrong: require_params(wrong), "params must be a dictionary of arrays by name", TypeError)
    for wrong in (None, 1, "trace", (1,)):
        refused(lambda wrong=wrong: reference.scope(wrong, "stages"), "trace must be a dictionary, got", TypeError)


def test_kernels_must_be_square_and_odd():
    x, bias = np.ones((5, 5, 2)), np.ones(2)
    for K in (2, 4):
        message = f"weight has kernels of {K} x {K}; K must be odd"
        own, full = np.ones((2, 1, K, K)), np.ones((2, 2, K, K))
        refused(lambda own=own: reference.depthwise_conv2d(x, own), message)
        refused(lambda own=own: backward.depthwise_conv2d_vjp(x, x, own), message)
        refused(lambda full=full: reference.conv2d(x, full, bias), message)
        refused(lambda full=full: backward.conv2d_vjp(x, x, full, bias), message)
    refused(lambda: reference.conv2d(x, np.ones((2, 2, 3, 5)), bias), "weight must have shape")


def test_rows_of_scores_may_be_far_apart():
    """Each row has its own shift: with one shift for all, the lower rows would underflow to 0 / 0."""
    scores = np.array([[0.0, 1.0], [1000.0, 1001.0], [-1000.0, -999.0]])
    want = np.tile([1 / (1 + np.e), np.e / (1 + np.e)], (3, 1))
    assert np.allclose(reference.softmax(scores), want, rtol=1e-12)


def test_a_distribution_of_float16_is_added_up_in_float64():
    """In float16 the sum of these would be rounded to 1."""
    refused(lambda: target(np.array([0.5, 0.5, 2e-4], np.float16), 3), r"must sum to 1, got 1\.0002")


def test_a_trace_has_every_map():
    trace = {}
    reference.hat_net(IMAGE, PARAMS, SMALL, trace)
    outputs = {name: one.shape for name, one in trace.items() if ".blocks." not in name}
    assert outputs == {
        "stem": (2, 3, 4),
        "stages.0.output": (2, 3, 4),
        "stages.1.downsampled": (1, 2, 4),
        "stages.1.output": (1, 2, 4),
        "logits": (3,),
    }
    down = reference.downsample(trace["stages.0.output"], reference.within(PARAMS, "stages.1.downsample"))
    assert np.array_equal(trace["stages.1.downsampled"], down)
