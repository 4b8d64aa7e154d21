"""Damaged, hostile and wrong files of weights are refused, in bounded time and memory."""

import io
import json
import os
import pickle
import resource
import socket
import struct
import time
import tracemalloc
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import hatnet
from hatnet import CheckpointError, create_model, load, load_official, save
from hatnet.config import HATNetConfig
from hatnet.files import write_whole
from hatnet.network import HATNet
from hatnet.weights.checkpoints import about, is_ours
from hatnet.weights.tensor_file import WEIGHTS, to_parts
from tests.core.authors import state_dict
from tests.damage import answers

SMALL = HATNetConfig(
    "custom", 1, 3, stem_channels=2, channels=(4, 4), depths=(1, 1), kernel_sizes=(3, 3), expansions=(1, 1), head_dim=4,
    grid_sizes=(4,), pool_sizes=(2,),
)  # fmt: skip
FACTS = {
    "data": "shapes", "classes": ["a", "b", "c"], "mean": [0.5], "std": [0.25], "image_size": 28, "epoch": 3,
    "test_accuracy": 0.5, "recipe": {"seed": 1}, "started_from": {"file": "x"},
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="module")
def model():
    return HATNet(SMALL).eval()


def refuse(path, message="", functions=(load, about)):
    for function in functions:
        with pytest.raises(CheckpointError, match=message):
            function(path)


def read_by_any_command(path):
    """What commands do with a file: ours or not, its facts, its network."""
    return (about(path), load(path)) if is_ours(path) else load_official(path)


def older(path, model, tensors=None, **facts):
    """Write a file as version 0.1 of the package did: without a checksum, one key per fact."""
    texts = {"config": asdict(model.config)} | facts
    metadata = {key: text if isinstance(text, str) else json.dumps(text) for key, text in texts.items()}
    tensors = model.state_dict() if tensors is None else tensors
    save_file(tensors, path, {"format": "hatnet", "version": "1"} | metadata)


@pytest.mark.parametrize("facts", [None, [], "x", 1])
def test_facts_that_are_no_table_are_refused(facts, model, path):
    path.write_bytes(b"".join(to_parts(WEIGHTS, {"config": asdict(SMALL), "about": facts}, model.state_dict())))
    refuse(path, "must be a table of facts")


@pytest.mark.parametrize("field", ["head_dim", "num_classes", "in_channels", "stem_channels"])
@pytest.mark.parametrize("value", [[], [2]])
def test_lists_where_one_number_belongs_are_refused(field, value, model, path):
    config = asdict(SMALL) | {field: value}
    path.write_bytes(b"".join(to_parts(WEIGHTS, {"config": config}, model.state_dict())))
    refuse(path, rf"{field}=\(.*must be a whole number")


def test_the_kind_of_a_file_is_read_without_memory_for_the_largest_file(model, path):
    """Room for the number of bytes that `read` receives is taken at once."""
    save(model, path)
    tracemalloc.start()
    try:
        assert is_ours(path)
        assert about(path) == {}
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_every_damage_of_a_weights_file_is_refused(model, path):
    """Bits flipped, stretches zeroed and cuts, half of them in the header."""
    save(model, path, FACTS)
    for damage, answer in answers(read_by_any_command, path, path.read_bytes(), 600).items():
        assert "is damaged, truncated or" in answer, damage
        assert "Copy or download it again" in answer, damage


def test_equal_weights_are_equal_files(model, path):
    """Safetensors orders several keys of metadata differently in every call."""
    for facts in [FACTS, dict(reversed(FACTS.items()))] * 10:
        save(model, path.with_name(f"{len(list(path.parent.iterdir()))}"), facts)
    contents = {file.read_bytes() for file in path.parent.iterdir()}
    assert len(list(path.parent.iterdir())) == 20
    assert len(contents) == 1


def test_plain_safetensors_reads_our_files(model, path):
    save(model, path, FACTS)
    tensors = load_file(path)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == hatnet.weights.checkpoints.shapes(SMALL)
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["hatnet"])
    assert (facts["kind"], facts["version"], facts["about"]) == ("hatnet", "2", FACTS)


def test_files_without_a_checksum_load(model, path):
    older(path, model, about=FACTS)
    assert about(path) == FACTS
    assert load(path).config == SMALL


