"""The paper's question in small: equal parameters and MACs, who sees whom, nothing lost, and what the page says."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hatnet.cli.ablation import ablation
from hatnet.cli.main import main
from hatnet.complexity import mhsa, network, total
from hatnet.data import ImageTensor, Split, open_data
from hatnet.layers import GroupNorm
from hatnet.studies.ablation import ARMS, MATCHED, Record, Settings, build, fit, read, write
from hatnet.studies.ablation.arms import BASE, CONFIG
from hatnet.studies.ablation.matching import TOLERANCE, parts
from hatnet.studies.ablation.measurement import Ablation, machine, measure_times, trainer
from hatnet.studies.ablation.record import DATA, Network, Run, Times, differences
from hatnet.studies.ablation.statistics import complete_seeds, residual
from hatnet.studies.ablation.statistics import differences as against_base
from hatnet.studies.ablation.tables import findings, relative_time, results
from hatnet.studies.common.statistics import t_quantile
from hatnet.training import Monitor as Watch
from hatnet.training import Processes as World
from hatnet.training import Training
from hatnet.training.state import load_state
from tests.pictures import assert_same_picture

DOCS = Path(__file__).parents[2] / "docs"
CPU = torch.device("cpu")
SETTINGS = Settings("fashion-subset", epochs=1)
arms = pytest.mark.parametrize("arm", ARMS)


# --- What is held equal ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", MATCHED)
@pytest.mark.parametrize("data", DATA)
def test_every_arm_has_the_parameters_and_macs_of_h_mhsa_to_a_thousandth(arm, data):
    fitted, base = (Settings(data, 1).fit(name).cost for name in (arm, BASE))
    assert fitted.parameters == pytest.approx(base.parameters, rel=TOLERANCE)
    assert fitted.total_macs == pytest.approx(base.total_macs, rel=TOLERANCE)


@arms
def test_counted_parameters_are_those_of_the_module(arm):
    fitted = fit(ARMS[arm])
    assert sum(parameter.numel() for parameter in build(fitted).parameters()) == fitted.cost.parameters


@arms
def test_counted_macs_are_those_a_counter_sees(arm):
    """FlopCounterMode with explicit scores, and windows that divide the maps, since PyTorch pads others."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fitted = fit(ARMS[arm])
    grids = tuple(math.gcd(14 // 2**stage, size) for stage, size in enumerate(fitted.arm.grid_sizes))
    whole = replace(ARMS[arm], grid_sizes=grids, pool_sizes=(7, 7))
    fitted = replace(fitted, arm=whole, config=whole.config())
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        build(fitted).eval()(torch.zeros(1, 1, 28, 28))
    assert counter.get_total_flops() == 2 * fitted.cost.total_macs


def test_h_mhsa_keeps_the_widths_of_its_configuration_and_is_the_project_s_own_network():
    fitted = fit(ARMS[BASE])
    assert fitted.widths == tuple(stage.expansion * stage.channels for stage in CONFIG.stages)
    assert fitted.cost == total(network(CONFIG, 28, 28))


@pytest.mark.parametrize("arm", [name for name in ARMS if name not in MATCHED])
def test_an_arm_at_its_own_cost_keeps_the_mlps_and_no_other_has_its_macs(arm):
    fitted, base = fit(ARMS[arm]), fit(ARMS[BASE])
    assert fitted.widths == base.widths
    assert fitted.cost.parameters == base.cost.parameters, "G1 and G2 hold no parameters"
    assert fitted.cost.total_macs != base.cost.total_macs


@pytest.mark.parametrize("arm", ["global", "mhsa", "coarse-cells"])
def test_no_widths_that_solve_both_equations_are_nearer_to_those_of_h_mhsa(arm):
    """By brute force: what is nearer does not solve them as well as rounded solutions do."""
    found, base = fit(ARMS[arm]), fit(ARMS[BASE])
    w = np.stack(np.meshgrid(np.arange(1, 250, 2), np.arange(1, 500, 3), np.arange(1, 500, 3), indexing="ij"))
    columns = w.reshape(3, -1)

    def cost(widths):
        made = total(parts(ARMS[arm], found.config, 28, widths))
        return np.array([made.parameters, made.total_macs])

    empty = cost((0, 0, 0))
    units = np.stack([cost(one) - empty for one in ((1, 0, 0), (0, 1, 0), (0, 0, 1))], axis=1)  # (2, 3)
    target = np.array([base.cost.parameters, base.cost.total_macs])
    off = np.abs((empty[:, None] + units @ columns) / target[:, None] - 1).max(axis=0)
    distance = ((columns / np.array(base.widths)[:, None] - 1) ** 2).sum(axis=0)
    chosen = ((np.array(found.widths) / base.widths - 1) ** 2).sum()
    assert off[distance < chosen].min(initial=1) > TOLERANCE / 10


def test_an_arm_that_can_t_be_matched_is_refused():
    """Windows as large as a map of 14 x 14 at 64 pixels more cost more than all MLPs have to give."""
    with pytest.raises(ValueError, match="no widths give plain MHSA the parameters and MACs of H-MHSA"):
        fit(ARMS["mhsa"], image_size=96)


@arms
def test_the_last_stage_keeps_plain_attention(arm):
    """As in Table 5 of the paper, which changes the stages before it."""
    fitted = fit(ARMS[arm])
    cost = {part.name: part.cost for part in parts(ARMS[arm], fitted.config, 28, fitted.widths)}
    assert cost["stages.2.blocks.0.attention"] == mhsa(4, 4, 64)


# --- Who sees whom ---------------------------------------------------------------------------------------------------


def without_norms(module):
    """Norms over the map let every token change every other a little; without them only attention is left."""
    for name, child in module.named_children():
        if isinstance(child, GroupNorm):
            setattr(module, name, torch.nn.Identity())
    return module


def seen(arm, token, side=14):
    """Which tokens change the output at one token, (side, side), by the gradient, in stage 0."""
    torch.manual_seed(0)
    stage = ARMS[arm].config().stages[0]
    module = without_norms(ARMS[arm].attention(stage)).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(1, side, side, stage.channels, dtype=torch.float64, requires_grad=True)
    module(x)[0, token[0], token[1]].sum().backward()
    return x.grad[0].abs().sum(-1) > 0 if x.grad is not None else torch.zeros(side, side, dtype=torch.bool)


@settings(max_examples=20)
@given(token=st.tuples(st.integers(0, 13), st.integers(0, 13)))
@example(token=(6, 7))  # beside a border of windows
def test_local_attention_sees_its_window_and_nothing_else(token):
    """Eq. 6-8: the gradient is exactly zero outside a window of 7 x 7."""
    top, left = 7 * (token[0] // 7), 7 * (token[1] // 7)
    want = torch.zeros(14, 14, dtype=torch.bool)
    want[top : top + 7, left : left + 7] = True
    assert torch.equal(seen("local", token), want)


@pytest.mark.parametrize("arm", ["h-mhsa", "global", "mhsa", "pvt", "small-windows", "coarse-cells"])
def test_every_other_attention_sees_the_whole_map(arm):
    """Eq. 10-13, Eq. 1-3."""
    assert seen(arm, (3, 10)).all()


def test_no_attention_gives_zeros_whatever_it_is_given():
    stage = CONFIG.stages[0]
    x = torch.randn(2, 14, 14, stage.channels)
    assert not ARMS["none"].attention(stage)(x).any()


def test_without_attention_a_block_mixes_through_its_convolution_alone():
    """A token then changes its neighbours in a 3 x 3 square, once the norms, which look at the whole map, are out."""
    block = build(fit(ARMS["none"])).stages[0].blocks[0].double()
    without_norms(block.mlp)
    x = torch.randn(1, 14, 14, 16, dtype=torch.float64, requires_grad=True)
    block(x)[0, 5, 9].sum().backward()
    want = torch.zeros(14, 14, dtype=torch.bool)
    want[4:7, 8:11] = True
    assert torch.equal(x.grad[0].abs().sum(-1) > 0, want)


# --- Runs ------------------------------------------------------------------------------------------------------------


def rows(accuracy):
    return [{"test_accuracy": accuracy, "train_loss": 0.5, "seconds": 2.0}]


class Trainer:
    """Says what it was asked to train, and stops before the run of that number."""

    def __init__(self, stop_at=math.inf):
        self.asked, self.stop_at = [], stop_at

    def __call__(self, arm, seed, folder, watch):
        if len(self.asked) == self.stop_at:
            return None
        self.asked.append((arm, seed))
        folder.mkdir(parents=True)
        (folder / "last.safetensors").write_bytes(b"")
        (folder / "run.json").write_text("{}")
        return rows(0.8 + seed / 100)


@pytest.fixture
def untimed(monkeypatch):
    """No timing: a value for each arm."""
    found = [Times(what, "cpu", 64, {arm: [1e-3, 2e-3] for arm in ARMS}) for what in ("forward", "step")]
    monkeypatch.setattr("hatnet.studies.ablation.measurement.measure_times", lambda *_: found)


@pytest.mark.usefixtures("untimed")
@settings(max_examples=5)
@given(stop_at=st.integers(0, 6))
def test_an_ablation_that_was_stopped_goes_on_with_what_is_missing(tmp_path_factory, stop_at):
    """All arms of one seed, then those of the next; what is in the record is not run again."""
    folder, names = tmp_path_factory.mktemp("out"), ["none", "local", "h-mhsa"]
    first, second = Trainer(stop_at), Trainer()
    done = Ablation(SETTINGS, names, 2, folder, CPU).run(first, Watch())
    assert done == (stop_at == 6)
    assert len(read(folder / "ablation.json").runs) == stop_at
    assert Ablation(SETTINGS, names, 2, folder, CPU).run(second, Watch())
    assert first.asked + second.asked == [(arm, seed) for seed in (0, 1) for arm in names]
    assert not list(folder.rglob("*.safetensors"))


def test_nothing_is_begun_after_ctrl_c(tmp_path):
    train = Trainer()
    assert not Ablation(SETTINGS, ["none"], 1, tmp_path, CPU).run(train, Watch(stop=True))
    assert train.asked == []


@pytest.mark.usefixtures("untimed")
def test_arms_and_seeds_can_be_added_later(tmp_path):
    for names, seeds, want in ((["local"], 1, 1), (["local", "h-mhsa"], 2, 3), (["local"], 2, 0)):
        work, train = Ablation(SETTINGS, names, seeds, tmp_path, CPU), Trainer()
        work.run(train, Watch())
        assert len(train.asked) == want
    assert complete_seeds(work.record) == [0, 1]


def small_split():
    data = open_data("fashion-subset")
    train, test = (part.part(torch.arange(count)) for part, count in ((data.train, 256), (data.test, 40)))
    return Split(data.name, ImageTensor(train.pixels, train.labels), test, data.classes, data.mean, data.std)


def test_a_run_is_stopped_and_gone_on_from_to_the_same_bits(tmp_path):
    """Through the project's own training, with an arm of its own network; stopped after the first step."""
    train = trainer(Settings("fashion-subset", epochs=2), small_split(), CPU, 0)
    whole = train("local", 3, tmp_path / "whole", Watch())
    assert train("local", 3, tmp_path / "stopped", Watch(stop=True)) is None
    assert load_state(tmp_path / "stopped" / "state.safetensors")[0].step == 1
    again = train("local", 3, tmp_path / "stopped", Watch())
    kept = ("train_loss", "test_loss", "test_accuracy")
    assert [[row[key] for key in kept] for row in whole] == [[row[key] for key in kept] for row in again]


def test_arms_are_trained_with_one_recipe_on_the_same_images_in_the_same_order(tmp_path):
    data = small_split()
    recipe = SETTINGS.recipe(5)
    trained = {}
    for arm in ("local", "pvt"):
        fitted = SETTINGS.fit(arm)
        trained[arm] = Training(
            recipe, data, tmp_path / arm, World(0, 1, CPU), build=lambda _, fitted=fitted: build(fitted)
        )
    for (images, labels), (others, other_labels) in zip(
        *(list(zip(range(2), training.batches, strict=False)) for training in trained.values()), strict=True
    ):
        assert images == others
        assert torch.equal(labels[0], other_labels[0])
        assert torch.equal(labels[1], other_labels[1])


def test_times_are_taken_in_turns_of_every_arm():
    found = measure_times(SETTINGS, ["none", "h-mhsa"], CPU, Watch(), rounds=2)
    assert [times.what for times in found] == ["forward", "step"]
    for times in found:
        assert {arm: len(seconds) for arm, seconds in times.seconds.items()} == {"none": 2, "h-mhsa": 2}
        assert all(second > 0 for seconds in times.seconds.values() for second in seconds)


def test_timing_ends_when_it_is_asked_to(tmp_path):
    assert measure_times(SETTINGS, ["none"], CPU, Watch(stop=True)) is None


# --- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--arms", "locl"], "unknown arm 'locl', did you mean 'local'?"),
        (["--arms", "local", "local"], "none twice"),
        (["--seeds", "0"], "seeds=0 must be a whole number from 1 to 1000"),
        (["--epochs", "0"], "epochs=0 must be a whole number from 1 to 100000"),
        (["--data", "fashion-mnst"], "unknown data 'fashion-mnst', did you mean 'fashion-mnist'?"),
        (["--out", "FILE"], "can't write to the folder"),
        (["--figure", "figure.png"], "name it figure.svg"),
        (["--record", "missing.json"], "no record at missing.json"),
        (["--record", "missing.json", "--out", "there"], "so --out can't be given with it"),
        (["--device", "cuda:99"], "device 'cuda:99' can't be used here"),
        (["--threads", "0"], "threads=0 must be at least 1"),
        (["--workers", "-1"], "workers=-1 must not be negative"),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    monkeypatch.setattr("sys.argv", ["hatnet", "ablation", *arguments])
    monkeypatch.setattr(Ablation, "run", lambda *_: pytest.fail("work began"))
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


def test_a_folder_with_another_ablation_is_refused_and_the_difference_named(tmp_path):
    other = Record("2026-01-01", machine(CPU), Settings("fashion-subset", 7), [])
    write(other, tmp_path / "ablation.json")
    with pytest.raises(ValueError, match=r"another ablation; give another --out:\nepochs: 1 here, 7 there"):
        Ablation(SETTINGS, ["local"], 1, tmp_path, CPU)
    write(replace(other, settings=SETTINGS, machine=other.machine | {"threads": 99}), tmp_path / "ablation.json")
    with pytest.raises(ValueError, match=r"another ablation; give another --out:\nthreads: \d+ here, 99 there"):
        Ablation(SETTINGS, ["local"], 1, tmp_path, CPU)


def test_a_record_of_other_networks_is_not_gone_on_from():
    made = Network.of(SETTINGS.fit("local"))
    record = Record("2026-01-01", {}, SETTINGS, [replace(made, widths=[1, 2, 3])])
    assert "the network local" in differences(record, SETTINGS, {})[0]
    assert not differences(replace(record, networks=[made]), SETTINGS, {})


# --- The record, and what is made of it ------------------------------------------------------------------------------


def drawn_record(table, epochs=2):
    """Accuracies by arm, a value a seed."""
    return Record(
        "2026-01-01T00:00:00+00:00",
        {"cpu": "a CPU", "system": "Linux", "python": "3", "torch": "2", "threads": 1},
        Settings("fashion-subset", epochs),
        [Network.of(SETTINGS.fit(arm)) for arm in table],
        [
            Run(arm, seed, [0.5] * (epochs - 1) + [accuracy], [1.0] * epochs, 1.0, "2026-01-01T00:00:00+00:00")
            for arm, accuracies in table.items()
            for seed, accuracy in enumerate(accuracies)
        ],
        [Times(what, "cpu", 64, {arm: [1e-3, 2e-3] for arm in table}) for what in ("forward", "step")],
    )


accuracies = st.floats(0, 1).map(lambda value: round(value, 6))


@settings(max_examples=20)
@given(st.lists(st.lists(accuracies, min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_record_is_read_as_it_was_written(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("record") / "ablation.json"
    record = drawn_record(dict(zip(ARMS, table, strict=False)))
    write(record, path)
    assert read(path) == record


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "hatnet ablation", "version": 1}'])
def test_something_else_is_not_taken_for_a_record(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(ValueError, match="record of hatnet ablation"):
        read(tmp_path / "record.json")


def test_the_last_epoch_counts_and_not_the_best():
    """No epoch is chosen by looking at the test images."""
    record = drawn_record({"h-mhsa": [0.8]})
    record.runs[0].accuracy = [0.9, 0.7]
    assert record.accuracies("h-mhsa") == {0: 0.7}


def test_a_difference_and_its_margin_by_hand():
    """Two arms, two seeds: one degree of freedom; the differences are 1 and 3 points."""
    difference = against_base(drawn_record({"h-mhsa": [0.80, 0.80], "local": [0.81, 0.83]}))["local"]
    assert difference.points == pytest.approx((1, 3))
    assert difference.mean == pytest.approx(2)
    assert difference.error == pytest.approx(1)  # sqrt(2) / sqrt(2)
    assert residual([[80, 80], [81, 83]]) == pytest.approx(1)  # +-0.5 in four places, one degree of freedom
    assert difference.margin == pytest.approx(t_quantile(1) * 1)
    assert difference.verdict == "unclear"


@given(st.lists(st.integers(-50, 50), min_size=3, max_size=3), st.lists(st.integers(-50, 50), min_size=4, max_size=4))
def test_what_belongs_to_arms_and_seeds_is_no_spread(by_arm, by_seed):
    assert residual([[a + s for s in by_seed] for a in by_arm]) == pytest.approx(0, abs=1e-12)


def test_only_seeds_that_every_arm_has_finished_are_compared():
    record = drawn_record({"h-mhsa": [0.8, 0.8, 0.8], "local": [0.9, 0.9]})
    assert complete_seeds(record) == [0, 1]
    assert len(against_base(record)["local"].points) == 2


def test_one_seed_is_said_to_tell_nothing_about_the_spread():
    record = drawn_record({"h-mhsa": [0.8], "local": [0.9]})
    assert "One seed" in findings(record)[0]
    assert "nan" not in str(results(record))


def test_a_kept_record_is_printed_and_drawn_by_the_command(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    record = drawn_record({"h-mhsa": [0.8, 0.82], "none": [0.7, 0.72]})
    write(record, tmp_path / "record.json")
    ablation(record=tmp_path / "record.json", figure=tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
    assert "no attention" in capsys.readouterr().out


# --- The page --------------------------------------------------------------------------------------------------------

KEPT = DOCS / "measurements" / "ablation-subset-cpu.json"


def test_the_kept_record_is_whole_and_of_the_networks_of_today():
    record = read(KEPT)
    assert not differences(record, record.settings, record.machine)
    assert record.settings == Settings("fashion-subset", DATA["fashion-subset"].epochs)
    assert {(run.arm, run.seed) for run in record.runs} == {(arm, seed) for arm in MATCHED for seed in range(3)}
    assert all(len(run.accuracy) == record.settings.epochs for run in record.runs)
    assert all(set(times.seconds) == set(MATCHED) for times in record.times)


def test_what_the_page_says_of_g1_and_g2_at_their_own_cost_is_in_its_record():
    record = read(KEPT.parent / "ablation-own-cost-cpu.json")
    against, at_equal_cost = against_base(record), against_base(read(KEPT))
    own = [name for name in ARMS if name not in MATCHED]
    assert {(run.arm, run.seed) for run in record.runs} == {(arm, seed) for arm in (BASE, *own) for seed in range(3)}
    assert all(-0.8 < against[arm].mean < 0 for arm in own)
    assert [arm for arm in own if against[arm].verdict != "unclear"] == ["small-windows-own"]
    assert max(own, key=lambda arm: against[arm].mean) == "large-windows-own"
    assert sorted(at_equal_cost, key=lambda arm: at_equal_cost[arm].mean)[0] == "large-windows"
    macs = record.network("large-windows-own").macs / record.network(BASE).macs
    step = next(times for times in record.times if times.what == "step")
    assert (round(macs, 2), round(relative_time(step, "large-windows-own").median, 2)) == (1.22, 1.03)
    base_runs = {run.seed: run.accuracy for run in read(KEPT).runs if run.arm == BASE}
    assert base_runs == {run.seed: run.accuracy for run in record.runs if run.arm == BASE}, "the same bits again"


def test_figures_and_tables_of_the_page_are_those_of_the_kept_record(tmp_path):
    """`python -m hatnet.studies.ablation` makes them."""
    pytest.importorskip("matplotlib")
    from hatnet.studies.ablation.__main__ import make

    for path in make(DOCS, tmp_path):
        kept = DOCS / "measurements" / path.name
        if path.suffix == ".svg":
            assert_same_picture(path, kept)
        else:
            assert path.read_bytes() == kept.read_bytes(), path.name


def test_what_the_page_says_in_words_is_in_the_record():
    """docs/ablation.md; its tables are made from the record, these sentences are not."""
    record = read(KEPT)
    against = against_base(record)
    kinds = ["local", "global", "mhsa", "none"]
    assert max(abs(against[arm].mean) for arm in kinds) < 0.5
    spreads = [100 * (max(found) - min(found)) for found in (record.accuracies(arm).values() for arm in kinds)]
    assert min(spreads) > max(abs(against[arm].mean) for arm in kinds)
    assert {arm for arm, difference in against.items() if difference.verdict == "worse"} == {
        "large-windows",
        "fine-cells",
    }
    assert not any(difference.verdict == "better" for difference in against.values())
    assert 0.95 < against["none"].margin < 1.1  # about one point
    bonferroni = 3.2 / 2.1  # Student's t at 18 degrees of freedom, for 0.05 / 9 and for 0.05
    assert all(abs(difference.mean) < bonferroni * difference.margin for difference in against.values())
    assert [record.network(arm).widths[0] for arm in ("large-windows", "fine-cells", "mhsa", "h-mhsa")] == [
        19,
        87,
        41,
        128,
    ]
    step = next(times for times in record.times if times.what == "step")
    assert round(relative_time(step, "mhsa").median, 2) == 0.79
    assert round(sum(run.seconds for run in record.runs) / 60) == 52
