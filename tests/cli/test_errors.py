"""Wrong input and a full machine end a command with a message that says what to do."""

import pytest
import torch

from hatnet.cli.errors import errors_as_messages
from hatnet.training.loop import NonFiniteLossError
from hatnet.training.progress import Terminated


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("summary", "tny"), "unknown variant 'tny', did you mean 'tiny'"),
        (("summary", "tiny", "--image-size", "224", "31"), "224 x 31 pixels is too small"),
        (("summary", "tiny", "--image-size", "-5", "224", "--json"), "height=-5 must be a whole number of at least 1"),
        (("verify", "--variant", "huge"), "unknown variant 'huge'"),
        (("verify", "--size", 20), "20 x 20 pixels is too small"),
        (("verify", "--image", "none.jpg"), "no image file at none.jpg"),
        (("verify", "--weights", "none.pth"), "no checkpoint file at none.pth"),
        (("verify", "--device", "abacus"), "device 'abacus' can't be used here"),
        (("verify", "--device", "meta"), "device 'meta' can't be used here"),
        (("verify", "--size", 999999), "size=999999 must be a whole number from 1 to 4096"),
        (("verify", "--size", 2000), "in stage 0, but the limit is 4.0 GiB; give a smaller --size"),
        (("verify", "--weights", "fashion-mnst"), "no checkpoint file at fashion-mnst, did you mean 'fashion-mnist'?"),
        (("verify", "--checkpoint", "none.pth"), "no checkpoint file at none.pth"),
        (("verify", "--checkpoint=a.pth", "--pretrained=b"), "--checkpoint and --pretrained all choose the weights"),
        (("docs", "--port", 99999), "port=99999 must be a whole number from 0 to 65535"),
        (("demo", "--out", "no/such/folder/report.html"), "no folder no/such/folder to write report.html to; create"),
        (("demo", "--out", "."), ". is a folder; give --out a name in it, such as hatnet-demo.html"),
        (("demo", "--seed", "-1"), "seed=-1 must be a whole number of at least 0"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(hatnet_command, arguments, message):
    status, _, err = hatnet_command(*arguments)
    assert status == 2
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [("verify", "--dtype", "float8"), ("verify", "--sise", "3"), ("sumary", "tiny")])
def test_unknown_options_are_refused_by_name(hatnet_command, arguments):
    status, out, err = hatnet_command(*arguments)
    assert status == 2
    assert arguments[-2] in out + err or arguments[0] in out + err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("size=0 must be at least 1"), 2, "error: size=0 must be at least 1\n"),
        (MemoryError("9 GB needed"), 2, "error: not enough memory: 9 GB needed; smaller images take less\n"),
        (NonFiniteLossError("loss is nan"), 1, "stopped: loss is nan\n"),
        (ModuleNotFoundError(name="torchvision"), 2, "error: this command needs torchvision: python -m pip install"),
        (torch.OutOfMemoryError("CUDA out of memory.\nDetails"), 2, "error: CUDA out of memory.\nHalve --slice-size"),
        (KeyboardInterrupt(), 130, ""),
        (Terminated(), 143, ""),
        (RuntimeError("[gloo/transport/tcp/pair.cc:5] Connection closed by peer"), 1, "stopped: another process of"),
        (torch.distributed.DistStoreError("timed out\ntraceback"), 1, "stopped: another process of this training has"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_each_kind_of_error_has_its_message_and_status(error, status, message, capsys):
    with pytest.raises(SystemExit) as stop, errors_as_messages():
        raise error
    assert stop.value.code == status
    assert capsys.readouterr().err.startswith(message)


def test_a_bug_is_raised():
    with pytest.raises(RuntimeError, match="a bug"), errors_as_messages():
        raise RuntimeError("a bug")


def test_the_home_folder_is_expanded_in_every_option(hatnet_command, tmp_path, monkeypatch):
    """Also after an equals sign, where shells leave `~` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hatnet_command("recipes", "fashion", "--out=~/a.json")[0] == 0
    assert hatnet_command("recipes", "fashion", "--out", "~/b.json")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]
