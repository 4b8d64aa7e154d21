"""The Python side of the live pages, in CPython: the browser runs the same files."""

import hashlib
import json
import zipfile
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from safetensors.numpy import load as load_arrays

import reference
from builder import live, pyodide
from builder.lab_record import driver, lab, noise
from builder.live_changes import BUGS, EDITS
from tests.site.conftest import ROOT

FIRST = {  # of the intermediates, where each edit shows first
    "Leave out the root": "stages.0.blocks.0.attention.local_weights",
    "Swap the windows' axes": "stages.0.blocks.0.attention.local",
    "Merge by the maximum": "stages.0.blocks.0.attention.merged",
    "Drop the residual of Eq. 9": "stages.0.blocks.0.attention.local",
    "Round the constant of the norm": "stem",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the builder writes, without the record of the bug lab, which takes longest."""
    folder = tmp_path_factory.mktemp("live")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "lab_record", lambda texts: {})
        live.write_live(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def facts(folder):
    return json.loads((folder / "live.json").read_text())


@pytest.fixture(scope="module")
def texts(folder):
    return json.loads((folder / "reference.json").read_text())


@pytest.fixture(scope="module")
def page(folder, facts, texts):
    weights, kept = ((folder / f"{name}.safetensors").read_bytes() for name in ("weights", "kept"))
    return driver.Live(texts, weights, kept, facts["normalisation"])


def pixels(image):
    return list(live.base64.b64decode(image["pixels"]))


def ignore(name, count):
    pass


def test_the_sources_are_the_files_of_the_repository(texts):
    assert set(texts) == {path.relative_to(ROOT).as_posix() for path in (ROOT / "reference").rglob("*.py")}
    assert all((ROOT / path).read_text() == text for path, text in texts.items())


def test_the_reference_equals_pytorch_on_every_bundled_image(page, facts):
    """All logits to 1e-12, and the kept entries of all intermediates relative to their largest."""
    assert len(facts["images"]) == 5
    for image in facts["images"]:
        result = page.run(pixels(image), image["name"], ignore, None)
        np.testing.assert_allclose(result["logits"], image["logits"], rtol=0, atol=1e-12)
        assert len(result["departures"]) == 41
        assert max(row["error"] for row in result["departures"]) < 1e-13
        assert sum(result["probabilities"]) == pytest.approx(1)


def test_the_kept_logits_are_those_of_the_shipped_network(facts, trained):
    image = facts["images"][0]
    values = (torch.tensor(pixels(image)).reshape(1, 1, 28, 28) / 255 - trained.mean[0]) / trained.std[0]
    with torch.inference_mode():
        logits = trained.model.float().eval()(values.float())[0]
    np.testing.assert_allclose(logits, image["logits"], atol=1e-4)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.title)
def test_an_edit_departs_first_where_it_acts(page, facts, texts, edit):
    image = facts["images"][0]
    rows = page.run(pixels(image), image["name"], ignore, driver.edited(texts, [edit.change]))["departures"]
    departed = [row["name"] for row in rows if row["error"] is None or row["error"] > 1e-12]
    assert departed[0] == FIRST[edit.title]
    assert departed[-1] == "logits"


def test_an_edit_is_compared_with_the_unchanged_reference_on_other_pictures(page, texts):
    grey = list(np.random.default_rng(0).integers(0, 256, 784))
    assert page.run(grey, "", ignore, None)["departures"] == []
    result = page.run(grey, "", ignore, driver.edited(texts, [EDITS[2].change]))
    assert result["against"] == "the unchanged reference"
    assert next(row["name"] for row in result["departures"] if row["error"] > 1e-12) == FIRST[EDITS[2].title]


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ("A1 +", "SyntaxError"),
        ("A1 + x[1:]", "ValueError: h_mhsa: operands"),
        ("A1[None] + x", "ValueError: group_norm: x must have shape"),
        ("A1 + y", "NameError: name 'y'"),
    ],
)
def test_an_error_names_the_edited_line(page, facts, texts, new, message):
    file = "reference/hierarchical_attention.py"
    changed = driver.edited(texts, [{"file": file, "old": "A1 + x,", "new": f"{new},"}])
    line = next(i for i, text in enumerate(changed[file].splitlines(), 1) if f"({new}," in text)
    with pytest.raises(Exception) as raised:  # noqa: PT011 whatever the edit raises
        page.run(pixels(facts["images"][0]), "", ignore, changed)
    told = driver.explain(raised.value)
    assert (told["file"], told["line"]) == (file, line)
    assert told["message"].startswith(message)


def test_loading_edited_sources_leaves_the_imported_reference_alone(texts):
    before = reference.h_mhsa
    other = driver.load_reference(driver.edited(texts, BUGS[0].changes))
    import reference as again

    assert again.h_mhsa is before is not other.h_mhsa
    assert driver.load_reference(texts).h_mhsa.__code__.co_filename == "reference/checks.py"


def test_a_change_must_fit_its_file(texts):
    with pytest.raises(ValueError, match="0 times, not once: no such text"):
        driver.edited(texts, [{"file": "reference/layers.py", "old": "no such text", "new": ""}])


def test_safetensors_are_read_as_by_its_library(folder):
    content = (folder / "kept.safetensors").read_bytes()
    ours, _ = driver.read_safetensors(content)
    theirs = load_arrays(content)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_kept_entries_cover_all_channels_and_the_whole_map():
    value = torch.arange(28 * 28 * 64, dtype=torch.float64).reshape(28, 28, 64)  # a 400th shares the factor 2 with 64
    (_, taken), (_, (largest, step)) = live.kept_figures("x", {"y": value})
    assert largest == value.max()
    assert {int(entry) % 64 for entry in taken} == set(range(64))
    assert {int(entry) // 64 // 28 for entry in taken} == set(range(28))
    assert np.array_equal(taken, value.flatten()[:: int(step)])


def test_maps_are_the_rows_of_the_trace(page, facts):
    page.run(pixels(facts["images"][0]), "", ignore, None)
    found = page.attention(1, 0, head=1, query=3 * 14 + 9)  # row 3, column 9: the second window
    near, far = np.array(found["near"]), np.array(found["far"])
    name = "stages.1.blocks.0.attention"
    window = page.trace[f"{name}.local_weights"][0, 1, 1, 3 * 7 + 2].reshape(7, 7)
    assert np.array_equal(near[:7, 7:], window)
    assert near.sum() == pytest.approx(window.sum()) == pytest.approx(1)
    assert np.array_equal(far.ravel(), page.trace[f"{name}.global_weights"][1, 3 * 14 + 9])
    plain = page.attention(2, 1, head=3, query=10)
    assert plain["near"] is None
    assert np.array_equal(np.ravel(plain["far"]), page.trace["stages.2.blocks.1.attention.weights"][3, 10])


def test_landing_names_the_token_at_each_place():
    right = np.random.default_rng(0).normal(size=(4, 6))
    assert lab.landing(right, right[[1, 0, 2, 3]]) == [1, 0, 2, 3]
    assert lab.landing(right, right + np.array([[0], [1e-12], [1e-3], [0]])) == [0, 1, -1, 3]


def test_noise_of_pytorch_is_that_of_its_precision(texts):
    package, grid = driver.load_reference(texts), [(5, 7, 3), (4, 4, 2)]
    found = noise(grid, [lab.output(package, *size, "unit") for size in grid], "unit")
    assert all(1e-8 < error < 1e-6 for error in found["float32"])
    assert all(error < 1e-14 for error in found["float64"])


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(pyodide.VARIABLE, raising=False)
    return tmp_path / "hatnet" / f"pyodide-{pyodide.VERSION}"


def carrier(content):
    """A stand-in for pip: writes a wheel in which every file has this content."""

    def run(command, **_):
        folder = next(part.removeprefix("--dest=") for part in command if part.startswith("--dest="))
        with zipfile.ZipFile(f"{folder}/carrier.whl", "w") as wheel:
            for name in pyodide.SHA256:
                wheel.writestr(f"{pyodide.INSIDE}/{name}", content)
        return SimpleNamespace(returncode=0)

    return run


def test_a_site_without_pyodide_says_so_and_is_otherwise_complete(empty_cache):
    assert pyodide.pyodide_files() == {}
    config = SimpleNamespace(site_dir="", use_directory_urls=True, plugins=SimpleNamespace(_current_plugin="a test"))
    files = {file.src_uri: file for file in live.live_files(config)}
    assert {name: file.content_string for name, file in files.items()} == {"pyodide/files.json": "{}"}


def test_files_are_kept_only_if_their_hashes_fit(empty_cache, monkeypatch):
    monkeypatch.setenv(pyodide.VARIABLE, "fetch")
    monkeypatch.setattr(pyodide.subprocess, "run", carrier(b"forged"))
    assert pyodide.pyodide_files() == {}
    assert not empty_cache.exists()
    monkeypatch.setattr(pyodide, "SHA256", dict.fromkeys(pyodide.SHA256, hashlib.sha256(b"forged").hexdigest()))
    assert set(pyodide.pyodide_files()) == set(pyodide.SHA256)
    monkeypatch.delenv(pyodide.VARIABLE)
    assert set(pyodide.pyodide_files()) == set(pyodide.SHA256), "kept for later builds"
    (empty_cache / pyodide.NUMPY).write_bytes(b"damaged")
    assert pyodide.pyodide_files() == {}


def test_the_variable_has_three_meanings(empty_cache, monkeypatch):
    monkeypatch.setenv(pyodide.VARIABLE, "yes")
    with pytest.raises(pyodide.PyodideError, match="HATNET_PYODIDE=yes must be 'fetch' or 'none'"):
        pyodide.pyodide_files()
    monkeypatch.setenv(pyodide.VARIABLE, "none")
    assert pyodide.pyodide_files() == {}


def test_every_bug_is_a_planted_one_and_fits_the_reference(texts):
    for bug in BUGS:
        assert (ROOT / "tests/planted_bugs" / f"{bug.patch}.patch").is_file()
        wrong = driver.load_reference(driver.edited(texts, bug.changes))
        assert lab.compare(driver.load_reference(texts), wrong, 5, 7, 3, "unit")["departure"] > 1e-12
    assert all(asdict(edit)["change"] for edit in EDITS)
