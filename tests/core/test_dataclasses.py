"""Records are frozen: their checks run when they are made, and nothing changes them later."""

import importlib
import inspect
import pkgutil
from dataclasses import is_dataclass

import hatnet

CHANGED = {"Monitor", "State", "Point", "Record", "Scorer", "Run", "Times"}  # they collect what a long work finds


def test_dataclasses_are_frozen_unless_they_collect_results():
    names = [module.name for module in pkgutil.walk_packages(hatnet.__path__, "hatnet.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    found = {
        entry: entry.__dataclass_params__.frozen
        for module in modules
        for _, entry in inspect.getmembers(module, inspect.isclass)
        if is_dataclass(entry) and entry.__module__.startswith("hatnet.")
    }
    assert len(found) > 60
    assert {entry.__name__ for entry, frozen in found.items() if not frozen} == CHANGED
