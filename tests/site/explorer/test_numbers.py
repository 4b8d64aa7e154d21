"""The explorer's numbers, in a real browser, equal those of Python."""

import dataclasses
import itertools

import numpy as np
import pytest

from hatnet.maps.explorer import Start, picture_from_model, write_explorer
from tests.site.explorer.conftest import BRIGHTNESS, TOLERANCE, canvas, choose, plain, point, query_of, shown, text

pytestmark = pytest.mark.long

NUMBERS = """async cases => {
  const {read, paths, localRow, globalRow, composedRow, windowTerms} = await import("./attention-explorer.js");
  const maps = await read(new Uint8Array(await (await fetch("maps.bin")).arrayBuffer()));
  return cases.map(([picture, stage, block, head, query]) => {
    const at = [maps.header.stages[stage], maps.weights[picture][stage][block], head, query];
    const windows = at[0].window !== null, token = query[0] * at[0].map[1] + query[1];
    const brought = windows && head !== null ? windowTerms(...at, token) : [];
    return {
      local: windows ? localRow(...at) : null, global: globalRow(...at), composed: composedRow(maps.header, ...at),
      paths: paths(...at), brought: brought.reduce((sum, {weight, mean}) => sum + weight * mean, 0),
    };
  }).map(found => JSON.parse(JSON.stringify(found, (_, value) => ArrayBuffer.isView(value) ? [...value] : value)));
}"""

ALL_NUMBERS = """async () => {
  const {read} = await import("./attention-explorer.js");
  const {weights, whole} = await read(new Uint8Array(await (await fetch("garments.bin")).arrayBuffer()));
  return weights.map((stages, picture) => ({
    global: stages.map(blocks => blocks.map(block => [...block.global])),
    whole: whole[picture].map(map => [...map.values]),
  }));
}"""


