"""Mutation testing makes the changes that it says, sees which tests notice them, and its record explains all others."""

import ast
import json
import subprocess
import sys
from collections import Counter
from types import SimpleNamespace

import pytest
from cosmic_ray.mutating import mutate_code

from tests.mutation.in_memory import _called_on_import, fits_in_memory
from tests.mutation.mutants import Mutant, changes_of, files_of, mutants
from tests.mutation.operators import DeleteStatement, DropKeyword, operators
from tests.mutation.record import RECORD, read_reasons
from tests.mutation.sight import ROOT, Sight

FILE = "reference/layers.py"
TEST = "tests/core/test_layers.py::test_group_norm_takes_its_statistics_over_the_whole_image"


def mutants_in(path: str) -> list[Mutant]:
    return list(mutants(changes_of(path)))


@pytest.mark.parametrize("operator", [DeleteStatement, DropKeyword])
def test_our_own_operators_change_what_they_say(operator):
    for example in operator.examples():
        assert mutate_code(example.pre_mutation_code, operator(), example.occurrence) == example.post_mutation_code


@pytest.mark.parametrize(
    "source", ["f(x)(y)\n", "x: int = 1\n", "x = 1\n", "return x\n", "'text'\n", "f(*a, **b)\n", "f(a for a in b)\n"]
)
def test_our_own_operators_leave_what_would_always_fail(source):
    assert mutate_code(source, DropKeyword(), 0) is None
    if not source.startswith("f("):
        assert mutate_code(source, DeleteStatement(), 0) is None


def test_every_mutant_compiles_and_changes_one_definition():
    original = (ROOT / FILE).read_text(encoding="utf-8")
    found = mutants_in(FILE)
    assert len(found) > 100
    assert {operator.operator.partition("_")[0] for operator in found} >= {"NumberReplacer", "DropKeyword", "AddNot"}
    for mutant in found:
        old = {ast.dump(node) for node in ast.parse(original).body}
        new = {ast.dump(node) for node in ast.parse(mutant.source).body}
        assert len(old - new) == len(new - old) == 1, mutant
        assert mutant.before
        assert mutant.lines.start in mutant.around
    assert len({mutant.key for mutant in found}) == len({mutant.source for mutant in found}) == len(found)


def test_the_named_parts_are_files():
    for part in ("reference", "model", "training", "data", "maps", "studies"):
        assert all((ROOT / path).is_file() for path in files_of(part))
    assert set(operators()) > {"DeleteStatement", "DropKeyword", "NumberReplacer"}


CONTROL = """
import json, sys
from dataclasses import replace
from pathlib import Path
from tests.core.test_mutation import FILE, ROOT, TEST, mutants_in
from tests.mutation.in_memory import InMemory, fits_in_memory, functions, with_collected_tests
from tests.mutation.on_disk import OnDisk
from tests.mutation.runner import run
from tests.mutation.sight import Sight

folder = Path(sys.argv[1])
(folder / "sight.json").write_text(json.dumps({"tests": {TEST: 0.1}, "lines": {FILE: {"1": [0]}}}))
wrong = next(m for m in mutants_in(FILE) if "variance + eps" in m.before and m.operator.startswith("ReplaceBinary"))
assert fits_in_memory(wrong)
none = replace(wrong, source=(ROOT / FILE).read_text(), key="none")
loop = none.source.replace("centred = ", "while True: pass\\n    centred = ", 1)
endless = replace(wrong, key="endless", source=loop)

def test(place):
    for some, patience in ([wrong, none], 600), ([endless], 15):
        for outcome in run(some, Sight(folder / "sight.json"), [place], seconds=6.0, patience=patience):
            name = outcome.key if outcome.key in ("none", "endless") else "wrong"
            with (folder / "found").open("a") as file:
                file.write(f"{name} {outcome.outcome} {outcome.test}\\n")

if sys.argv[2] == "disk":
    test(OnDisk(folder / "place"))
else:
    file = TEST.partition("::")[0]
    with_collected_tests(lambda items: test(InMemory(folder / "place", items, functions())), file)
"""


