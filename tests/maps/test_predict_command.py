"""`hatnet predict` writes a figure and JSON, prints a table, reports bad files once, and refuses bad input early."""

import json
import os
from functools import partial
from xml.etree import ElementTree

import pytest
from PIL import Image

import hatnet
from hatnet.data.image_file import CHELSEA
from tests.images import write_image

SHIPPED = ("--weights", "fashion-mnist")


@pytest.fixture
def run(hatnet_command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return partial(hatnet_command, "predict")


def test_one_command_writes_a_figure_and_json_and_prints_a_table(run, tmp_path):
    image = write_image(tmp_path / "mine.png", (28, 28), "L")
    status, out, err = run(image, *SHIPPED, "--top", 2)
    assert (status, err) == (0, "")
    (found,) = hatnet.predict(image, "fashion-mnist", top=2)
    assert found.best in out
    assert f"{100 * found.probabilities[0]:.1f} %" in out
    assert "right on 94.6% of its test images" in " ".join(out.split())
    paths = [tmp_path / f"mine-prediction{suffix}" for suffix in (".png", ".svg", ".json")]
    assert out.split()[-3:] == [str(path) for path in paths]
    facts = json.loads(paths[2].read_text())
    (record,) = facts["predictions"]
    assert (record["class"], record["probability"]) == (found.best, found.probabilities[0])
    assert [each["class"] for each in record["top"]] == list(found.classes)
    assert [each["label"] for each in record["top"]] == list(found.labels)
    assert record["class map"] == found.class_map.round(6).tolist()
    assert facts["unreadable"] == facts["changed"] == []
    with Image.open(paths[0]) as figure:
        assert figure.width > figure.height > 300
    drawing = paths[1].read_text()
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert f"mine.png: {found.best}" in drawing  # the description, for screen readers


def test_odd_names_and_unreadable_files_neither_end_the_command_nor_change_its_output(run, tmp_path):
    (tmp_path / "in[").mkdir()  # in[/red] would be an error in the markup of rich, $ mathematics in a figure
    good = write_image(tmp_path / "in[" / "red]a$b_$ [bold]x.png")
    write_image(tmp_path / "in[" / "z.png")
    bad = tmp_path / "in[" / "sad].png"
    bad.write_text("no image")
    status, out, err = run("in[", *SHIPPED, "--maps", 1)
    assert status == 1
    assert err.count("left out: in[/sad].png cannot be read as an image") == 1
    assert "in[/red]a$b_$ [bold]x.png" in " ".join(out.split())
    assert "The first 1 of 2 images have a class map; --maps sets how many." in " ".join(out.split())
    facts = json.loads((tmp_path / "predictions.json").read_text())
    assert [each["image"] for each in facts["predictions"]] == [f"in[/{good.name}", "in[/z.png"]
    assert [each["class map"] is None for each in facts["predictions"]] == [False, True]
    assert [each["image"] for each in facts["unreadable"]] == ["in[/sad].png"]
    assert (tmp_path / "predictions.png").stat().st_size > 1000
    status, _, err = run(bad, *SHIPPED, "--out", "none.json")
    assert (status, "none of 1 files can be read as an image" in err) == (2, True)
    assert not (tmp_path / "none.json").exists()


def test_a_suffix_chooses_the_only_file_and_equal_runs_give_equal_files(run, tmp_path):
    for name in ("a.svg", "b.svg", "c.JSON"):
        assert run(CHELSEA, *SHIPPED, "--out", name)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "b.svg", "c.JSON"]
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no images are given"),
        (["none.png"], "no image file or folder at none.png"),
        (["."], "no images in ."),
        ([CHELSEA, "--top", 0], "top=0 must be a whole number of at least 1"),
        ([CHELSEA, "--maps", 0], "maps=0 must be a whole number from 1 to 200"),
        ([CHELSEA, "--maps", 10**6], "maps=1000000 must be a whole number from 1 to 200"),
        ([CHELSEA, "--memory", "inf"], "memory=inf must be a finite number of GiB"),
        ([CHELSEA, "--background", "blurple"], "background='blurple' must be an opaque colour"),
        ([CHELSEA, "--device", "meta"], "device 'meta' can't be used here"),
        ([CHELSEA, "--out", "page.html"], "with .json for the numbers, or without a suffix for all three"),
        ([CHELSEA, "--out", "nowhere/x"], "no folder nowhere to write x to"),
        ([CHELSEA, "--grid-sizes", 7], "grid_sizes=(7,) must have 2 entries"),
        ([CHELSEA, "--weights", "x.pth"], "--weights and --weights all choose the weights; give --weights once"),
    ],
)
def test_bad_input_is_named_before_the_network_runs(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(hatnet.HATNet, "forward", lambda *_: pytest.fail("the network ran"))
    status, _, err = run(*SHIPPED, *arguments)
    assert status == 2
    assert message in err
    assert not list(tmp_path.iterdir())


def test_weights_must_be_named_because_any_would_predict_something(run):
    status, _, err = run(CHELSEA)
    assert (status, "give --weights: fashion-mnist (comes with the package" in err) == (2, True)


def test_links_to_themselves_devices_and_inputs_are_never_written(run, tmp_path):
    (tmp_path / "loop.json").symlink_to("loop.json")
    image = write_image(tmp_path / "mine.png")
    for out, message in (("loop.json", "cannot be written"), ("mine.png", "would overwrite the file it is made from")):
        status, _, err = run(image, *SHIPPED, "--out", out)
        assert (status, message in err) == (2, True), err
    os.mkfifo(tmp_path / "pipe.json")
    status, _, err = run(image, *SHIPPED, "--out", "pipe.json")
    assert (status, "is a device or a pipe, not a file" in err) == (2, True)
