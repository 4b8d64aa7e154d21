"""The fields of a configuration: their bounds, Table 1 as data, and the sizes that follow from them."""

import json
import re
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hatnet import VARIANTS, HATNetConfig, get_config
from hatnet.network import HATNet

LEAST = {
    "in_channels": 1, "num_classes": 1, "stem_channels": 1, "stem_strides": (1, 1), "channels": (1, 1),
    "depths": (1, 1), "kernel_sizes": (1, 1), "expansions": (1, 1), "head_dim": 1,
    "grid_sizes": (1,), "pool_sizes": (1,),
}  # fmt: skip
MOST = {
    "in_channels": 4096, "num_classes": 10_000_000, "stem_channels": 65_536, "stem_strides": 64, "channels": 65_536,
    "depths": 1000, "kernel_sizes": 255, "expansions": 1024, "head_dim": 65_536, "grid_sizes": 1_048_576,
    "pool_sizes": 1_048_576,
}  # fmt: skip
SHARED = (3, 1000, 16, (2, 2))  # of the four published variants: image, classes and stem
WINDOWS = ((8, 7, 7), (8, 4, 2))
VALUES = {  # Table 1, and `micro`
    "tiny": (*SHARED, (48, 96, 240, 384), (2, 2, 6, 3), (3, 3, 3, 3), (8, 8, 4, 4), 48, *WINDOWS),
    "small": (*SHARED, (64, 128, 320, 512), (2, 3, 8, 3), (3, 3, 3, 3), (8, 8, 4, 4), 64, *WINDOWS),
    "medium": (*SHARED, (64, 128, 320, 512), (3, 6, 18, 3), (5, 3, 5, 3), (8, 8, 4, 4), 64, *WINDOWS),
    "large": (*SHARED, (64, 128, 320, 640), (3, 8, 27, 3), (3, 3, 3, 3), (8, 8, 4, 4), 64, *WINDOWS),
    "micro": (3, 10, 16, (1, 2), (32, 64, 128), (2, 2, 2), (3, 3, 3), (4, 4, 4), 32, (8, 4), (4, 2)),
}  # fmt: skip


def with_value(field, value):
    """The smallest network with one value, in the first place of a field for several stages."""
    least = LEAST[field]
    return HATNetConfig(**LEAST | {field: (value, *least[1:]) if isinstance(least, tuple) else value})


@pytest.mark.parametrize("variant", VALUES)
def test_every_field_of_every_variant(variant):
    config = VARIANTS[variant]
    assert tuple(getattr(config, name) for name in LEAST) == VALUES[variant]
    assert (config.drop_rate, config.drop_path_rate, config.classifier_drop_rate) == (0, 0, 0.2)
    assert [field.name for field in fields(config)][1:-3] == list(LEAST)


def test_a_configuration_without_fields_is_small_under_another_name():
    assert HATNetConfig() == replace(VARIANTS["small"], name="custom")


def test_numbers_of_numpy_become_those_of_python():
    """Otherwise no weights could be saved with such a configuration, since JSON has no numbers of NumPy."""
    config = VARIANTS["micro"]
    whole = {name: np.array(getattr(config, name)) for name in LEAST}
    whole = {name: tuple(value) if value.ndim else value[()] for name, value in whole.items()}
    rates = {"drop_rate": np.float64(0), "drop_path_rate": np.float32(0), "classifier_drop_rate": np.float64(0.2)}
    assert json.dumps(asdict(HATNetConfig("micro", **whole, **rates))) == json.dumps(asdict(config))


@pytest.mark.parametrize("name", [3, None, b"micro", ["micro"]])
def test_a_name_is_a_text(name):
    with pytest.raises(TypeError, match="name=.* must be a text"):
        HATNetConfig(name)


@pytest.mark.parametrize("field", LEAST)
def test_each_field_has_a_least_and_a_largest_value(field):
    for value in (0, MOST[field] + 1):
        with pytest.raises(ValueError, match=re.escape(f"of at least 1 and at most {MOST[field]}")):
            with_value(field, value)
    assert with_value(field, 1)
    largest = MOST[field] if field != "head_dim" else 1
    try:
        with_value(field, largest)
    except ValueError as error:  # one field is not too large; together they are
        assert "parameters; at most 2e+09 are allowed" in str(error)  # noqa: PT017
    if field == "head_dim":
        with pytest.raises(ValueError, match="head_dim=65536 does not divide the 1 channels"):
            with_value(field, MOST[field])


