"""Valid arguments of the functions of `reference`, by module: `TABLES`."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

import reference
from hatnet import equivalence
from hatnet.network import HATNet
from reference import attention_maps as maps
from reference import initial, learning, loss
from tests.fuzz.networks import SMALL


def floats(*shape: int) -> np.ndarray:
    return np.sin(np.arange(1.0, np.prod(shape) + 1)).reshape(shape)


def network(d) -> HATNet:
    model = HATNet(SMALL)
    equivalence.randomise(model, d.heads)
    return model.eval()


def trace_of(d) -> dict:
    trace = {}
    reference.hat_net(floats(3, 16, 20), equivalence.to_numpy(network(d)), SMALL, trace)
    return trace


def gradients_of(d) -> dict:
    return {name: value for name, value in trace_of(d).items() if name.endswith("weights")}


def reads_of(d) -> dict:
    return {0: np.full(trace_of(d)["stages.0.output"][..., 0].size, 0.1)}


def part(d, path: str) -> dict:
    return reference.within(equivalence.to_numpy(network(d)), path)


def x(d):
    return floats(d.H, d.W, d.C)


def matrix(d):
    return np.full((d.H, d.H), 1 / d.H)


REFERENCE = {
    "aggregate": lambda d: {"A1": x(d), "A2": x(d), "params": {"projection.weight": floats(d.C, d.C)}},
    "attention_weights": lambda d: {"Q": floats(d.H, d.C), "K": floats(d.W, d.C)},
    "average_pool": lambda d: {"x": x(d), "G2": d.G2},
    "block": lambda d: {"x": floats(d.H, d.W, 2), "params": part(d, "stages.0.blocks.0"), "stage": SMALL.stages[0], "trace": {}},
    "classifier": lambda d: {"x": x(d), "params": {"weight": floats(3, d.C), "bias": floats(3)}},
    "conv2d": lambda d: {"x": x(d), "weight": floats(4, d.C, 3, 3), "bias": floats(4), "stride": d.G2},
    "depthwise_conv2d": lambda d: {"x": x(d), "weight": floats(d.C, 1, 3, 3)},
    "downsample": lambda d: {"x": floats(d.H, d.W, 2), "params": part(d, "stages.1.downsample")},
    "global_attention": lambda d: {"A1": floats(d.H, d.W, 2), "merged": floats(2, 3, 2), "params": part(d, "stages.0.blocks.0.attention"), "heads": 1, "trace": {}},
    "cross_entropy": lambda d: {"logits": floats(3), "label": d.heads - 1, "smoothing": 0.1},
    "gradients": lambda d: {"image": floats(3, 8 + d.H, 8 + d.W), "label": d.heads - 1, "params": equivalence.to_numpy(network(d)), "config": SMALL, "smoothing": 0.1},
    "group_norm": lambda d: {"x": x(d), "weight": floats(d.C), "bias": floats(d.C)},
    "h_mhsa": lambda d: {"x": floats(d.H, d.W, 2), "params": part(d, "stages.0.blocks.0.attention"), "heads": 1, "G1": d.G1, "G2": d.G2, "trace": {}},
    "hat_net": lambda d: {"image": floats(3, 8 + d.H, 8 + d.W), "params": equivalence.to_numpy(network(d)), "config": SMALL, "trace": {}},
    "linear": lambda d: {"x": x(d), "weight": floats(3, d.C), "bias": floats(3)},
    "local_attention": lambda d: {"x": floats(d.H, d.W, 2), "params": part(d, "stages.0.blocks.0.attention"), "heads": 1, "G1": d.G1, "trace": {}},
    "merge": lambda d: {"A1": floats(d.H, d.W, 2), "params": part(d, "stages.0.blocks.0.attention"), "G2": d.G2},
    "mhsa": lambda d: {"x": floats(d.H, d.W, 4), "params": part(d, "stages.1.blocks.0.attention"), "heads": 2, "trace": {}},
    "mlp": lambda d: {"x": floats(d.H, d.W, 2), "params": part(d, "stages.0.blocks.0.mlp")},
    "multi_head_attention": lambda d: {"Q": floats(d.H, d.C), "K": floats(d.W, d.C), "V": floats(d.W, d.C), "heads": d.heads},
    "scope": lambda d: {"trace": {}, "path": "stages.0"},
    "silu": lambda d: {"x": x(d)},
    "softmax": lambda d: {"scores": floats(d.H, d.W)},
    "stem": lambda d: {"image": floats(d.H, d.W, 3), "params": part(d, "stem"), "strides": (2, 2)},
    "windows": lambda d: {"H": d.H, "W": d.W, "G1": d.G1},
    "within": lambda d: {"params": {"norm.weight": floats(2), "norm.bias": floats(2)}, "path": "norm"},
}  # fmt: skip
MAPS = {
    "local_matrix": lambda d: {"weights": np.full((-(-d.H // 2), -(-d.W // 2), *[min(2, d.H) * min(2, d.W)] * 2), 1 / (min(2, d.H) * min(2, d.W))), "size": (d.H, d.W), "G1": 2},
    "pooling_matrix": lambda d: {"size": (d.H, d.W), "G2": d.G2},
    "composed_matrix": lambda d: {"L": matrix(d), "G": np.ones((d.H, 1)), "P": np.full((1, d.H), 1 / d.H)},
    "plain_matrix": lambda d: {"A": matrix(d)},
    "block_matrix": lambda d: {"trace": trace_of(d), "stage": SMALL.stages[0], "block": "stages.0.blocks.0", "head": 0},
    "receptive_field": lambda d: {"size": (d.H, d.W), "stride": d.G2},
    "stem_matrix": lambda d: {"size": (d.H, d.W), "strides": (2, 2)},
    "to_shares": lambda d: {"maps": np.abs(floats(d.H, d.W))},
    "rollout": lambda d: {"trace": trace_of(d), "config": SMALL, "stage": 1, "block": 0},
    "relevance": lambda d: {"weights": x(d), "gradient": x(d), "heads_axis": 0},
    "class_map": lambda d: {"trace": trace_of(d), "gradients": gradients_of(d), "config": SMALL, "reads": reads_of(d)},
}  # fmt: skip
LEARNING = {
    "batch_gradients": lambda d: {"images": floats(2, 3, 8 + d.H, 9), "labels": [0, d.heads - 1], "params": equivalence.to_numpy(network(d)), "config": SMALL, "smoothing": 0.1},
    "clip": lambda d: {"gradients": {"a": x(d), "b": floats(d.C)}, "largest": 0.5},
    "learning_rate": lambda d: {"step": d.H, "settings": learning.Settings(steps=9, warmup=2)},
    "adamw": lambda d: {"w": x(d), "g": x(d), "m": x(d), "v": x(d) ** 2, "t": d.H, "rate": 0.1, "decay": 0.05, "settings": learning.Settings(steps=9)},
    "average": lambda d: {"mean": x(d), "w": x(d), "step": d.H, "decay": 0.9},
    "Settings": lambda d: vars(learning.Settings(steps=9, warmup=d.H, clip=1.0)),
    "Learner": lambda d: {"params": equivalence.to_numpy(network(d)), "config": SMALL, "settings": learning.Settings(steps=9)},
}  # fmt: skip
INITIAL = {
    "StageSizes": lambda d: vars(initial.StageSizes(d.C, 1, d.heads, 3, 2, d.G1, d.G2)),
    "NetworkSizes": lambda d: vars(sizes(d)),
    "parameter_shapes": lambda d: {"config": sizes(d)},
    "initial_parameters": lambda d: {"config": sizes(d), "seed": d.H},
}
TARGET = lambda d: {"label": np.full(3, 1 / 3), "classes": 3, "smoothing": 0.1}  # noqa: E731
LOSS = {"target": TARGET, "one_image": lambda d: {"logits": floats(d.C)}}


def sizes(d) -> initial.NetworkSizes:
    return initial.NetworkSizes(3, 3, (initial.StageSizes(d.C, 1, d.heads, 3, 2, d.G1, d.G2),), 2, (2, 2))


def arguments_of_vjp(name: str) -> Callable[[SimpleNamespace], dict]:
    """Those of the forward function without its trace, after the gradient of its output."""
    forward = getattr(reference, name)
    gradient = next(iter(inspect.signature(getattr(reference.backward, f"{name}_vjp")).parameters))

    def make(d) -> dict:
        given = {key: value for key, value in REFERENCE[name](d).items() if key != "trace"}
        output = forward(**given)
        shape = np.shape(output[0] if isinstance(output, tuple) else output)
        return ({gradient: floats(*shape)} if shape else {}) | given

    return make


VJPS = [name for name in reference.backward.__all__ if name.endswith("_vjp")]
BACKWARD = {name: arguments_of_vjp(name.removesuffix("_vjp")) for name in VJPS}
TABLES = {
    reference: REFERENCE,
    maps: MAPS,
    reference.backward: BACKWARD,
    learning: LEARNING,
    initial: INITIAL,
    loss: LOSS,
}
