"""What is saved for a hub is a file of `hatnet.save`, and loads with its facts."""

import json

import pytest
import torch

pytest.importorskip("huggingface_hub", reason="the extra `timm` is not installed: pip install -e '.[timm]'")

import hatnet
from hatnet.hub import HubHATNet, for_hub
from hatnet.weights.checkpoints import about

FACTS = {"classes": ["cat", "dog"], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "image_size": 64}
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return hatnet.create_model("micro", num_classes=2, grid_sizes=(5, 3))


def test_a_network_comes_back_with_its_facts(model, tmp_path):
    for_hub(model, FACTS).save_pretrained(tmp_path / "new/folder")
    again = HubHATNet.from_pretrained(tmp_path / "new/folder")
    assert (again.config, again.about, again.training) == (model.config, FACTS, False)
    assert torch.equal(again(IMAGES), model.eval()(IMAGES))
    again.save_pretrained(tmp_path / "again")
    assert HubHATNet.from_pretrained(str(tmp_path / "again")).about == FACTS


def test_the_folder_holds_a_file_of_hatnet_and_no_pickle(model, tmp_path):
    for_hub(model, FACTS).save_pretrained(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    hatnet.save(model, tmp_path / "plain", FACTS)
    assert (tmp_path / "model.safetensors").read_bytes() == (tmp_path / "plain").read_bytes()
    assert about(tmp_path / "model.safetensors") == FACTS
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["about"], written["num_classes"], written["grid_sizes"]) == (FACTS, 2, [5, 3])
    assert "library_name: hatnet" in (tmp_path / "README.md").read_text()


def test_names_and_files_of_weights_are_accepted(model, tmp_path):
    shipped = for_hub("fashion-mnist")
    assert (shipped.about["mean"], len(shipped.about["classes"])) == ([0.286], 10)
    hatnet.save(model, tmp_path / "mine.safetensors", FACTS)
    assert for_hub(tmp_path / "mine.safetensors").about == FACTS
    assert for_hub(tmp_path / "mine.safetensors", {}).about == {}


def test_parameters_are_shared(model):
    own = dict(model.named_parameters())
    found = for_hub(model)
    assert found.training
    assert all(parameter.data_ptr() == own[name].data_ptr() for name, parameter in found.named_parameters())


def test_only_the_weights_are_read(model, tmp_path):
    for_hub(model, FACTS).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    assert HubHATNet.from_pretrained(tmp_path).about == FACTS
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        HubHATNet.from_pretrained(tmp_path)


def test_damaged_weights_are_refused(model, tmp_path):
    for_hub(model, FACTS).save_pretrained(tmp_path)
    content = bytearray((tmp_path / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(hatnet.CheckpointError, match="checksum|damaged"):
        HubHATNet.from_pretrained(tmp_path)


def test_what_cannot_be_loaded_is_not_saved_and_leaves_the_folder_as_it_was(model, tmp_path):
    good = for_hub(model, FACTS)
    good.save_pretrained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    good.classifier = torch.nn.Linear(128, 7)
    with pytest.raises(hatnet.CheckpointError, match=r"classifier\.weight"):
        good.save_pretrained(tmp_path)
    with pytest.raises(hatnet.CheckpointError, match="classes in about has 3"):
        for_hub(model, {"classes": ["a", "b", "c"]})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none is neither a folder nor USER/NAME on the hub"):
        HubHATNet.from_pretrained(tmp_path / "none")


def test_a_name_is_downloaded_and_only_its_weights(model, tmp_path, monkeypatch):
    """Instead of the hub, a function that records what is requested."""
    for_hub(model, FACTS).save_pretrained(tmp_path)
    requested = []

    def download(repo_id, filename, **given):
        requested.append((repo_id, filename, given))
        return str(tmp_path / filename)

    monkeypatch.setattr("hatnet.hub.hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    assert HubHATNet.from_pretrained("someone/cats", revision="v2").about == FACTS
    assert requested == [("someone/cats", "model.safetensors", {"revision": "v2"})]
