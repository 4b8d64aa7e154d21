"""The roofline: bounds computed by hand, work counted with hooks, and shares of the time from the profiler."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import hatnet.network
from hatnet.complexity import network_costs
from hatnet.config import get_config
from hatnet.network import HATNet
from hatnet.studies.bench import peaks as peak_rates
from hatnet.studies.bench import tables
from hatnet.studies.bench.parts import kind, part_times, places
from hatnet.studies.bench.peaks import PEAKS, Maps, best_rate
from hatnet.studies.bench.roofline import KINDS, bound, roofline, whole_bound, work
from tests.studies.bench.synthetic import PARTS, SETTINGS, synthetic_record
from tests.studies.bench.synthetic import PEAKS as RATES

MICRO = get_config("micro")


def test_bound_is_the_longer_of_arithmetic_and_memory():
    rates = {"matrices": 10.0, "depthwise": 5.0, "silu": 2.0, "norm": 1.0, "memory": 100.0}
    assert bound({"matrices": 20, "silu": 4}, rates) == pytest.approx(4)
    assert bound({"matrices": 20, "depthwise": 5, "norm": 3}, rates) == pytest.approx(6)
    assert bound({"matrices": 20, "memory": 150}, rates) == pytest.approx(2)
    assert bound({"matrices": 20, "memory": 500}, rates) == pytest.approx(5)
    assert bound({}, rates) == 0
    parts = {"a": {"matrices": 20.0, "memory": 1e6}, "b": {"silu": 2.0}}
    assert whole_bound(parts, rates) == pytest.approx(3), "maps may stay in the caches between parts"


def test_work_of_a_stage_by_hand():
    """Stage 1 of Micro at 32 pixels: 8 x 8 tokens, 64 channels, hidden 256, G1 = 4, G2 = 2, two blocks."""
    found = work(MICRO, 32, batch=3, item=4)
    tokens, C, hidden = 64, 64, 256
    mlp = found["stage 1 mlp: matrices"]
    assert mlp["matrices"] == 2 * 3 * tokens * 2 * C * hidden
    weights = 2 * 2 * C + 2 * C * hidden + 9 * hidden
    assert mlp["memory"] == 2 * 4 * (weights + 3 * 2 * tokens * C)
    assert found["stage 1 mlp: SiLU and depthwise"] == {
        "depthwise": 2 * 3 * tokens * 9 * hidden, "silu": 2 * 3 * 2 * tokens * hidden
    }  # fmt: skip
    assert found["stage 1 mlp: norms"] == {"norm": 2 * 3 * 2 * tokens * C}
    products = 2 * (tokens * 16 + tokens * 16) * C  # windows of 16 tokens, and 16 merged ones
    assert found["stage 1 attention: products"] == {"matrices": 2 * 3 * products}
    projections = 3 * tokens * C * C + tokens * C * C + 16 * 2 * C * C + tokens * C * C
    assert found["stage 1 attention: matrices"]["matrices"] == 2 * 3 * projections
    assert found["stage 1 attention: norms"] == {"norm": 2 * 3 * (2 * tokens + 16) * C}
    assert found["stage 1 downsample: convolutions"]["matrices"] == 3 * tokens * 9 * 32 * 64


def test_work_is_what_the_modules_do():
    """Hooks count the elements of all norms and SiLUs, and the MACs of all matrices and convolutions."""
    model, batch, size = HATNet(MICRO).eval(), 2, 32
    counted = dict.fromkeys(RATES, 0)

    def norm(module, given, output):
        counted["norm"] += given[0].numel()

    def linear(module, given, output):
        counted["matrices"] += given[0].numel() * module.out_features

    def convolution(module, given, output):
        macs = output.numel() * module.weight[0].numel()
        counted["depthwise" if module.groups > 1 else "matrices"] += macs
        if module.groups > 1:
            counted["silu"] += given[0].numel() + output.numel()

    hooks = {"GroupNorm": norm, "Linear": linear, "Conv2d": convolution}
    for module in model.modules():
        if type(module).__name__ in hooks:
            module.register_forward_hook(hooks[type(module).__name__])
    with torch.enable_grad():  # so that no layer is left out by a path for inference
        model(torch.zeros(batch, 3, size, size))
    counted["silu"] += batch * size * size * MICRO.stem_channels
    found = work(MICRO, size, batch, 4)
    for name in ("norm", "silu", "depthwise"):
        assert sum(amounts.get(name, 0) for amounts in found.values()) == counted[name], name
    matrices = sum(
        amounts["matrices"] for part, amounts in found.items() if "matrices" in amounts and "products" not in part
    )
    assert matrices == counted["matrices"]


def test_roofline_of_synthetic_timings_by_hand():
    """The parts took 3 s and 1 s in both processes; the rounds' batches took 0.8 s, so they are 0.6 s and 0.2 s."""
    record = synthetic_record(replace(SETTINGS, networks=("micro",)))
    found = roofline(record, "micro")
    assert found.rates == RATES, "the highest of both processes"
    measured = {part.part: part for part in found.parts if part.seconds}
    assert {name: part.seconds for name, part in measured.items()} == pytest.approx(
        {"stage 0 mlp: matrices": 0.6, "stage 0 mlp: SiLU and depthwise": 0.2}
    )
    tokens, C, hidden = 32 * 32 // 4, 32, 128
    macs, elements = 2 * 4 * tokens * 2 * C * hidden, 2 * 4 * tokens * hidden
    assert measured["stage 0 mlp: matrices"].bound == pytest.approx(macs / 4e9)
    assert measured["stage 0 mlp: SiLU and depthwise"].bound == pytest.approx(9 * elements / 2e9 + 2 * elements / 5e8)
    assert measured["stage 0 mlp: matrices"].reached == pytest.approx(macs / 4e9 / 0.6)
    assert found.whole.seconds == pytest.approx(0.8)
    assert found.whole.bound == pytest.approx(whole_bound(work(MICRO, 32, 4, 4), RATES))
    (table,) = map(tables.parts, tables.rooflines(record))
    assert table.rows[-1][0] == "whole network"
    assert roofline(record, "micro").parts == found.parts
    assert f"reaches {100 * found.whole.reached:.0f} % of its own roofline" in "".join(tables.findings(record))
    assert roofline(synthetic_record(replace(SETTINGS, roofline=False)), "micro") is None
    assert set(PARTS) <= set(measured)