def test_a_network_has_at_most_two_billion_parameters():
    """A thousand blocks, the two convolutions of the stem, and a classifier of one weight per class for the rest."""
    rest = 2_000_000_000 - 1000 * (30 * (2 + 255**2) + 4) - 9 * (4096 * 1100 + 1100)
    sizes = {
        "in_channels": 4096, "stem_channels": 1100, "channels": (1,), "depths": (1000,), "kernel_sizes": (255,),
        "expansions": (30,), "head_dim": 1, "grid_sizes": (), "pool_sizes": (),
    }  # fmt: skip
    assert HATNetConfig(**sizes, num_classes=rest).fewest_parameters == 2_000_000_000
    with pytest.raises(ValueError, match="a network of 2e[+]09 parameters; at most 2e[+]09 are allowed"):
        HATNetConfig(**sizes, num_classes=rest + 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_lower_bound_of_parameters_leaves_out_norms_biases_and_global_attention(variant):
    """Eq. 12: the queries, keys and values of global attention have 3 C^2 weights in each hierarchical block."""
    config = VARIANTS[variant]
    with torch.device("meta"):
        model = HATNet(config)
    matrices = sum(parameter.numel() for parameter in model.parameters() if parameter.ndim > 1)
    in_global = sum(3 * stage.channels**2 * stage.depth for stage in config.stages[:-1])
    assert config.fewest_parameters == matrices - in_global


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
)  # fmt: skip
def test_the_layout_counts_windows_and_cells_one_by_one(rows, columns, G1, G2, strides):
    """Sizes of windows and cells from listing every one of them."""
    sizes = {"channels": (2, 2), "depths": (1, 1), "kernel_sizes": (1, 1), "expansions": (1, 1), "head_dim": 2}
    config = HATNetConfig(**sizes, grid_sizes=(G1,), pool_sizes=(G2,), stem_strides=strides)
    least = 2 * strides[0] * strides[1]
    assert config.min_image_size == least
    first, last = config.layout(least + rows, least + columns)
    for side, pixels in enumerate((least + rows, least + columns)):
        tokens = len(range(0, len(range(0, pixels, strides[0])), strides[1]))
        assert first.map[side] == tokens
        starts = range(0, tokens, min(G1, tokens))
        assert (first.window[side], first.windows[side]) == (min(G1, tokens), len(starts))
        assert first.last_window[side] == tokens - starts[-1]
        cells = range(0, tokens, G2)
        assert (first.merged[side], first.last_cell[side]) == (len(cells), tokens - cells[-1])
        assert last.map[side] == len(range(0, tokens, 2))
    assert (last.window, last.windows, last.last_window, last.merged, last.last_cell) == (None,) * 5
    with pytest.raises(ValueError, match=f"both sides must be at least {least}; enlarge"):
        config.layout(least - 1, least)


def test_a_network_without_strides_has_a_layout_for_one_pixel():
    one = HATNetConfig(**{name: value[1:] if isinstance(value, tuple) else value for name, value in LEAST.items()}
                       | {"stem_strides": (1, 1)})  # fmt: skip
    assert one.min_image_size == 1
    assert [stage.map for stage in one.layout(1, 1)] == [(1, 1)]


@pytest.mark.parametrize("side", [0, -32, 32.0, "32", True, None])
def test_a_layout_is_for_whole_numbers_of_pixels(side):
    shown = re.escape(f"={side!r} must be a whole number of at least 1")
    with pytest.raises(ValueError, match="height" + shown):
        VARIANTS["micro"].layout(side, 32)
    with pytest.raises(ValueError, match="width" + shown):
        VARIANTS["micro"].layout(32, side)


@pytest.mark.parametrize("depths", [(1, 1), (2, 1), (1, 3), (4, 5)])
def test_drop_path_rates_rise_in_equal_steps_from_zero_to_the_given_rate(depths):
    sizes = {"channels": (2, 2), "kernel_sizes": (1, 1), "expansions": (1, 1), "grid_sizes": (1,), "pool_sizes": (1,)}
    rates = HATNetConfig(**sizes, head_dim=2, depths=depths, drop_path_rate=0.6).drop_path_rates()
    assert tuple(map(len, rates)) == depths
    assert [rate for stage in rates for rate in stage] == pytest.approx(np.linspace(0, 0.6, sum(depths)))


def test_drop_path_rates_rise_linearly_over_all_stages():
    assert get_config("micro", drop_path_rate=0.5).drop_path_rates() == ((0.0, 0.1), (0.2, 0.3), (0.4, 0.5))
    one = HATNetConfig(channels=(64,), depths=(1,), kernel_sizes=(3,), expansions=(1,), grid_sizes=(), pool_sizes=())
    assert one.drop_path_rates() == ((0.0,),)


def test_a_close_name_is_suggested_and_a_distant_one_is_not():
    with pytest.raises(ValueError, match="unknown variant 'smal', did you mean 'small'[?]; known"):
        get_config("smal")
    with pytest.raises(ValueError, match="unknown variant 'hatnet-tiny', did you mean 'tiny'[?]; known"):
        get_config("hatnet-tiny")
    with pytest.raises(ValueError, match="unknown variant 'xyzzy'; known"):
        get_config("xyzzy")
    with pytest.raises(ValueError, match="unknown variant 3; known"):
        get_config(3)
    with pytest.raises(TypeError, match="unknown override 'pool_size', did you mean 'pool_sizes'[?]; known"):
        get_config("small", pool_size=2)  # grid_sizes and kernel_sizes are close, too
