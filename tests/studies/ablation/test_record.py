"""The record of an ablation, its statistics, and the command, which checks its input before any work starts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hatnet.cli.ablation import ablation
from hatnet.cli.main import main
from hatnet.studies.ablation import ARMS, Settings, read, write
from hatnet.studies.ablation.runs import Ablation
from hatnet.studies.ablation.statistics import differences, residual_deviation
from hatnet.studies.ablation.tables import findings, results
from hatnet.studies.common.statistics import t_quantile
from tests.studies.ablation.conftest import make_record, make_times

accuracies = st.floats(0, 1).map(lambda value: round(value, 6))


@settings(max_examples=20)
@given(st.lists(st.lists(accuracies, min_size=2, max_size=2), min_size=1, max_size=4))
def test_record_is_read_as_it_was_written(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("record") / "ablation.json"
    record = make_record(dict(zip(ARMS, table, strict=False)))
    write(record, path)
    assert read(path) == record


def test_accuracy_is_that_of_the_last_epoch():
    """No epoch is chosen by its test accuracy."""
    record = make_record({"h-mhsa": [0.8]})
    record.runs[0].accuracy = [0.9, 0.7]
    assert record.accuracies("h-mhsa") == {0: 0.7}


def test_difference_and_margin_equal_values_by_hand():
    """Two arms and two seeds have one degree of freedom; the differences are 1 and 3 points."""
    difference = differences(make_record({"h-mhsa": [0.80, 0.80], "local": [0.81, 0.83]}))["local"]
    assert difference.points == pytest.approx((1, 3))
    assert (difference.mean, difference.error) == pytest.approx((2, 1))  # 1 is sqrt(2) / sqrt(2)
    assert residual_deviation([[80, 80], [81, 83]]) == pytest.approx(1)  # +-0.5 four times, one degree of freedom
    assert difference.margin == pytest.approx(t_quantile(1) * 1)
    assert difference.verdict == "unclear"


@settings(max_examples=30)
@given(*(st.lists(st.integers(-50, 50), min_size=count, max_size=count) for count in (3, 4)))
def test_effects_of_arms_and_seeds_leave_no_residual(by_arm, by_seed):
    assert residual_deviation([[a + s for s in by_seed] for a in by_arm]) == pytest.approx(0, abs=1e-12)


def test_seeds_that_agree_exactly_give_no_interval():
    """Not a difference of 0.00 points that may be chance."""
    record = make_record({"h-mhsa": [1.0, 1.0], "local": [0.5, 0.5]})
    assert findings(record)[0] == "All 2 seeds of each arm agree exactly, so their spread gives no interval."
    assert differences(record)["local"].verdict == "worse"


def test_only_seeds_that_every_arm_has_finished_are_compared():
    record = make_record({"h-mhsa": [0.8, 0.8, 0.8], "local": [0.9, 0.9]})
    assert differences(record)["local"].points == pytest.approx((10, 10))


def test_one_seed_gives_no_estimate_of_the_spread():
    record = make_record({"h-mhsa": [0.8], "local": [0.9]})
    assert "One seed" in findings(record)[0]
    assert "nan" not in str(results(record))


def test_command_prints_and_draws_a_kept_record(tmp_path, capsys):
    write(make_record({"h-mhsa": [0.8, 0.82], "none": [0.7, 0.72]}), tmp_path / "record.json")
    ablation(record=tmp_path / "record.json", figure=tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
    assert "no attention" in capsys.readouterr().out


def test_command_trains_the_arms_of_a_question_on_its_images(tmp_path, monkeypatch):
    opened = []

    def trainer(settings, data, *_):
        opened.append((settings, data))
        return lambda *_: [{"test_accuracy": 0.5, "train_loss": 0.7, "seconds": 1.0}] * settings.epochs

    monkeypatch.setattr("hatnet.cli.ablation.trainer", trainer)
    monkeypatch.setattr("hatnet.studies.ablation.runs.measure_times", lambda *_: make_times(ARMS))
    ablation(data="question-far", seeds=1, out=tmp_path, device="cpu")
    ((settings, data),) = opened
    assert settings == Settings.of("question-far")
    assert (data.name, len(data.train), len(data.test)) == ("question-far", 4096, 512)
    record = read(tmp_path / "ablation.json")
    assert record.arms == ["h-mhsa", "local", "global", "pvt", "none"]
    assert record.settings == settings
    assert {path.name for path in tmp_path.iterdir()} == {"ablation.json", "ablation.txt", "ablation.svg"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "locl"], "unknown arm 'locl', did you mean 'local'?"),
        (["--arms", "local", "local"], "none twice"),
        (["--seeds", "0"], "seeds=0 must be a whole number from 1 to 1000"),
        (["--epochs", "0"], "epochs=0 must be a whole number from 1 to 100000"),
        (["--data", "question-far", "--arms", "fine-cells"], "the arm 'fine-cells' has G1 and G2 for three stages"),
        (["--data", "question-nea"], "unknown data 'question-nea', did you mean 'question-near'?"),
        (["--data", "fashion-mnst"], "unknown data 'fashion-mnst', did you mean 'fashion-mnist'?"),
        (["--out", "FILE"], "is a file, so no run can be written to"),
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


def test_residual_deviation_is_computed_in_float64():
    table = np.random.default_rng(0).uniform(80, 81, (3, 4)).astype(np.float32)
    assert residual_deviation([list(row) for row in table]) == pytest.approx(
        residual_deviation(table.astype(float).tolist()), rel=1e-12
    )
