"""The network and the task of the questions: their cost, what each arm can see, and runs that resume."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hatnet.data.images import UNKNOWN
from hatnet.layers import GroupNorm
from hatnet.network import HATNet
from hatnet.studies.ablation import ARMS, Settings, build, timing
from hatnet.studies.ablation.answers import ACCURACY, Answers
from hatnet.studies.ablation.matching import MatchedArm
from hatnet.studies.ablation.one_stage import CONFIG, match_macs
from hatnet.studies.ablation.questions import SIDE, open_question
from hatnet.studies.ablation.record import DATA
from hatnet.studies.ablation.runs import Ablation, trainer
from hatnet.training import Monitor
from tests.cases import randomise
from tests.studies.ablation.conftest import CPU
from tests.training.runs import ALONE

ARMS_OF_A_QUESTION = DATA["question-near"].arms
OWN_COST = [f"{arm}-own" for arm in ARMS_OF_A_QUESTION[1:]]
SETTINGS = Settings.of("question-near", epochs=1)


def network(arm):
    return build(SETTINGS.matched(arm)).eval()


@pytest.mark.parametrize("arm", [*ARMS_OF_A_QUESTION, *OWN_COST])
def test_counted_parameters_and_macs_are_those_of_the_network(arm):
    matched, counter = SETTINGS.matched(arm), FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        answers = network(arm)(torch.zeros(1, 3, SIDE, SIDE))
    assert answers.shape == (1, 2, 32, 32)
    assert sum(parameter.numel() for parameter in network(arm).parameters()) == matched.cost.parameters
    assert counter.get_total_flops() == 2 * matched.cost.total_macs


def test_macs_are_equal_or_mlps_are():
    """Equal to 0.2 %, by the nearest width; at their own cost all arms are cheaper than H-MHSA."""
    base = SETTINGS.matched("h-mhsa")
    for arm in ARMS_OF_A_QUESTION:
        assert SETTINGS.matched(arm).cost.total_macs == pytest.approx(base.cost.total_macs, rel=0.002)
    for arm in OWN_COST:
        assert SETTINGS.matched(arm).widths == base.widths
        assert SETTINGS.matched(arm).cost.total_macs < base.cost.total_macs


def test_the_network_is_stage_0_of_a_hat_net():
    """The map before the last norm is that of a HAT-Net with the same weights, but for the norms."""
    torch.manual_seed(0)
    one, whole = network("h-mhsa"), HATNet(CONFIG).eval()
    randomise(one)
    SETTINGS.matched("h-mhsa").adapt(whole.eval())
    whole.eval()
    whole.load_state_dict(one.state_dict(), strict=False)
    image = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        (found,) = one.forward_features(image)
        torch.testing.assert_close(found, whole.forward_features(image)[0])
    windows = CONFIG.with_dense_windows()
    assert (windows.grid_sizes, CONFIG.pool_sizes, CONFIG.depths[0]) == (CONFIG.grid_sizes, (16,), 2)


@pytest.mark.parametrize("arm", ["small-windows", "fine-cells-own"])
def test_arms_for_three_stages_are_errors_before_any_work(arm, tmp_path):
    with pytest.raises(ValueError, match=f"the arm '{arm}' has G1 and G2 for three stages.*choose from h-mhsa, local"):
        Ablation(SETTINGS, [arm], 1, tmp_path / "out", CPU)
    assert not (tmp_path / "out").exists()


def test_plain_attention_is_too_expensive_for_equal_macs():
    with pytest.raises(ValueError, match="no width gives plain MHSA the MACs of H-MHSA"):
        match_macs(ARMS["mhsa"], SIDE)


@pytest.mark.parametrize("arm", ARMS_OF_A_QUESTION)
def test_no_norm_carries_information_from_token_to_token(arm):
    assert not any(isinstance(module, GroupNorm) for module in network(arm).modules())
    assert any(isinstance(module, GroupNorm) for module in build(Settings("fashion-subset", 1).matched(arm)).modules())


def seen(arm, token):
    """Pixels that change the answer at a token, (128, 128) bool."""
    torch.manual_seed(0)
    model = network(arm).double()
    randomise(model)
    image = torch.rand(1, 3, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    model(image)[0, 0, token[0], token[1]].backward()
    return image.grad[0].abs().sum(0) > 0


def test_convolutions_see_only_the_disc_itself():
    """11 pixels around its centre; those of the next disc begin 12 pixels away."""
    rows, columns = seen("none", (10, 18)).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (29, 51, 61, 83)


def test_near_attention_sees_its_window_and_the_windows_beside_it():
    rows, columns = seen("local", (10, 18)).nonzero().T
    assert 0 <= rows.min() < 32
    assert rows.max() < 96 + 8
    assert 32 - 8 <= columns.min() < 64
    assert columns.max() < 128
    corner = seen("local", (2, 30))
    assert corner[:64, 64:].any()
    assert not corner[64 + 8 :].any()
    assert not corner[:, : 64 - 8].any(), "the legend is at least a window away"


@pytest.mark.parametrize("arm", ["h-mhsa", "global", "pvt"])
def test_far_attention_sees_the_whole_image(arm):
    assert seen(arm, (10, 18)).float().mean() > 0.99


def test_only_discs_that_are_asked_count():
    """Accuracy and loss by hand: two answers, one of them right."""
    labels = torch.full((1, 4, 4), UNKNOWN)
    labels[0, 0, 0], labels[0, 2, 1] = 1, 0
    logits = torch.randn(1, 2, 4, 4)
    logits[0, :, 0, 0], logits[0, :, 2, 1] = torch.tensor([0.0, 3.0]), torch.tensor([1.0, 2.0])
    model = nn.Identity()
    model.config = CONFIG
    found = Answers().evaluate(model, [(logits, labels)], ALONE, None)
    expected = (torch.tensor([-3.0, 1.0]).exp() + 1).log().mean()
    assert ACCURACY.value(found) == 0.5
    assert found.loss == pytest.approx(float(expected))
    assert float(Answers().loss(model, logits, labels, SETTINGS.recipe(0))) == pytest.approx(float(expected))


def test_stopped_run_resumes_to_the_same_bits(tmp_path):
    train = trainer(replace(SETTINGS, batch_size=4), open_question("near", training=8, tests=2), CPU, 0)
    whole = train("none", 3, tmp_path / "whole", Monitor())
    assert train("none", 3, tmp_path / "stopped", Monitor(stop=True)) is None
    resumed = train("none", 3, tmp_path / "stopped", Monitor())
    for name in ("train_loss", "test_loss", "test_accuracy"):
        assert [row[name] for row in whole] == [row[name] for row in resumed]


def test_arms_of_a_question_are_timed(monkeypatch):
    monkeypatch.setattr(timing, "BATCH", 2)
    for times in timing.measure_times(SETTINGS, ["none", "local"], CPU, Monitor(), rounds=1):
        assert {arm: len(seconds) for arm, seconds in times.seconds.items()} == {"none": 1, "local": 1}


def test_settings_of_a_question():
    """A mirrored image would shift all discs by one pixel against the tokens."""
    assert (SETTINGS.flip, SETTINGS.batch_size, SETTINGS.recipe(2).seed) == (False, 32, 2)
    assert Settings.of("cifar10") == Settings("cifar10", 40)
    assert not isinstance(Settings.of("cifar10").task, Answers)
    assert MatchedArm.network is HATNet


@pytest.mark.long
def test_near_attention_learns_the_near_question(tmp_path):
    data = open_question("near", training=32 * 50, tests=32)
    (row,) = trainer(SETTINGS, data, CPU, 0)("local", 0, tmp_path, Monitor())
    assert row["test_accuracy"] > 0.9