@pytest.mark.long  # 20 seconds each
@pytest.mark.parametrize("place", ["memory", "disk"])
def test_a_wrong_epsilon_is_noticed_and_no_change_is_not(tmp_path, place):
    """The control: without a change the same test passes. What computes for ever is stopped."""
    subprocess.run([sys.executable, "-c", CONTROL, str(tmp_path), place], cwd=ROOT, check=True)
    found = (tmp_path / "found").read_text(encoding="utf-8").splitlines()
    assert found == [f"wrong killed {TEST}", "none survived ", "endless timeout "]


def test_functions_that_run_on_import_are_changed_on_disk():
    """Changing them in memory would be too late."""
    called = _called_on_import(ROOT / "hatnet/studies/plan.py")
    assert {"_assume", "dataclass"} <= called
    assert not {"plan", "_memory", "ceil"} & called
    own = [m for m in mutants_in("hatnet/studies/plan.py") if m.definition == "_assume" and "return field" in m.before]
    assert own
    assert not any(map(fits_in_memory, own))


def test_tests_that_noticed_mutants_of_a_file_run_first(tmp_path):
    lines = {"a.py": {"3": [0, 1, 2], "4": [3], "9": [4]}}
    names = [str(tmp_path / name) for name in ("x.py::t0", "x.py::t1", "x.py::t2", "x.py::t3", "x.py::t4", "y.py::t5")]
    (tmp_path / "x.py").write_text("def t1(): ...")
    (tmp_path / "y.py").write_text("assert a.LIMIT == 5")
    (tmp_path / "sight.json").write_text(
        json.dumps({"tests": dict(zip(names, (0.3, 0.2, 5.0, 0.1, 0.1, 9.0), strict=True)), "lines": lines})
    )
    sight = Sight(tmp_path / "sight.json")

    def order(word, own, seconds):
        mutant = SimpleNamespace(path="a.py", word=word, lines=range(own, own + 1), around=range(1, 5))
        return [name.partition("::")[2] for name in sight.tests_for(mutant, seconds)]

    assert order("f", 3, 4) == ["t1", "t0", "t3", "t4"]  # of the line, the quick ones, up to 4 seconds; then others
    sight.kills = Counter({("a.py", names[2]): 1})
    assert order("f", 3, 5.5) == ["t2", "t1", "t0"]
    sight.kills.clear()
    assert order("t2", 1, 60) == ["t2", "t3", "t1", "t0", "t4", "t5"]  # by name, of the function, of the file, all
    assert order("LIMIT", 1, 60) == ["t5", "t3", "t1", "t0", "t2", "t4"]  # by a file that has the name


def test_the_name_of_what_a_mutant_changes():
    """A method with underscores has the name of its class, a constant its own."""
    found = {(m.definition, m.word) for path in ("hatnet/trace.py", "hatnet/device.py") for m in mutants_in(path)}
    assert {("scope", "scope"), ("Scope.__init__", "Scope"), ("Place.parse", "parse"), ("", "MOST_THREADS")} <= found


def test_reasons_have_a_kind_and_no_change_has_two(tmp_path):
    assert all(reason.kind != "untested" for reason in read_reasons().values())
    entry = (
        '[[survivors]]\nfile = "a.py"\ndefinition = "f"\nkind = "equivalent"\nwhy = "It is."\nchanges = ["x -> y"]\n'
    )
    for text, message in ((entry + entry, "twice"), (entry.replace("equivalent", "so"), "kind of")):
        (tmp_path / "reasons.toml").write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_reasons(tmp_path)


def test_the_record_explains_every_survivor_and_meets_the_goals():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    goals = {"reference": 0.95, "model": 0.95, "sample": 0.85}
    assert set(record["parts"]) == set(goals)
    survived = 0
    for name, part in record["parts"].items():
        outcomes = {key: n for key, n in part.items() if key not in ("mutants", "score", "low", "high")}
        own = sum(outcomes.get(outcome, 0) for outcome in ("survived", "unseen"))
        assert sum(outcomes.values()) == part["mutants"] == sum(f["mutants"] for f in record["files"][name].values())
        assert part["score"] == pytest.approx(1 - own / part["mutants"])
        assert part["score"] >= goals[name]
        assert part["low"] < part["score"] < part["high"]
        survived += own
    assert record["parts"]["sample"]["mutants"] >= 600
    assert survived == len(record["survivors"])
    reasons = read_reasons()
    for s in record["survivors"]:
        reason = reasons[s["file"], s["definition"], f"{s['before']} -> {s['after']}"]
        assert (s["kind"], s["why"]) == (reason.kind, reason.why)
