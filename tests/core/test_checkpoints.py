"""Weights in files: the authors' are recognised, ours keep every bit, and no file is ever executed."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import hatnet
from hatnet import CheckpointError, create_model, load, load_official, save
from hatnet.equivalence import randomise
from hatnet.files import write_whole
from hatnet.weights.checkpoints import is_ours
from tests.comparing import assert_equal
from tests.core.authors import SHAPES, state_dict

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
WRITERS = {".pth": torch.save, ".safetensors": save_file}


@pytest.fixture(scope="module")
def tiny():
    """The authors' Tiny in float32."""
    return {name: tensor.float() for name, tensor in state_dict("tiny").items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def test_tied_layers_are_saved_and_come_back_equal(path):
    model = create_model("micro")
    mlp = model.stages[0].blocks[0].mlp
    mlp.norm_in.bias = mlp.norm_in.weight
    save(model, path)
    found = load(path).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("variant", SHAPES)
def test_the_variant_is_recognised_from_the_shapes(variant):
    tensors = {name: torch.zeros(shape) for name, shape in SHAPES[variant].items()}
    assert load_official(tensors).config == hatnet.VARIANTS[variant]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"model": tensors, "epoch": 299},
        lambda tensors: {"state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()}},
        lambda tensors: {"model": tensors, "model_ema": tensors},
        lambda tensors: {"a": {"b": {f"module._orig_mod.{name}": tensor for name, tensor in tensors.items()}}},
        lambda tensors: {name: tensor for name, tensor in tensors.items() if "proj_norm" not in name},
        lambda tensors: {name: tensor.numpy() for name, tensor in tensors.items()},
    ],
    ids=["plain", "model", "module", "with ema", "deep", "without proj_norm", "numpy"],
)
def test_nested_keys_and_prefixes_are_understood(tiny, wrap):
    model = load_official(wrap(tiny))
    assert not model.training
    assert torch.equal(model.classifier.weight, tiny["classifier.1.weight"])
    assert torch.equal(model.stages[0].blocks[1].mlp.expand.weight, tiny["blocks.0.1.conv.conv1.1.weight"][:, :, 0, 0])


@pytest.mark.parametrize("suffix", WRITERS)
def test_files_load_by_path(tiny, tmp_path, suffix):
    path = tmp_path / f"HAT-Net_Tiny{suffix}"
    WRITERS[suffix](tiny, path)
    for name in (path, str(path)):
        assert torch.equal(load_official(name).stem.conv1.weight, tiny["patch_embed.0.weight"])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_floating_dtype_of_the_file_is_kept(tiny, dtype):
    model = load_official({name: tensor.to(dtype) for name, tensor in tiny.items()})
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_fine_tuned_classifiers_and_other_windows_load(tiny):
    """Sec. 3.3: G1 and G2 hold no parameters."""
    tuned = tiny | {"classifier.1.weight": torch.zeros(7, 384), "classifier.1.bias": torch.zeros(7)}
    model = load_official(tuned, grid_sizes=(8, 8, 8), pool_sizes=(16, 8, 4))
    assert (model.config.num_classes, model.config.grid_sizes, model.config.pool_sizes) == (7, (8, 8, 8), (16, 8, 4))
    assert model(torch.zeros(1, 3, 50, 70)).shape == (1, 7)


def test_loading_copies_the_callers_tensors(tiny):
    before = tiny["classifier.1.bias"].clone()
    with torch.no_grad():
        load_official(tiny).classifier.bias.add_(1)
    assert torch.equal(tiny["classifier.1.bias"], before)


def test_everything_missing_unexpected_or_misshapen_is_listed(tiny):
    broken = tiny | {
        "head.extra": torch.zeros(3),
        "ds2.norm.weight": torch.zeros(5),
        "ds2.norm.bias": torch.zeros(96, dtype=torch.int64),
    }
    del broken["ds3.conv.bias"], broken["blocks.2.5.attn.q.weight"]
    with pytest.raises(CheckpointError) as error:
        load_official({"model": broken})
    for part in (
        "HAT-Net Tiny",
        "missing (2): ",
        "ds3.conv.bias",
        "blocks.2.5.attn.q.weight",
        "unexpected (1): head.extra",
        "of another shape (1): ds2.norm.weight (5,) for (96,)",
        "not floating (1): ds2.norm.bias",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"layer1.0.conv1.weight": torch.zeros(3), "fc.weight": torch.zeros(3)}, "not a checkpoint.* none of its 2"),
        ({"epoch": 3}, "none of its 0 tensors"),
        (create_model("micro").state_dict(), "this package's own names, not the authors'; use hatnet.load"),
        ({network: {"classifier.1.bias": torch.zeros(3)} for network in "ab"}, "several networks"),
    ],
    ids=["another network", "nothing", "ours", "several"],
)
def test_anything_but_one_network_of_the_authors_is_refused(content, message):
    with pytest.raises(CheckpointError, match=message):
        load_official(content)


