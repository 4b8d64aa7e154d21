"""Every planted bug fits the source, and `python -m tests.plant_bugs`, which takes minutes, found every one."""

import dataclasses
import json

import pytest

from tests.plant_bugs import BUGS, RESULT, ROOT


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_bug_to_plant_has_one_place_in_the_source_and_a_test_that_exists(bug):
    assert (ROOT / bug.file).read_text(encoding="utf-8").count(bug.old) == 1
    file, name = bug.test.split("::")
    name = name.partition("[")[0]  # without the parameters
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_the_record_is_of_these_bugs_and_all_were_found():
    record = json.loads(RESULT.read_text(encoding="utf-8"))
    assert all(row.pop("found") for row in record)
    assert record == [dataclasses.asdict(bug) for bug in BUGS]
