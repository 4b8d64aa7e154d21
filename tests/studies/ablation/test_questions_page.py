"""The page docs/where-the-hierarchy-pays.md: its results follow from the kept records."""

from pathlib import Path

import pytest

from hatnet.studies.ablation import read
from hatnet.studies.ablation.arms import BASE
from hatnet.studies.ablation.questions import QUESTIONS
from hatnet.studies.ablation.record import DATA, Settings, mismatches
from hatnet.studies.ablation.statistics import differences
from hatnet.studies.ablation.tables import relative_time

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "where-the-hierarchy-pays.md").read_text(encoding="utf-8")
ARMS = ("h-mhsa", "local", "global", "pvt", "none")


@pytest.fixture(scope="module")
def records():
    return {name: read(DOCS / f"measurements/ablation-question-{name}-cpu.json") for name in QUESTIONS}


def percent(record, arm):
    """Smallest and largest accuracy of the seeds, rounded as on the page."""
    found = record.accuracies(arm).values()
    return round(100 * min(found), 2), round(100 * max(found), 2)


def test_records_have_the_arms_seeds_and_budget_that_the_page_fixed(records):
    for name, record in records.items():
        assert record.settings == Settings.of(f"question-{name}")
        assert not mismatches(record, record.settings, record.machine)
        assert {(run.arm, run.seed) for run in record.runs} == {(arm, seed) for arm in ARMS for seed in range(5)}
        assert record.arms == list(DATA[record.settings.data].arms)
    assert "**Budget**: 1 epoch of 4,096 images" in PAGE
    assert "**Seeds**: 0 to 4" in PAGE


def test_h_mhsa_answers_every_question_with_every_seed(records):
    assert all(percent(record, BASE) == (100, 100) for record in records.values())


def test_the_half_that_a_question_needs_suffices_and_the_other_guesses(records):
    assert percent(records["near"], "local") == percent(records["far"], "global") == (100, 100)
    guesses = [("both", "local"), ("both", "global"), ("near", "global"), ("far", "local")]
    guesses += [(name, "none") for name in QUESTIONS]
    lowest, highest = zip(*(percent(records[name], arm) for name, arm in guesses), strict=True)
    assert f"between {min(lowest):.2f} and {max(highest):.2f} %" in " ".join(PAGE.split())
    assert all(differences(records[name])[arm].verdict == "worse" for name, arm in guesses)


def test_reduction_sees_a_part_with_fourteen_times_the_parameters(records):
    means = {name: 100 * sum((found := records[name].accuracies("pvt")).values()) / len(found) for name in QUESTIONS}
    words = f"{means['both']:.1f} % on `both`, {means['near']:.1f} % on `near` and {means['far']:.1f} % on `far`"
    assert words in " ".join(PAGE.split())
    networks = [records["both"].network(arm).parameters for arm in ("pvt", BASE)]
    assert f"{networks[0]:,} parameters instead of {networks[1]:,}" in " ".join(PAGE.split())


def test_equal_macs_are_not_equal_time(records):
    for arm, words in (("global", "1.36 to 1.40"), ("none", "1.40 to 1.56")):
        ratios = [relative_time(record.times_of("step"), arm).median for record in records.values()]
        assert words == f"{min(ratios):.2f} to {max(ratios):.2f}"
        assert words in PAGE
