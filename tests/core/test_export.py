"""One graph for any size: `torch.compile`, `torch.export` and ONNX give the logits of the network itself."""

import json
import re
from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.fx.experimental import symbolic_shapes
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from hatnet.config import get_config
from hatnet.equivalence import randomise, relative_error
from hatnet.export import ONE_SIZE_ONLY, export, program
from hatnet.hierarchical_attention import contiguous, full_window, holds
from hatnet.network import HATNet

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.compile and torch.export
SMALL = get_config(
    "micro", channels=(8, 16), head_dim=8, depths=(1, 1), kernel_sizes=(3, 3), expansions=(2, 2), grid_sizes=(7,),
    pool_sizes=(4,), num_classes=3,
)  # fmt: skip
any_size = pytest.mark.skipif(torch.__version__.startswith(ONE_SIZE_ONLY), reason="PyTorch before 2.13: one size only")
SIZES = [(1, 4, 4), (2, 4, 9), (1, 28, 42), (3, 41, 33), (2, 64, 80)]  # the smallest, whole windows, partial ones


def network(config=SMALL):
    model = HATNet(config)
    randomise(model)
    return model.eval()


def images(batch, height, width, dtype=torch.float32):
    return torch.randn(batch, 3, height, width, dtype=dtype, generator=torch.Generator().manual_seed(height))


def assert_equal_at(sizes, run, model, tolerance):
    dtype = next(model.parameters()).dtype
    for size in sizes:
        with torch.inference_mode():
            assert relative_error(run(images(*size, dtype)), model(images(*size, dtype))) <= tolerance, size


def test_conditions_on_unknown_sizes_do_not_hold(monkeypatch):
    """Without a compiler all sizes are known, and nothing is asked."""
    size, known = ShapeEnv().create_unbacked_symint(), symbolic_shapes.statically_known_true
    monkeypatch.setattr(symbolic_shapes, "statically_known_true", lambda _: pytest.fail("asked without a compiler"))
    assert holds(True)
    assert not holds(False)
    monkeypatch.setattr(symbolic_shapes, "statically_known_true", known)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert holds(True)
    assert not holds(size > 5)
    assert not holds(size <= 5)
    assert full_window(7, (size, 5)) == (7, 5)


def test_a_compiler_always_copies_windows(monkeypatch):
    x = torch.randn(2, 3, 4)
    assert contiguous(x) is x
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for each in (x, x.transpose(0, 1)):
        assert contiguous(each).is_contiguous()
        assert contiguous(each).data_ptr() != x.data_ptr()
        assert torch.equal(contiguous(each), each)


@pytest.mark.parametrize("dynamic", [None, pytest.param(True, marks=pytest.mark.long)])
def test_compilation_needs_two_graphs_for_all_sizes(dynamic):
    torch._dynamo.reset()
    model, counter = network().double(), CompileCounterWithBackend("eager")
    compiled = torch.compile(model, dynamic=dynamic, backend=counter, fullgraph=True)
    sizes = [(1, 56, 56), (1, 64, 80), (1, 128, 160), (1, 75, 83)]
    assert_equal_at(sizes, compiled, model, 1e-12)
    assert counter.frame_count <= 2


@pytest.mark.long
def test_generated_code_needs_two_graphs_for_all_sizes():
    torch._dynamo.reset()
    model, counter = network().double(), CompileCounterWithBackend("inductor")
    compiled = torch.compile(model, backend=counter)
    assert_equal_at([(1, 56, 56), (1, 64, 80), (1, 128, 160)], compiled, model, 1e-12)
    assert counter.frame_count <= 2


@pytest.mark.parametrize("release", ["2.11.0+cpu", "2.12.1"])
def test_an_older_pytorch_is_told_to_export_one_size(release, monkeypatch):
    monkeypatch.setattr("hatnet.export.version", lambda _: release)
    with pytest.raises(ValueError, match=rf"PyTorch {re.escape(release)} .* give image_size"):
        program(network())
    assert program(network(), (16, 24))


@any_size
def test_one_exported_graph_gives_the_logits_of_all_sizes():
    model = network().double()
    run = program(model).module()
    assert_equal_at(SIZES, run, model, 1e-12)
    with pytest.raises(AssertionError, match=r"size\(\)\[3\] >= 4"):
        run(images(1, 4, 3, torch.float64))


@pytest.mark.long
@pytest.mark.parametrize("image_size", [pytest.param(None, marks=any_size), (28, 36)], ids=["any", "one"])
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_files_give_the_logits_and_carry_the_facts(suffix, image_size, tmp_path):
    model, path, about = network(), tmp_path / f"network{suffix}", {"classes": ["a", "b", "c"], "mean": [0.1] * 3}
    assert export(model, path, about, image_size) <= 1e-5
    if suffix == ".onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(path)
        facts = session.get_modelmeta().custom_metadata_map["hatnet"]
        sides = list(image_size) if image_size else ["height", "width"]
        assert [each.shape for each in (*session.get_inputs(), *session.get_outputs())] == [
            ["batch", 3, *sides],
            ["batch", 3],
        ]

        def run(image):
            return session.run(["logits"], {"image": image.numpy()})[0]
    else:
        extra = {"hatnet": ""}
        run, facts = torch.export.load(path, extra_files=extra).module(), extra["hatnet"]
    assert about.items() <= json.loads(facts).items()
    sizes = [(1, *image_size), (3, *image_size)] if image_size else [*SIZES, (1, 150, 333)]
    assert_equal_at(sizes, run, model, 1e-5)


def test_impossible_exports_are_refused_before_work(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.export, "export", None)
    for model, name, size, message in (
        (network(), "a.onx", (64, 64), r"\.pt2 .* \.onnx"),
        (network().train(), "a.pt2", (64, 64), r"model\.eval\(\)"),
        (network(), "a.pt2", (3, 64), "too small"),
        (network(), "a.pt2", (64,), "height and width"),
        (network(), "a.pt2", (64, 2.5), "whole number"),
        (network().half(), "a.onnx", (64, 64), r"model\.float\(\)"),
    ):
        with pytest.raises(ValueError, match=message):
            export(model, tmp_path / name, image_size=size)
    with pytest.raises(ValueError, match="classes"):
        export(network(), tmp_path / "a.pt2", {"classes": ["a"]}, (64, 64))
    monkeypatch.setattr("hatnet.export.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"hatnet\[export\]"):
        export(network(), tmp_path / "a.onnx", image_size=(64, 64))
    assert not list(tmp_path.iterdir())


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    other = program(network(replace(SMALL, grid_sizes=(5,))), (16, 24))
    monkeypatch.setattr("hatnet.export.program", lambda *_: other)
    with pytest.raises(ValueError, match="differs"):
        export(network(), tmp_path / "a.pt2", image_size=(16, 24))
    assert not list(tmp_path.iterdir())
