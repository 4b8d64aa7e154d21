"""Settings, results and other data classes cannot be changed once they are made, except for the few that grow."""

from dataclasses import is_dataclass
from importlib import import_module
from inspect import getmembers, isclass
from pkgutil import walk_packages

import pytest

import hatnet
import reference

GROW = {  # records and states that are filled step by step
    "hatnet.studies.ablation.record": {"Record", "Run", "Times"},
    "hatnet.studies.faithfulness.record": {"Record"},
    "hatnet.studies.faithfulness.scorer": {"Scorer"},
    "hatnet.studies.scaling.record": {"Record", "Point"},
    "hatnet.training.progress": {"Monitor"},
    "hatnet.training.resuming": {"State"},
    "reference.learning": {"Learner"},
}


def test_data_classes_are_frozen():
    pytest.importorskip("matplotlib")  # the modules that draw import it
    for package in (hatnet, reference):
        for found in walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                own = [each for _, each in getmembers(import_module(found.name), isclass) if is_dataclass(each)]
                changing = {
                    each.__name__
                    for each in own
                    if each.__module__ == found.name and not each.__dataclass_params__.frozen
                }
                assert changing == GROW.get(found.name, set()), found.name