@pytest.mark.parametrize("version", ["99", "3", ""])
def test_a_file_of_a_newer_version_is_refused(model, path, version):
    older(path, model)
    content = path.read_bytes().replace(b'"version":"1"', f'"version":"{version}"'.encode())
    size = int.from_bytes(content[:8], "little") + len(version) - 1
    path.write_bytes(struct.pack("<Q", size) + content[8:])
    refuse(path, f"written by a newer version of hatnet .version '{version}'.; update")


@pytest.mark.parametrize("key", ["config", "about"])
@pytest.mark.parametrize("text", ["[1]", "null", "3", '"text"', "{", "[" * 5000, '{"a":' * 5000, "9" * 5000])
def test_metadata_must_be_a_json_object(model, path, key, text):
    older(path, model, **{key: text})
    refuse(path, f"its {key} is no JSON")


@pytest.mark.parametrize("facts", [None, [], "text", 3])
def test_a_table_of_facts_is_required_in_a_file_with_a_checksum(model, path, facts):
    config = asdict(model.config)
    write_whole(path, *to_parts(WEIGHTS, {"config": config, "about": facts}, model.state_dict()))
    refuse(path, "about=.* must be a table of facts")


@pytest.mark.parametrize("name", FACTS)
@pytest.mark.parametrize("value", ["text", None, 3.5, -1, 10**30, float("nan"), [], ["1"], [[1]], {}, {"a": 1}, True])
def test_facts_are_what_they_must_be_or_refused(model, path, name, value):
    """Whatever is accepted can be used: the network's source computes with it."""
    older(path, model, about=FACTS | {name: value})
    try:
        known = about(path)
    except CheckpointError as error:
        message = str(error)
        known = None
    if known is None:
        assert f"about.{name}" in message or f"{name} in about has" in message
        return
    fits = {
        "data": str, "classes": list, "mean": list, "std": list, "image_size": int, "epoch": int,
        "test_accuracy": (int, float), "recipe": dict, "started_from": dict,
    }  # fmt: skip
    assert isinstance(known[name], fits[name])
    load(path)


def test_facts_that_could_not_be_read_are_not_written(model, path):
    for facts in ({"classes": ["only one"]}, {"std": [0]}, {"x": {1, 2}}, {"image_size": "28"}):
        with pytest.raises(CheckpointError):
            save(model, path, facts)
    assert not path.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"depths": [10**7, 1]}, {"channels": [10**9, 4]}, {"channels": [4, 4 * 10**8]}, {"num_classes": 10**12},
        {"in_channels": 10**15}, {"expansions": [10**10, 1]}, {"kernel_sizes": [10**8 + 1, 3]},
        {"stem_channels": 10**9}, {"depths": [10**400, 1]}, {"grid_sizes": [10**18]}, {"stem_strides": [2**62, 2]},
        {"head_dim": 0},
        {"name": ["custom"]}, {"name": None}, {"in_channels": [1, 1]}, {"channels": "44"}, {"channels": [[4], 4]},
        {"drop_rate": "0"}, {"drop_rate": None}, {"depths": [True, 1]}, {"unknown": 1}, {"name": "x" * 10**6},
    ],
    ids=lambda change: f"{change!r:.30}",
)  # fmt: skip
def test_a_configuration_that_the_tensors_cannot_fill_is_refused_at_once(model, path, change):
    older(path, model, config=asdict(SMALL) | change)
    began, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refuse(path, "configuration this version does not understand")
    assert time.process_time() - began < 5  # a tenth of a second
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000  # kB


def test_dtypes_that_are_mixed_or_no_floats_are_refused_by_name(model, path):
    tensors = model.state_dict()
    name = "classifier.weight"
    for dtype, message in (
        (torch.float16, rf"several dtypes: .*1 torch.float16 \(such as {name}\)"),
        (torch.int32, rf"not floating \(1\): {name}"),
        (torch.bool, rf"not floating \(1\): {name}"),
        (torch.float8_e4m3fn, rf"{name}"),
        (torch.complex64, rf"not floating \(1\): {name}"),
    ):
        older(path, model, tensors | {name: tensors[name].to(dtype)})
        refuse(path, message, (load,))
    for value in (float("nan"), float("inf")):
        older(path, model, tensors | {name: torch.full_like(tensors[name], value)})
        refuse(path, f"NaN or infinity in {name}", (load,))


