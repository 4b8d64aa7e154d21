"""Records of all studies: which files are read, and the tables and figures on the site that follow from them."""

import json
from pathlib import Path

import pytest

from hatnet.studies import ablation, bench, faithfulness, scaling
from tests.pictures import assert_same_picture

DOCS = Path(__file__).parents[2] / "docs"
STUDIES = {f"hatnet {study.__name__.rpartition('.')[2]}": study for study in (ablation, bench, faithfulness, scaling)}
OTHER_FILES = ["", "{", "[]", "{}", '{"kind": "something else"}', '{"kind": "KIND", "version": 1}']


@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.parametrize("content", OTHER_FILES)
def test_other_files_are_not_read_as_records(kind, content, tmp_path):
    path = tmp_path / "record.json"
    with pytest.raises(FileNotFoundError, match="no record at"):
        STUDIES[kind].read(path)
    path.write_text(content.replace("KIND", kind))
    with pytest.raises(ValueError, match=rf"is not a (complete )?record of {kind}"):
        STUDIES[kind].read(path)


@pytest.mark.parametrize(
    ("command", "name", "change"),
    [
        ("scaling", "scaling-stage-0-cpu", lambda record: record["machine"].pop("cpu")),
        ("scaling", "scaling-stage-0-cpu", lambda record: record["points"][0].update(module="", refused="x")),
        ("bench", "bench-inference-cpu", lambda record: record["machine"].pop("cpu")),
        ("bench", "bench-inference-cpu", lambda record: record["visits"][-1]["peaks"][0].pop("memory")),
        ("ablation", "ablation-subset-cpu", lambda record: record["machine"].pop("python")),
        ("ablation", "ablation-subset-cpu", lambda record: record["times"][0].update(clock="")),
        ("faithfulness", "faithfulness", lambda record: record["machine"].clear()),
        ("faithfulness", "faithfulness", lambda record: record["weights"].update(test_accuracy=["x"])),
    ],
)
def test_records_that_contradict_themselves_end_with_a_message(command, name, change, tmp_path, hatnet_command):
    record = json.loads((DOCS / f"measurements/{name}.json").read_text())
    change(record)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    status, _, err = hatnet_command(command, "--record", path)
    assert status == 2
    assert str(path) in err


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("make_ablation", 20),
        ("make_bench", 7),
        ("make_faithfulness", 3),
        ("make_precision", 3),
        ("make_questions", 1),
        ("make_scaling", 4),
        ("make_window_sizes", 3),
    ],
)
def test_tables_and_figures_are_those_of_the_kept_records(name, count, tmp_path):
    """`python -m builder.measurements` writes them, and the pages include them."""
    pytest.importorskip("matplotlib")
    from builder import measurements

    written = getattr(measurements, name)(DOCS, tmp_path)
    assert len(written) == count
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    for path in written:
        kept = DOCS / "measurements" / path.name
        if path.suffix == ".svg":
            assert_same_picture(path, kept)
        else:
            assert path.read_bytes() == kept.read_bytes(), path.name
        assert f"measurements/{path.name}" in pages
