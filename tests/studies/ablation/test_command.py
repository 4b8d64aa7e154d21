"""The command `hatnet ablation` checks its input before any work starts."""

import pytest

from hatnet.cli.main import main
from hatnet.studies.ablation.runs import Ablation


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "locl"], "unknown arm 'locl', did you mean 'local'?"),
        (["--arms", "local", "local"], "none twice"),
        (["--seeds", "0"], "seeds=0 must be a whole number from 1 to 1000"),
        (["--epochs", "0"], "epochs=0 must be a whole number from 1 to 100000"),
        (["--data", "fashion-mnst"], "unknown data 'fashion-mnst', did you mean 'fashion-mnist'?"),
        (["--out", "FILE"], "cannot write to the folder"),
        (["--figure", "figure.png"], "name it figure.svg"),
        (["--record", "missing.json"], "no record at missing.json"),
        (["--record", "missing.json", "--out", "there"], "so --out "),
        (["--device", "cuda:99"], "device 'cuda:99'"),
        (["--threads", "0"], "threads=0 must be"),
        (["--workers", "-1"], "workers=-1 must be"),
    ],
)
def test_bad_input_is_an_error_before_any_work(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    monkeypatch.setattr("sys.argv", ["hatnet", "ablation", *arguments])
    monkeypatch.setattr(Ablation, "run", lambda *_: pytest.fail("a run started"))
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]