def test_a_tensor_under_two_names_is_refused(path):
    model = create_model("micro")
    tensors = model.state_dict()
    first = "stages.0.blocks.0.attention."
    both = tensors | {f"{first}merge_norm.bias": torch.zeros(32)}
    assert f"{first}merge.norm.bias" in tensors
    older(path, model, both)
    refuse(path, "under a former name and the current one: .*merge_norm.bias", (load,))
    twice = state_dict("tiny") | {"module.classifier.1.bias": torch.zeros(1000)}
    with pytest.raises(CheckpointError, match=r"holds classifier.1.bias twice"):
        load_official(twice)


def test_a_header_of_a_hundred_megabytes_is_refused(path):
    path.write_bytes(struct.pack("<Q", 10**8) + b" " * 10**8)
    refuse(path, "its header has 100,000,000 bytes")


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.safetensors")
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "folder.pth").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        listening.bind("socket.pth")
        for name in ("pipe.safetensors", "pipe.pth", "folder.pth", "socket.pth"):
            with pytest.raises(OSError, match=rf"cannot read .*{name}: it is (no regular file|a folder)"):
                read_by_any_command(tmp_path / name)


class Pickled:
    """A pickle that holds what its instructions make."""

    def __init__(self, function, *arguments):
        self.how = function, arguments

    def __reduce__(self):
        return self.how


def test_only_files_with_objects_are_read_with_trust(tmp_path):
    """Advice to trust a damaged file would lead nowhere."""
    path, generator = tmp_path / "x.pth", np.random.default_rng(0)
    for _ in range(200):
        path.write_bytes(b"\x80" + generator.bytes(generator.integers(1, 60)))
        with pytest.raises(CheckpointError) as error:
            load_official(path)
        assert "If you trust" not in str(error.value), path.read_bytes()
    for content in (Pickled(os.getcwd), Pickled(print, 1), Path("x"), CheckpointError("x"), pickle.Pickler):
        torch.save({"model": content}, path)
        with pytest.raises(CheckpointError, match="holds more than tensors .*If you trust the file"):
            load_official(path)


@pytest.mark.filterwarnings("ignore:.*quantize")
def test_pickles_of_other_tensors_are_refused_by_name(tmp_path):
    path, name = tmp_path / "x.pth", "classifier.1.weight"
    for tensor, message in (
        (torch.zeros(1000, 384).to_sparse(), "classifier.1.weight, which is torch.sparse_coo"),
        (torch.zeros(1000, 384, device="meta"), "without data"),
        (torch.zeros(1).expand(10**9, 384), "of shape .1000000000, 384., which repeats 4 bytes"),
        (torch.quantize_per_tensor(torch.zeros(1000, 384), 1.0, 0, torch.qint8), "quantised|truncated|more than"),
        (torch.zeros(1000, 384, dtype=torch.complex64), rf"not floating \(1\): {name}"),
        (torch.zeros(1000, 384).to(torch.float8_e5m2), rf"not supported \(1\): {name} torch.float8_e5m2"),
        (torch.full((1000, 384), torch.nan), "NaN or infinity"),
        (torch.zeros(10**15, 0), "of another shape"),
    ):
        torch.save(state_dict("tiny") | {name: tensor}, path)
        with pytest.raises(CheckpointError, match=message):
            load_official(path)


def test_deep_and_circular_dictionaries_end(tmp_path):
    deep: dict[object, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    circle: dict[object, object] = {5: {}, None: torch.zeros(1), ("k",): 3}
    circle["self"] = circle
    wide = {"x": 1}
    for _ in range(60):
        wide = {"a": wide, "b": wide}
    for content in (deep, circle, wide):
        with pytest.raises(CheckpointError, match="not a checkpoint of HAT-Net"):
            load_official(content)
    torch.save(circle, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="not a checkpoint of HAT-Net|more than tensors"):
        load_official(tmp_path / "x.pth")


def test_a_file_that_unpacks_to_more_than_its_size_is_refused(tmp_path):
    stored, path = io.BytesIO(), tmp_path / "bomb.pth"
    torch.save({"a": torch.zeros(10**6)}, stored)
    with zipfile.ZipFile(stored) as original, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in original.infolist():
            packed.writestr(entry.filename, original.read(entry))
    assert path.stat().st_size < 10**5
    with pytest.raises(CheckpointError, match=r"would unpack to 4,\d*,\d* bytes, more than its own"):
        load_official(path)