def test_the_script_computes_the_same_numbers_as_python(open_explorer, model, pair):
    """L, G or A, and F, at the corners and inside; the terms of (G P L)_ij add up to it, each path sums to one."""
    cases = [
        (picture, index, block, head, query)
        for picture in range(2)
        for index, (stage, layout) in enumerate(zip(model.config.stages, pair[0].layouts, strict=True))
        for block in range(stage.depth)
        for head in (None, *range(stage.heads))
        for query in itertools.product((0, layout.map[0] // 2, layout.map[0] - 1), (0, 5, layout.map[1] - 1))
    ]
    got = open_explorer().evaluate(NUMBERS, cases)
    for (picture, stage, block, head, query), found in zip(cases, got, strict=True):
        seen, at = pair[picture], (stage, block, query, head)
        np.testing.assert_allclose(found["global"]["values"], seen.global_(*at).ravel(), **TOLERANCE)
        np.testing.assert_allclose(found["composed"]["values"], seen.composed(*at).ravel(), **TOLERANCE)
        for path in found["paths"].values():
            assert sum(path) == pytest.approx(1, rel=2**-10)
        H, W = seen.layouts[stage].map
        if seen.layouts[stage].window is None:
            assert found["local"] is None
            continue
        np.testing.assert_allclose(found["paths"]["window"], seen.local(*at).ravel(), **TOLERANCE)
        top, left, g = found["local"]["top"], found["local"]["left"], found["local"]["rows"]
        near = np.zeros((H + g, W + g))
        near[top : top + g, left : left + g] = np.reshape(found["local"]["values"], (g, g))
        np.testing.assert_allclose(near[:H, :W], seen.local(*at), **TOLERANCE)
        if head is not None:
            brought = found["paths"]["windows then cells"][query[0] * W + query[1]]
            assert found["brought"] == pytest.approx(brought, rel=1e-9)


def test_every_setting_changes_what_is_shown(open_explorer, model, pair):
    page = open_explorer()
    for picture, stage, block, head, kind in [
        (0, 0, 1, None, "local"),
        (1, 0, 1, None, "global"),
        (1, 1, 0, 1, "local"),
        (1, 1, 1, None, "composed"),
        (0, 1, 1, 0, "composed"),
        (0, 2, 0, 3, "global"),
        (0, 2, 1, None, "composed"),
    ]:
        choose(page, "picture", picture)
        choose(page, "stage", stage)
        choose(page, "block", block)
        if model.config.stages[stage].heads > 1:
            choose(page, "head", "mean" if head is None else head)
        choose(page, "kind", kind)
        maps = pair[picture]
        query = maps.token_at(30, 17, stage)
        assert query_of(page) == query
        row = {"local": maps.local, "global": maps.global_, "composed": maps.composed}[kind](stage, block, query, head)
        assert shown(row.max()) in text(page, ".finding"), (stage, block, head, kind)
        assert "1.000" in text(page, ".readout")
        assert f"the largest {shown(row.max())}" in text(page, ".map figcaption")
        assert ("upright", "turned")[picture] in text(page, ".query figcaption")
    assert page.locator(".kinds input[value=local]").is_disabled()  # the last stage has no windows
    assert "All tokens" in text(page, ".kinds")


def test_the_formula_shows_the_number_of_every_path(open_explorer, pair):
    """Two residuals, window, cells, windows then cells: as in Python; and a fifth of their sum is the map."""
    page, maps = open_explorer(choices={"stage": 1, "head": 0, "kind": "composed"}), pair[0]
    query = query_of(page)
    parts = maps.parts(1, 0, query, 0)
    cells = maps.global_(1, 0, query, 0, over_tokens=True)
    point(page, "map", 0.02, 0.02)
    far = cells[0, 0]
    rows = page.locator("attention-explorer .readout table tr").all()
    counts, found = ([plain(row.locator("td").nth(column).inner_text()) for row in rows] for column in (1, 2))
    assert counts == [f"{count} x" for count in (2, 1, 1, 1)]
    values = (0, 5 * parts.window[0, 0], far, 5 * parts.cells[0, 0] - far)
    assert found == [shown(value) if value else "0" for value in values]
    formula = text(page, ".readout .line")
    assert shown(maps.composed(1, 0, query, 0)[0, 0]) in formula
    assert all(number in formula for number in found)


@pytest.fixture(scope="module")
def small_weights(folder, model, images):
    """An explorer of made-up weights: below 6.1e-5 float16 is subnormal, below 3e-8 zero, which a softmax never is."""
    picture = picture_from_model(model, images[0], "made up")
    near, far = (f"stages.0.blocks.0.attention.{kind}_weights" for kind in ("local", "global"))
    weights = {**picture.weights, near: picture.weights[near].copy(), far: picture.weights[far].copy()}
    weights[near][0, 0, 0, :, :5] = [0.999, 1e-9, 1.21e-6, 1.23456e-5, 3.1234e-7]  # of all queries of a window
    weights[near][0, 0, 0, :, 5:] = 1e-9
    weights[far][0] = [1 - 1e-9] + [1e-9] * (weights[far].shape[-1] - 1)
    path = folder / "small.html"
    picture = dataclasses.replace(picture, weights=weights)
    write_explorer(path, picture, config=model.config, provenance="Made up.", start=Start(query=(0, 0)))
    return path.as_uri()


def test_small_weights_have_the_digits_that_float16_holds(open_explorer, small_weights):
    """And so have their logarithms; none is shown as zero."""
    page = open_explorer(small_weights)
    canvas(page, "map").focus()
    for digits, logarithm in [
        ("0.999", None),
        ("< 3 x 10⁻⁸", "-17"),
        ("1.2 x 10⁻⁶", "-13.6"),
        ("1.23 x 10⁻⁵", "-11.3"),
        ("3 x 10⁻⁷", "-15"),
    ]:
        assert f"gives {digits} of its near attention" in text(page, ".finding")
        logarithms = page.locator("attention-explorer .readout math", has_text="ln").all_text_contents()
        assert [plain(formula).split("=")[-1].strip() for formula in logarithms] == ([logarithm] if logarithm else [])
        if digits.startswith("<"):
            assert "less than 1.9 x 10⁻⁶ times an equal share" in text(page, ".finding")
            assert plain(canvas(page, "map").get_attribute("aria-valuetext")).endswith(", < 3 x 10⁻⁸")
        page.keyboard.press("ArrowRight")


def test_shares_and_sums_of_small_weights_are_not_zero_either(open_explorer, small_weights):
    page = open_explorer(small_weights, choices={"kind": "global"})
    canvas(page, "map").focus()
    page.keyboard.press("ArrowRight")
    assert "gives < 3 x 10⁻⁸ of its far attention to cell m = (0, 1)" in text(page, ".finding")
    assert "2 x 10⁻⁹" in text(page, ".readout .line >> nth=2")  # a sixteenth

    choose(page, "kind", "composed")
    point(page, "map", 0.5, 0.5)  # in another window, and in a cell that gets nothing
    paths = page.locator("attention-explorer .readout table tr").all()
    assert [plain(path.locator("td").nth(2).inner_text()) for path in paths] == ["0", "0", "< 3 x 10⁻⁸", "≈ 0"]
    assert "≈ 0 of the output at token" in text(page, ".finding")


def test_numbers_of_a_trained_network_equal_those_of_python(open_explorer, trained, garments):
    """All global rows, rollout and class maps in float16; and the spoken text for a query, cell by cell."""
    _, seen = garments
    page = open_explorer("garments.html")
    for got, maps in zip(page.evaluate(ALL_NUMBERS), seen, strict=True):
        for stage, blocks in enumerate(got["global"]):
            for block, rows in enumerate(blocks):
                want = maps.weights[f"stages.{stage}.blocks.{block}.attention.{'global_' if stage < 2 else ''}weights"]
                assert np.array_equal(np.float16(rows), np.float16(want).ravel())
        for values, want in zip(got["whole"], [maps.rollout(), maps.class_map()], strict=False):
            np.testing.assert_allclose(values, want.ravel(), rtol=2**-11, atol=2**-25 * want.max())

    for picture, maps in enumerate(seen):
        choose(page, "picture", picture)
        row = maps.global_(0, 1, (15, 10))
        assert query_of(page) == (15, 10)
        for place, weight in np.ndenumerate(np.float16(row)):
            y, x = ((4 * at + 2) / 28 for at in place)
            point(page, "map", x, y)
            words = plain(canvas(page, "map").get_attribute("aria-valuetext"))
            if weight >= 1e-4:
                assert words == f"cell in row {place[0]}, column {place[1]}, {shown(float(weight))}"


def as_stored(values):
    """A map of the whole network after storage, in float16 shares of its largest number."""
    values = np.float64(values)
    return np.float16(values / values.max()) * values.max()


def test_rollout_has_no_query(open_explorer, garments):
    page, rollout = open_explorer("garments.html", choices={"kind": "rollout"}), as_stored(garments[1][0].rollout())
    assert shown(rollout.max()) in text(page, ".finding")
    point(page, "query", 0.53, 0.53)  # the picture points into the map
    comes = "of the classifier's input comes from token j = (14, 14)"
    assert f"{shown(rollout[14, 14])} {comes}" in text(page, ".finding")
    for name in ("stage", "block", "head"):
        assert page.locator(f"attention-explorer input[name={name}]").first.is_disabled()
    assert canvas(page, "query").get_attribute("aria-disabled") == "true"
    assert "no query, stage, block or head" in text(page, ".query figcaption")
    assert "Rollout whole network" in text(page, ".kinds")  # a figure shows the rollout of a query
    assert text(page, ".meaning").startswith("Rollout of the whole network: ")
    assert canvas(page, "map").get_attribute("aria-label") == "Token of the rollout map, whole network"
    assert not page.locator("attention-explorer fieldset.class").is_visible()
    choose(page, "kind", "global")
    assert query_of(page) == (15, 10)
    assert page.locator("attention-explorer input[name=stage]").first.is_enabled()


@pytest.mark.parametrize("picture", [0, 1])
def test_class_maps_are_shown_for_the_answer_and_for_the_true_class(open_explorer, trained, garments, picture):
    truth, maps = garments[0][picture], garments[1][picture]
    page = open_explorer("garments.html", choices={"kind": "class", "picture": picture})
    answer = int(maps.logits.argmax())
    classes = {answer: "the network's answer" + ", and true" * (answer == truth)}
    if answer != truth:
        classes[truth] = "the true class"
    assert page.locator("attention-explorer input[name=class]").count() == len(classes)
    for index, (label, role) in enumerate(classes.items()):
        choose(page, "class", index)
        values = as_stored(maps.class_map(label))
        page.locator("attention-explorer .size").hover()
        assert f"for the class {trained.classes[label]}, {role}: rank 1 of 784, 100 %" in text(page, ".finding")
        assert f"{shown(values.max())} is the relevance of token j" in text(page, ".finding")
        assert "sum" not in text(page, ".map figcaption")
        end = np.sort(values.ravel())[int(np.ceil(0.99 * values.size)) - 1]
        assert text(page, ".most") == f"≥ {shown(end)}"
        point(page, "map", 0.27, 0.77)
        assert f"{shown(values[21, 7])} is the relevance of token j = (21, 7)" in text(page, ".finding")
        point(page, "map", 0.99, 0.99)  # moves the outline of the key out of the way
        most, least = (np.unravel_index(at, values.shape) for at in (values.argmax(), values.argmin()))
        page.locator("attention-explorer .size").hover()
        bright, dark = (
            canvas(page, "map").evaluate(BRIGHTNESS, [(x + 0.5) / 28, (y + 0.5) / 28]) for y, x in (most, least)
        )
        assert bright > dark + 50
