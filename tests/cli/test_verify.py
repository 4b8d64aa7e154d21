"""The command `hatnet verify`."""

import torch

import hatnet
from hatnet.equivalence import randomise
from tests.core.authors import state_dict


def test_verify_agrees_in_every_precision(hatnet_command):
    for dtype in ("float64", "float32", "bfloat16"):
        status, out, _ = hatnet_command("verify", "--variant", "micro", "--size", 45, "--dtype", dtype)
        assert status == 0, out
        assert "They agree" in out


def test_verify_ends_with_status_1_and_names_the_first_difference(hatnet_command, monkeypatch):
    """The control: a bug in the model is found."""
    import hatnet.layers

    monkeypatch.setattr(hatnet.layers.F, "avg_pool2d", lambda x, k, **_: torch.nn.functional.max_pool2d(x, k))
    status, out, _ = hatnet_command("verify", "--variant", "micro", "--size", 32)
    assert status == 1
    assert "They differ: first at stages.0.blocks.0.attention.global_weights" in out


def test_verify_takes_checkpoints_of_ours_and_of_the_authors(hatnet_command, tmp_path):
    model = hatnet.create_model("micro", num_classes=3)
    randomise(model)
    hatnet.save(model, tmp_path / "ours.safetensors")
    status, out, _ = hatnet_command("verify", "--checkpoint", tmp_path / "ours.safetensors", "--size", 32)
    assert (status, "HAT-Net Micro" in out) == (0, True)
    status, _, err = hatnet_command("verify", "--checkpoint", tmp_path / "ours.safetensors", "--variant", "tiny")
    assert (status, "holds 'micro', not 'tiny'" in err) == (2, True)
    torch.save({"model": state_dict("tiny")}, tmp_path / "HAT-Net_Tiny.pth")
    status, out, _ = hatnet_command("verify", "--checkpoint", tmp_path / "HAT-Net_Tiny.pth", "--size", 64)
    assert (status, "HAT-Net Tiny" in out) == (0, True)
    status, out, _ = hatnet_command("verify", "--pretrained", "fashion-mnist")
    assert (status, "HAT-Net Micro on 28 x 28 pixels" in out) == (0, True)  # grey, of the size of its training