def test_every_part_of_the_running_network_has_a_place_and_the_shares_add_up(monkeypatch):
    model, lean, forward = HATNet(MICRO).eval(), [], HATNet.forward
    by_images = hatnet.network.by_images
    monkeypatch.setattr(hatnet.network, "by_images", lambda *args: (lean.append(1), by_images(*args))[1])

    def step():
        with torch.inference_mode():
            model(torch.zeros(4, 3, 32, 32))

    steps = iter([5.0, 3.0, 4.0])
    monkeypatch.setattr("hatnet.studies.bench.parts.timed", lambda step: next(steps))
    times = part_times(model, step)
    assert sum(times.values()) == pytest.approx(3.0, rel=1e-3)
    places_found = {part.partition(": ")[0] for part in times}
    assert places_found == {place for place, _ in places(model)}
    assert {part.partition(": ")[2] for part in times} <= set(KINDS)
    for part in work(MICRO, 32, 4, 4):
        assert times.get(part, 0) > 0, f"{part} has work and no time"
    assert lean, "marks must not switch off lean inference"
    assert HATNet.forward is forward


@pytest.mark.long
def test_slow_part_takes_the_largest_share():
    """A layer that computes its product 400 times has most of the time, at its own place."""
    model = HATNet(MICRO).eval()
    slow = model.stages[1].downsample.conv

    class Slow(nn.Module):
        def forward(self, x):
            for _ in range(400):
                y = slow(x)
            return y

    model.stages[1].downsample.conv = Slow()

    def step():
        with torch.inference_mode():
            model(torch.zeros(4, 3, 32, 32))

    times = part_times(model, step)
    assert times["stage 1 downsample: convolutions"] > 0.5 * sum(times.values())


@pytest.mark.parametrize(
    ("operation", "place", "want"),
    [
        ("aten::addmm", "stage 0 attention", "matrices"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "stage 0 attention", "products"),
        ("aten::_flash_attention_forward", "stage 0 attention", "products"),
        ("aten::_efficient_attention_forward", "stage 0 attention", "products"),
        ("aten::_cudnn_attention_forward", "stage 0 attention", "products"),
        ("aten::bmm", "stage 0 attention", "products"),
        ("aten::bmm", "stage 0 mlp", "matrices"),
        ("aten::silu_", "stage 0 mlp", "SiLU and depthwise"),
        ("aten::mkldnn_convolution", "stage 2 mlp", "SiLU and depthwise"),
        ("aten::mkldnn_convolution", "stem", "convolutions"),
        ("aten::native_layer_norm", "stage 1 downsample", "convolutions"),
        ("aten::native_layer_norm", "stage 1 mlp", "norms"),
        ("aten::copy_", "stage 1 mlp", "the rest"),
        ("aten::add", "stage 1", "the rest"),
    ],
)
def test_kind_of_an_operation(operation, place, want):
    assert kind(operation, place) == want


def test_rate_is_that_of_the_fastest_timing(monkeypatch):
    """Ten units of work in calls of 2 s, but one timing at 1 s per call: 10 per second."""
    now = 0.0
    durations = iter([2.0, 2.0, 2.0, 1.0, 2.0, 2.0, 2.0])

    def call():
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(peak_rates.time, "perf_counter", lambda: now)
    assert best_rate(10, call, torch.device("cpu")) == pytest.approx(10)


def test_amounts_of_the_peaks_are_those_of_their_shapes(monkeypatch):
    """Each case computes what it says: products are counted by PyTorch, and the others by the size of their result."""
    monkeypatch.setattr(peak_rates, "SQUARES", (16,))
    monkeypatch.setattr(peak_rates, "ELEMENTS", (2**10,))
    monkeypatch.setattr(peak_rates, "MEMORY", (2**10,))
    from torch.utils.flop_counter import FlopCounterMode

    maps = Maps(MICRO, 32, 2, torch.device("cpu"), torch.float32)
    for name, cases in PEAKS.items():
        for amount, call in cases(maps):
            with FlopCounterMode(display=False) as counter:
                result = call()
            if name in ("matrices", "depthwise"):
                assert counter.get_total_flops() == 2 * amount, name
            else:
                assert result.numel() * (2 if name == "memory" else 1) == amount, name


def test_peak_rate_of_products_is_that_of_matrices_or_convolutions_whichever_is_faster(monkeypatch):
    """Of every downsampling, for one image and for the batch; their MACs equal those of the cost formulas."""
    amounts = []
    monkeypatch.setattr(torch.nn.functional, "conv2d", lambda x, weight, **_: amounts.append((len(x), weight.shape)))
    cases = list(PEAKS["matrices"](Maps(MICRO, 32, 4, torch.device("cpu"), torch.float32)))
    found = {}
    for amount, call in cases:
        before = len(amounts)
        call()
        if len(amounts) > before:
            found[amounts[-1]] = amount
    costs = [part.cost.total_macs for part in network_costs(MICRO, 32, 32) if part.name.endswith("downsample")]
    assert list(found.values()) == [batch * macs for macs in costs for batch in (1, 4)]
