"""Settings, results and other data classes cannot be changed once they are made, except for the few that grow."""

import re
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

GROW = {  # records and states that are filled step by step
    "hatnet.studies.ablation.record": {"Record", "Run", "Times"},
    "hatnet.studies.bench.record": {"Record", "Visit"},
    "hatnet.studies.bench.runner": {"Memory"},
    "hatnet.studies.faithfulness.record": {"Record"},
    "hatnet.studies.faithfulness.scorer": {"Scorer"},
    "hatnet.studies.scaling.record": {"Record", "Point"},
    "hatnet.training.progress": {"Monitor"},
    "hatnet.training.resuming": {"State"},
    "reference.learning": {"Learner"},
}


DATA_CLASS = re.compile(r"^@dataclass\b.*\nclass (\w+)", re.MULTILINE)
ROOT = Path(__file__).parents[2]
FOUND = [
    (".".join(path.relative_to(ROOT).with_suffix("").parts), name)
    for package in ("hatnet", "reference")
    for path in sorted((ROOT / package).rglob("*.py"))
    for name in DATA_CLASS.findall(path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("module", "name"), FOUND)
def test_a_data_class_is_frozen(module, name):
    if module.startswith("hatnet.studies") or "figure" in module:
        pytest.importorskip("matplotlib")  # the modules that draw import it
    found = getattr(import_module(module), name)
    assert is_dataclass(found)
    assert found.__dataclass_params__.frozen == (name not in GROW.get(module, ()))


def test_there_are_many_data_classes():
    assert len(FOUND) > 60
    assert {(module, name) for module, names in GROW.items() for name in names} <= set(FOUND)