@pytest.mark.parametrize("content", [b"", b"# A text", b"\x80not a pickle"], ids=["empty", "text", "almost"])
def test_a_file_that_is_no_checkpoint_is_refused_without_advice_to_trust_it(tmp_path, content):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        load_official(tmp_path / "file.pth")
    assert "weights_only" not in str(error.value)


class Payload:
    """A pickle that creates a folder when it is executed."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


def test_untrusted_pickles_are_never_executed(tiny, tmp_path):
    torch.save({"model": tiny, "args": Payload(tmp_path / "executed")}, tmp_path / "hostile.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors .*mkdir.*was not read. If you trust"):
        load_official(tmp_path / "hostile.pth")
    assert not (tmp_path / "executed").exists()
    torch.load(tmp_path / "hostile.pth", weights_only=False)  # the control: the payload works
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("part", [0, 10, 0.5, 0.999])
def test_truncated_files_are_refused(tiny, tmp_path, suffix, part):
    path = tmp_path / f"file{suffix}"
    WRITERS[suffix](tiny, path)
    content = path.read_bytes()
    path.write_bytes(content[: part if isinstance(part, int) else int(part * len(content))])
    with pytest.raises(CheckpointError, match="truncated"):
        load_official(path)


@pytest.mark.parametrize("name", ["none.safetensors", "none.pth"])
def test_the_error_names_a_missing_file(tmp_path, name):
    for function in (load, load_official):
        with pytest.raises(FileNotFoundError, match=name):
            function(tmp_path / name)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_our_files_keep_weights_configuration_and_dtype(path, dtype):
    model = create_model("micro", num_classes=3, in_channels=1, grid_sizes=(7, 7), drop_path_rate=0.2)
    randomise(model)
    model = model.to(dtype)
    save(model, path)
    back = load(path)
    assert is_ours(path)
    assert back.config == model.config
    assert not back.training
    assert_equal(back.state_dict(), model.state_dict())


def test_our_files_hold_numbers_and_json_and_others_are_refused(path):
    save(create_model("micro"), path)
    written, tensors = path.read_bytes(), load_file(path)
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["hatnet"])
    assert facts["config"]["name"] == "micro"
    config = {"format": "hatnet", "version": "1", "config": json.dumps(facts["config"])}  # the older layout

    def refuse(message):
        with pytest.raises(CheckpointError, match=message):
            load(path)

    save_file({"a": torch.zeros(3)}, path)
    refuse("not written by hatnet.save")
    torch.save(tensors, path.with_suffix(".pth"))
    with pytest.raises(CheckpointError, match="not a safetensors file; for the authors' .pth files use load_official"):
        load(path.with_suffix(".pth"))
    path.write_bytes(written[:-5])
    refuse("truncated")
    save_file(tensors, path, metadata=config | {"config": json.dumps({"name": "micro", "channels": [32, 64]})})
    refuse("configuration this version does not understand: .*depths")
    del tensors["classifier.bias"]
    save_file(tensors, path, metadata=config)
    refuse(r"missing \(1\): classifier.bias")


def test_a_model_that_could_not_be_loaded_again_is_not_saved(path):
    model = create_model("micro")
    model.classifier = torch.nn.Linear(128, 5)
    with pytest.raises(CheckpointError, match=r"own configuration, does not fit(.|\n)*classifier.weight \(5, 128\)"):
        save(model, path)
    model = create_model("micro")
    model.stages[1].blocks[0].attention.pool_size = 3
    with pytest.raises(CheckpointError, match=r"stages.1.blocks.0.attention has G1, G2 = \(4, 3\), but .* \(4, 2\)"):
        save(model, path)
    assert not path.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.compile
def test_a_compiled_model_is_saved_under_its_own_names(path):
    model = create_model("micro")
    save(torch.compile(model), path)
    assert_equal(load(path).state_dict(), model.state_dict())


def test_writing_to_a_link_writes_its_target(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    for content in (b"first", b"second"):
        write_whole(link, content)
        assert real.read_bytes() == content
    assert link.is_symlink()
    with pytest.raises(FileNotFoundError, match=r"no folder .*away to write x to; create it first"):
        write_whole(tmp_path / "away" / "x", b"")


def test_saving_is_whole_or_not_at_all(path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    write_whole(path, b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save(create_model("micro"), path)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
