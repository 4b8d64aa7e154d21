"""The formulas for memory: within a few per cent of the memory measured while the code runs."""

import platform
import tracemalloc
import weakref
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import assume
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import hatnet.network
import reference
from hatnet.complexity import (
    attention_weights,
    h_mhsa_cost,
    inference_memory,
    mhsa_cost,
    network_costs,
    reference_memory,
    training_memory,
)
from hatnet.complexity.memory import inference_memory_by_part, training_memory_by_part
from hatnet.config import VARIANTS, HATNetConfig
from hatnet.equivalence import to_numpy
from hatnet.lean import lean_inference
from hatnet.models import create_model
from hatnet.network import HATNet
from tests.cases import for_maps, for_networks

# The formulas leave out masks of partial windows, one element per token, and statistics of norms, two per map. Largest
# differences seen (torch 2.13.0, NumPy 2.4.6, Linux): 0.05 % for the variants; 1.5 % for drawn networks of 2 to 12
# channels, where a mask weighs more; 0.9 % for NumPy's peak, where Python's own objects count.
LIMIT = 0.002
SMALL_LIMIT = 0.03
NUMPY_LIMIT = 0.02


class LiveTensors(TorchDispatchMode):
    """Track the memory of every tensor that PyTorch makes until it is freed, except parameters."""

    def __init__(self, model: torch.nn.Module, held: torch.Tensor) -> None:
        super().__init__()
        self.parameters = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        self.seen: dict[int, weakref.ref] = {}
        self.now = self.peak = 0
        self.follow(held)

    def follow(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.parameters or key in self.seen:
            return

        def freed(_: object) -> None:
            self.now -= size
            del self.seen[key]

        self.seen[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)

    def start(self, *_: object) -> None:
        self.peak = self.now

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self.follow(tensor)
        return made


def measured_inference(model: HATNet, images: torch.Tensor) -> float:
    with torch.no_grad(), lean_inference(None), LiveTensors(model, images) as tensors:
        model.eval()(images)
    return tensors.peak / images.itemsize


def measured_inference_by_part(model: HATNet, images: torch.Tensor) -> dict[str, float]:
    peaks = {}
    parts = {"stem": model.stem} | {f"stages.{index}": stage for index, stage in enumerate(model.stages)}
    with torch.no_grad(), lean_inference(None), LiveTensors(model, images) as tensors:
        for name, part in parts.items():
            part.register_forward_pre_hook(tensors.start)
            part.register_forward_hook(lambda *_, name=name: peaks.update({name: tensors.peak / images.itemsize}))
        model.eval()(images)
    return peaks


def test_lean_inference_needs_less():
    """The formula is that of whole maps."""
    model, images = create_model("tiny").eval(), torch.zeros(4, 3, 224, 224)
    with torch.no_grad(), LiveTensors(model, images) as tensors:
        model(images)
    assert tensors.peak / images.itemsize < inference_memory(model.config, 224, 224, batch=4) / 2


def measured_training(model: HATNet, images: torch.Tensor) -> float:
    """The elements that a forward pass keeps for the backward pass; each piece of memory counts once."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # kept alive, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(images)
    return sum(kept[key].untyped_storage().nbytes() for key in kept.keys() - parameters) / images.itemsize


def assert_predicted(model: HATNet, images: torch.Tensor, limit: float) -> None:
    batch, _, height, width = images.shape
    size = (model.config, height, width, batch)
    assert measured_inference(model, images) == pytest.approx(inference_memory(*size), rel=limit)
    for recompute in (False, True):
        model.recompute_mlps(recompute)
        assert measured_training(model, images) == pytest.approx(training_memory(*size, recompute), rel=limit)


@pytest.mark.parametrize(
    ("variant", "batch", "height", "width", "dropout"),
    [
        ("tiny", 1, 224, 224, {}), ("tiny", 2, 97, 150, {}), ("small", 1, 96, 128, {}), ("large", 1, 64, 64, {}),
        ("micro", 3, 45, 61, {}), ("micro", 2, 64, 64, {"drop_rate": 0.1, "drop_path_rate": 0.1}),
    ],
)  # fmt: skip
def test_pytorch_needs_the_predicted_memory(variant, batch, height, width, dropout):
    """Dropout and stochastic depth keep only their random numbers: one per channel, one per image."""
    assert_predicted(create_model(variant, **dropout), torch.zeros(batch, 3, height, width), LIMIT)


@for_networks
def test_any_network_needs_the_predicted_memory(case):
    tokens = prod(case.config.layout(case.height, case.width)[0].map)
    assume(tokens > 200)  # else the statistics of the norms, two per map, weigh too much
    assert_predicted(case.model().float(), case.images().float(), SMALL_LIMIT)


def test_one_extra_map_is_noticed(monkeypatch):
    """A control: SiLU computed as x times sigmoid(x) needs one more map in inference and keeps one more in training."""
    monkeypatch.setattr(hatnet.network.F, "silu", lambda x: x * torch.sigmoid(x))
    model, images = create_model("micro"), torch.zeros(1, 3, 64, 64)
    assert measured_inference(model, images) > 1.05 * inference_memory(model.config, 64, 64)
    assert measured_training(model, images) > 1.05 * training_memory(model.config, 64, 64)


def test_the_prediction_is_exact_where_windows_divide():
    """Tiny at 224: to the element in inference; in training only the mean and deviation of each norm are extra."""
    model, images = create_model("tiny"), torch.zeros(1, 3, 224, 224)
    assert measured_inference(model, images) == inference_memory(model.config, 224, 224)
    norms = sum(isinstance(module, hatnet.network.GroupNorm) for module in model.modules())
    assert measured_training(model, images) == training_memory(model.config, 224, 224) + 2 * norms


@pytest.mark.parametrize(("variant", "height", "width"), [("tiny", 224, 224), ("medium", 64, 96), ("micro", 56, 41)])
def test_each_stage_needs_the_predicted_memory(variant, height, width):
    model = create_model(variant)
    got = measured_inference_by_part(model, torch.zeros(1, 3, height, width))
    want = inference_memory_by_part(model.config, height, width)
    assert list(got) == list(want)
    assert got == pytest.approx(want, rel=LIMIT)


@pytest.mark.parametrize(("grid_size", "pool_size"), [(4, 2), (5, 3), (30, 2), (1, 1), (16, 1)])
def test_attention_is_the_peak_where_the_mlp_is_narrow(grid_size, pool_size):
    """With windows cut out of the map, padded windows, one window for the whole map, windows of one token, G2 = 1."""
    config = HATNetConfig(
        channels=(32, 32), depths=(1, 1), kernel_sizes=(3, 3), expansions=(1, 1), head_dim=16, grid_sizes=(grid_size,),
        pool_sizes=(pool_size,),
    )  # fmt: skip
    got = measured_inference_by_part(HATNet(config), torch.zeros(1, 3, 64, 64))
    assert got == pytest.approx(inference_memory_by_part(config, 64, 64), rel=SMALL_LIMIT)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="NumPy reuses the memory of temporaries only with glibc")
@pytest.mark.parametrize(
    ("config", "height", "width"),
    [
        (VARIANTS["tiny"], 160, 192),  # the MLP
        (VARIANTS["micro"], 96, 133),  # weights to merged tokens
        (HATNetConfig(channels=(8,), depths=(1,), kernel_sizes=(3,), expansions=(2,), head_dim=4,
                      grid_sizes=(), pool_sizes=()), 120, 140),  # weights of plain attention
        (HATNetConfig(channels=(8, 8, 8), depths=(1, 1, 1), kernel_sizes=(3, 3, 3), expansions=(2, 2, 2), head_dim=4,
                      grid_sizes=(20, 4), pool_sizes=(8, 8), stem_strides=(1, 2)), 90, 100),  # weights in windows
    ],
)  # fmt: skip
def test_numpy_needs_the_predicted_memory(config, height, width):
    """The peak of the reference, by tracemalloc, without the parameters and the image, which the caller holds."""
    params = to_numpy(HATNet(config))
    image = np.zeros((config.in_channels, height, width))
    tracemalloc.start()
    try:
        reference.hat_net(image, params, config)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / image.itemsize == pytest.approx(reference_memory(config, height, width), rel=NUMPY_LIMIT)


@for_maps
def test_the_number_of_attention_weights_is_that_of_the_trace(case):
    """Eq. 2: one weight per query, key and head; the paper's claim about memory concerns these."""
    H, W, C, heads = case.height, case.width, case.channels, case.heads
    maps = torch.from_numpy(case.maps()[:1])
    trace: dict[str, torch.Tensor] = {}
    case.filled(hatnet.MHSA(C, heads))[0](maps, trace)
    assert trace["weights"].numel() == attention_weights(mhsa_cost(H, W, C), C, heads)
    case.filled(hatnet.HMHSA(C, heads, case.grid_size, case.pool_size))[0](maps, trace)
    together = trace["local_weights"].numel() + trace["global_weights"].numel()
    assert together == attention_weights(h_mhsa_cost(H, W, C, case.grid_size, case.pool_size, padded=True), C, heads)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_parts_kept_for_training_have_the_names_of_the_networks_modules(config):
    assert list(training_memory_by_part(config, 100, 80)) == [part.name for part in network_costs(config, 100, 80)]
