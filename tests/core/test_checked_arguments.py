"""Every argument of every function of the reference is checked, and the smallest valid ones are accepted."""

from types import SimpleNamespace

import numpy as np
import pytest

from reference.backward.loss import cross_entropy_vjp
from reference.checks import checked
from reference.loss import cross_entropy
from tests.fuzz.reference import TABLES

SIZES = SimpleNamespace(H=3, W=5, C=4, heads=2, G1=2, G2=2)
ONES = SimpleNamespace(H=1, W=1, C=1, heads=1, G1=1, G2=1)
FUNCTIONS = {
    f"{module.__name__}.{name}": (getattr(module, name), make)
    for module, table in TABLES.items()
    for name, make in table.items()
    if name not in ("scope", "within") and not isinstance(getattr(module, name), type)
}
ANY_SHAPE = ("silu", "to_shares")
MAY_BE_ZERO = ("stage", "block", "step", "head", "label", "seed", "smoothing", "t")
SHAPE = r"must have shape|must be an array of shape"
INNER = ("label", "logits", "seed", "images")  # an inner function may refuse them, in its name or in none
MISSING = "missing a required argument|no parameter below"
COMPLETE = ("stem", "downsample", "mlp", "mhsa", "h_mhsa", "block", "classifier")  # others take those of their caller


def each(kind):
    """Every function with every argument of a kind, as cases of a test."""
    return pytest.mark.parametrize(
        ("name", "argument"),
        [
            (name, argument)
            for name, (_, make) in FUNCTIONS.items()
            for argument, value in make(SIZES).items()
            if isinstance(value, kind) and not isinstance(value, bool)
        ],
    )


def refused(name, argument, value, error=ValueError, message=None, inner=False):
    """Assert that a function itself refuses a value, before it calls another, and names the argument."""
    function, make = FUNCTIONS[name]
    where = r"(\w+: )?" if inner or argument in INNER else f"{name.split('.')[-1]}: "
    what = message or rf"\b{argument.removesuffix('s')}"
    with pytest.raises(error, match=f"^{where}.*(?:{what})"):
        function(**make(SIZES) | {argument: value})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_smallest_sizes_are_accepted(name):
    function, make = FUNCTIONS[name]
    function(**make(SIZES))
    function(**make(ONES))


@each(np.ndarray)
def test_arrays_must_hold_finite_floats(name, argument):
    value = FUNCTIONS[name][1](SIZES)[argument]
    if argument not in ("label", "image", "images"):  # which may be lists
        refused(name, argument, value.tolist(), TypeError)
    if argument != "label":
        refused(name, argument, value.astype(int), TypeError)
    for wrong in (np.nan, np.inf, -np.inf):
        refused(name, argument, np.where(np.arange(value.size).reshape(value.shape) == value.size - 1, wrong, value))


@each(np.ndarray)
def test_arrays_must_have_their_shape(name, argument):
    """Where two arrays do not fit, the message may name the other one."""
    value = FUNCTIONS[name][1](SIZES)[argument]
    if name.split(".")[-1] not in ANY_SHAPE:
        refused(name, argument, value[..., None], message=SHAPE)
        refused(name, argument, value.ravel()[:1].reshape(()), (TypeError, ValueError), "shape|must be")
    refused(name, argument, value[:0], message=SHAPE + "|images and")


@each(int)
def test_whole_numbers_must_be_large_enough(name, argument):
    if argument != "heads_axis":  # may be negative
        for wrong in (-1,) if argument in MAY_BE_ZERO else (-1, 0):
            refused(name, argument, wrong, message=f"{argument}={wrong} must be|label")
    if argument != "label":
        refused(name, argument, 1.0, TypeError)
        refused(name, argument, True, TypeError)


@each(tuple)
def test_pairs_must_have_two_large_enough_numbers(name, argument):
    for wrong in ((0, 2), (2, 0), (2, -1)):
        refused(name, argument, wrong)
    for wrong in ((2,), (2, 2, 2), 2, (2, 2.0), (True, 2)):
        refused(name, argument, wrong, TypeError)


@each(dict)
def test_parameters_must_be_complete(name, argument):
    given, own_name = FUNCTIONS[name][1](SIZES), name.split(".")[-1].removesuffix("_vjp")
    if argument == "trace" and own_name != "hat_net":
        refused(name, argument, [], TypeError)
        refused(name, argument, None, TypeError)
    if argument == "params" and own_name in COMPLETE:
        for missing in given["params"]:
            fewer = {key: value for key, value in given["params"].items() if key != missing}
            if missing.endswith("weight"):
                refused(name, argument, fewer, (TypeError, ValueError), MISSING, inner=True)
        refused(name, argument, given["params"] | {"other.weight": np.ones(1)}, message="other")


@checked(x="... C")
def of_a_kind(x, kind=None, *, other=0):
    """Return infinity in one of the kinds of results."""
    bad = x / 0
    return {"array": bad, "tuple": (x, bad), "dictionary": {"x": x, "bad": bad}, "number": float("inf")}.get(kind, x)


@pytest.mark.parametrize("kind", ["array", "tuple", "dictionary", "number"])
def test_results_must_be_finite(kind):
    with pytest.raises(ValueError, match="of_a_kind: the result holds . NaN or infinite values"):
        of_a_kind(np.ones(2), kind)


def test_a_loss_too_large_for_a_number_is_refused():
    with pytest.raises(ValueError, match="cross_entropy: the result holds 1 NaN or infinite values"):
        cross_entropy(np.array([1.7e308, -1.7e308]), 1)


def test_the_stem_may_keep_every_pixel():
    function, make = FUNCTIONS["reference.stem"]
    assert function(**make(SIZES) | {"strides": (1, 1)}).shape[:2] == (SIZES.H, SIZES.W)


def test_none_is_accepted_where_it_is_the_default():
    assert np.array_equal(of_a_kind(np.ones((3, 1, 2)), None), np.ones((3, 1, 2)))
    with pytest.raises(TypeError, match="of_a_kind: x must be a NumPy array of floats"):
        of_a_kind(None)


def test_a_checked_function_keeps_its_name_and_docstring():
    assert (of_a_kind.__name__, of_a_kind.__doc__) == ("of_a_kind", "Return infinity in one of the kinds of results.")


def test_logits_of_float32_have_gradients_in_float64():
    logits = np.random.default_rng(0).standard_normal(7).astype(np.float32)
    exact = np.exp(logits.astype(np.float64))
    exact /= exact.sum()
    exact[3] -= 1
    found = cross_entropy_vjp(logits, 3)
    assert np.abs(found - exact).max() < 1e-15
