"""The arithmetic behind the figures of cost: the module in JavaScript counts the same as `hatnet.complexity`."""

import random

from hatnet.complexity import h_mhsa_cost, mhsa_cost
from reference.hierarchical_attention import windows

COMPUTE = """async cases => {
  const {map, mhsa, hMhsa} = await import(new URL("js/attention-cost.js", location));
  return cases.map(settings => [mhsa(map(settings)), hMhsa(map(settings))]);
}"""
KEYS = """async cases => {
  const {keys} = await import(new URL("js/attention-cost.js", location));
  return cases.map(place => keys(place));
}"""
STAGE_0 = {"height": 224, "width": 224, "stride": 4, "C": 64, "G1": 8, "G2": 8}
LARGEST = {"height": 2048, "width": 2048, "stride": 2, "C": 640, "G1": 32, "G2": 1}
SMALLEST = {"height": 32, "width": 32, "stride": 32, "C": 16, "G1": 32, "G2": 32}


def draw(count):
    """Random settings; most windows and cells do not divide their map."""
    rng = random.Random(0)
    side, grid = range(32, 2049), range(1, 33)
    values = {"height": side, "width": side, "stride": [2, 4, 8, 16, 32], "C": range(16, 641), "G1": grid, "G2": grid}
    return [{name: rng.choice(among) for name, among in values.items()} for _ in range(count)]


def sizes(settings):
    """(H, W, C, G1, G2) of the token map."""
    H, W = (-(-settings[side] // settings["stride"]) for side in ("height", "width"))
    return H, W, settings["C"], settings["G1"], settings["G2"]


def test_the_module_computes_the_same_integers_as_python(open_page):
    """Eq. 5 and 15, term by term in the same order, for a thousand random settings and the ends of the sliders."""
    cases = [LARGEST, SMALLEST, STAGE_0, *draw(1000)]
    for settings, (plain, ours) in zip(cases, open_page("").evaluate(COMPUTE, cases), strict=True):
        H, W, C, G1, G2 = sizes(settings)
        assert list(plain.items()) == list(mhsa_cost(H, W, C).macs.items()), settings
        assert list(ours.items()) == list(h_mhsa_cost(H, W, C, G1, G2).macs.items()), settings
    assert mhsa_cost(1024, 1024, 640).total_macs < 2**53  # JavaScript numbers are exact up to here


def test_every_query_has_the_keys_of_the_reference(open_page):
    """All queries of small maps: the tokens of the window that the reference cuts around them, and one key per cell."""
    cases, expected = [], []
    for H, W, G1, G2 in ((7, 5, 3, 2), (8, 8, 4, 4), (6, 9, 4, 5), (3, 2, 5, 7)):
        for *_, (rows, columns) in windows(H, W, G1):
            inside = [(row, column) for row in range(H)[rows] for column in range(W)[columns]]
            cells = {(row // G2, column // G2) for row in range(H) for column in range(W)}
            for row, column in inside:
                cases.append({"H": H, "W": W, "G1": G1, "G2": G2, "row": row, "column": column})
                expected.append({"near": len(inside), "far": len(cells), "plain": H * W})
    assert open_page("").evaluate(KEYS, cases) == expected
    assert len(cases) == 35 + 64 + 54 + 6
