"""The command `hatnet faithfulness`: it checks its input and its output files before any work starts."""

from pathlib import Path

import pytest

from hatnet.cli.faithfulness import faithfulness
from hatnet.cli.main import main
from hatnet.data import DataError
from hatnet.studies.faithfulness import Settings

KEPT = Path(__file__).parents[3] / "docs" / "measurements" / "faithfulness.json"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "rolout"], "unknown method 'rolout', did you mean 'rollout'?"),
        (["--methods", "rollout", "rollout"], "none twice"),
        (["--baselines", "blurr"], "unknown baseline 'blurr', did you mean 'blur'?"),
        (["--images", "1"], "images=1 must be a whole number from 2 to 100000"),
        (["--images", "15"], "images=15 must be a multiple of the 10 classes, at most 2500"),
        (["--patch", "0"], "patch=0 must be a whole number from 1"),
        (["--steps", "0"], "steps=0 must be a whole number from 1"),
        (["--weights", "missing.safetensors"], "no checkpoint file at missing.safetensors"),
        (["--data", "fashion-subst"], "did you mean 'fashion-subset'?"),
        (["--patch", "28"], "patch=28 cuts images of 28 x 28 pixels into 1 patches, at least 4 are needed"),
        (["--patch", "1024"], "give a smaller patch, such as 4"),
        (["--threads", "0"], "threads=0 must be a whole number from 1"),
        (["--memory", "0"], "memory=0.0 must be a finite number of GiB above 0"),
        (["--memory", "inf"], "memory=inf must be a finite number of GiB above 0"),
        (["--memory", "0.001"], "of 1 image of 28 x 28 pixels take"),
        (["--data", "cifar10"], "Add --download"),
        (["--out", "nowhere/study"], "no folder nowhere"),
        (["--out", "."], ". is a folder; give --out a name in it, such as faithfulness"),
        (["--out", "/"], "/ is a folder; give --out a name in it, such as /faithfulness"),
        (["--record", "missing.json"], "no record at missing.json"),
        (["--record", str(KEPT), "--out", "."], ". is a folder"),
        (["--record", str(KEPT), "--seed", "1", "--data-dir", "x"], "so --data-dir, --seed "),
        (["--record", str(KEPT), "--page", "--out", "x"], "leave out either --page or --out"),
        (["--page"], "give it with --record"),
    ],
)
def test_bad_input_is_an_error_before_any_work(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hatnet", "faithfulness", *arguments])
    monkeypatch.setattr("hatnet.cli.faithfulness.study", lambda *_: pytest.fail("the study started"))
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("obstacle", "words"),
    [
        (lambda folder, _: (folder / "study").mkdir(), "study is a folder; give --out"),
        (lambda folder, _: (folder / "study.json").mkdir(), "study.json is a folder; give --out"),
        (lambda _, patch: patch.setattr("hatnet.cli.study.find_spec", lambda _: None), "the figures need matplotlib"),
        (lambda _, patch: patch.setattr("os.access", lambda *_: False), "to the folder"),
    ],
    ids=["folder of that name", "folder of a file's name", "no matplotlib", "read-only folder"],
)
def test_obstacle_to_the_files_is_an_error_before_the_data_is_opened(obstacle, words, tmp_path, monkeypatch):
    obstacle(tmp_path, monkeypatch)
    monkeypatch.setattr("hatnet.cli.faithfulness.open_data", lambda *_: pytest.fail("the data was opened"))
    with pytest.raises(ValueError, match=words):
        faithfulness(out=tmp_path / "study")


def test_record_is_not_overwritten_by_its_own_tables(tmp_path):
    (tmp_path / "kept.txt").write_bytes(KEPT.read_bytes())
    with pytest.raises(ValueError, match=r"kept.txt would overwrite the file it is made from"):
        faithfulness(record=tmp_path / "kept.txt", out=tmp_path / "kept")


def test_download_is_passed_on(tmp_path, monkeypatch):
    def open_nothing(name, folder, download):
        raise DataError(f"{name} in {folder}: {download}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hatnet.cli.faithfulness.open_data", open_nothing)
    with pytest.raises(DataError, match="cifar10 in kept: True"):
        faithfulness(Settings(data="cifar10"), data_dir=Path("kept"), download=True)
