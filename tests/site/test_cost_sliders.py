"""The sliders on the page about cost: they compute the same as `hatnet.complexity`, and everybody can use them."""

from math import isclose

import pytest

from hatnet.complexity import equation_5, equation_15, h_mhsa_cost, mhsa_cost, network_costs, total
from hatnet.config import get_config
from tests.site.conftest import CONTRASTS, OVERFLOWING, PHONE, patient_page
from tests.site.test_attention_cost import LARGEST, SMALLEST, STAGE_0, draw, sizes

PAGE = "complexity/"
TIMES = "\N{MULTIPLICATION SIGN}"
SMALL = {
    "stages.0": STAGE_0,
    "stages.1": {"height": 224, "width": 224, "stride": 8, "C": 128, "G1": 7, "G2": 4},
    "stages.2": {"height": 224, "width": 224, "stride": 16, "C": 320, "G1": 7, "G2": 2},
}


def set_to(page, settings):
    page.locator("cost-sliders select").select_option(str(settings["stride"]))
    for name in ("height", "width", "C", "G1", "G2"):
        page.locator(f"cost-sliders input[type=number][name={name}]").fill(str(settings[name]))


def shown(page, module):
    """The numbers of the table: MACs by term, their sum, and the sum without W^p."""
    rows = page.locator(f"cost-sliders .{module} tr:not(.name)").evaluate_all(
        "rows => rows.map(row => [row.dataset.term, ...[...row.cells].map(cell => cell.innerText.replaceAll(',', ''))])"
    )
    *terms, all_macs, without = rows
    return {row[0]: int(row[3]) for row in terms}, int(all_macs[2]), int(without[2])


def test_the_table_and_the_bars_follow_the_controls(open_page):
    page = open_page(PAGE)
    for settings in [LARGEST, SMALLEST, *SMALL.values(), *draw(20)]:
        set_to(page, settings)
        H, W, C, G1, G2 = sizes(settings)
        ours, plain = h_mhsa_cost(H, W, C, G1, G2), mhsa_cost(H, W, C)
        assert shown(page, "h-mhsa") == (ours.macs, ours.total_macs, ours.total_macs - ours.macs["Wp"]), settings
        assert shown(page, "mhsa") == (plain.macs, plain.total_macs, equation_5(H, W, C)), settings
        divides = not any(side % G for side in (H, W) for G in (G1, G2))
        assert ("Eq. 15" in page.locator("cost-sliders .h-mhsa").inner_text()) == divides
        if divides:
            assert shown(page, "h-mhsa")[2] == equation_15(H, W, C, G1, G2)
        finding = page.locator("cost-sliders .finding").inner_text()
        assert ("costs more" in finding) == (ours.total_macs > plain.total_macs), settings
        assert f"{H} {TIMES} {W} tokens" in finding
    widths = page.locator("cost-sliders .h-mhsa .bar i").evaluate_all(
        "bars => bars.map(bar => bar.getBoundingClientRect().width)"
    )
    for width, macs in zip(widths, ours.macs.values(), strict=True):
        assert isclose(width / sum(widths), macs / ours.total_macs, abs_tol=0.01)


def test_a_button_sets_the_sliders_to_a_stage(open_page):
    page = open_page(PAGE)
    group = page.get_by_role("group", name=f"Small, classification, 224 {TIMES} 224")
    for name, settings in SMALL.items():
        group.get_by_role("button", name=name).click()
        assert shown(page, "h-mhsa")[0] == h_mhsa_cost(*sizes(settings)).macs
        assert page.locator("cost-sliders [aria-pressed=true]").all_inner_texts() == [name]
    assert "H-MHSA costs more" in page.locator("cost-sliders .finding").inner_text()
    for button in page.get_by_role("group", name=f"Small, detection, 800 {TIMES} 1280").get_by_role("button").all():
        button.click()
        assert "H-MHSA is cheaper" in page.locator("cost-sliders .finding").inner_text()


def test_the_keyboard_reaches_and_changes_every_control(open_page):
    page = open_page(PAGE)
    page.locator("cost-sliders button").first.focus()
    reached = []
    for _ in range(17):
        reached.append(page.evaluate("document.activeElement.name || document.activeElement.dataset.preset"))
        page.keyboard.press("Tab")
    assert reached[:6] == [f"{group} stages.{stage}" for group in (0, 1) for stage in range(3)]
    assert reached[6:] == ["height", "height", "width", "width", "stride", "C", "C", "G1", "G1", "G2", "G2"]

    page.get_by_role("slider", name="C, channels").focus()
    for key, value in (("ArrowRight", 80), ("ArrowLeft", 64), ("End", 640), ("Home", 16)):
        page.keyboard.press(key)
        assert page.locator("input[type=number][name=C]").input_value() == str(value)
        assert shown(page, "mhsa")[0] == mhsa_cost(56, 56, value).macs
    page.get_by_role("combobox", name="Stride, pixels per token").focus()
    page.keyboard.press("ArrowDown")
    assert shown(page, "mhsa")[0] == mhsa_cost(28, 28, 16).macs
    page.get_by_role("button", name="stages.2").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('cost-sliders [role=status]').textContent.includes('costs more')")
    assert page.get_by_role("slider", name="G1, side of a window, tokens").get_attribute("aria-valuetext") == "7"


def test_typed_numbers_are_limited_to_the_valid_range(open_page):
    """Too large, negative, fractional or empty: the box ends with the value that is used."""
    page = open_page(PAGE)
    box = page.locator("input[type=number][name=G2]")
    for typed, used in (("99", 32), ("-3", 1), ("2.6", 3), ("", 3), ("12", 12)):
        box.fill(typed)
        box.blur()
        assert box.input_value() == str(used)
        assert shown(page, "h-mhsa")[0] == h_mhsa_cost(56, 56, 64, 8, used).macs


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_sliders_are_readable_in_both_schemes_and_on_a_phone(open_page, scheme):
    """Text has a contrast of at least 4.5, filled bars of 3, as WCAG requires; nothing overflows."""
    page = open_page(PAGE, color_scheme=scheme)
    texts = ["label", "input[type=number]", "button[aria-pressed=true]", "button[aria-pressed=false]", ".finding",
             ".bars", ".legend", ".terms th", ".terms td:last-child"]  # fmt: skip
    contrasts = page.evaluate(CONTRASTS, [f"cost-sliders {text}" for text in texts])
    assert {selector: ratio for selector, ratio in contrasts.items() if ratio < 4.5} == {}
    bars = [".near.product", ".far.product", ".plain.product"]
    # Bars have no text, so give them one in their own colour, without a background.
    page.add_style_tag(content="cost-sliders .product { color: var(--colour); background: none !important }")
    contrasts = page.evaluate(CONTRASTS, [f"cost-sliders {bar}" for bar in bars])
    assert {selector: ratio for selector, ratio in contrasts.items() if ratio < 3} == {}
    for width in (1280, PHONE):  # in this order, since Material's search box moves while a page gets wider
        page.set_viewport_size({"width": width, "height": 900})
        for settings in (LARGEST, SMALL["stages.2"]):
            set_to(page, settings)
            assert page.evaluate(OVERFLOWING) == []


def test_without_javascript_the_page_shows_a_table(browser, address):
    page = patient_page(browser, java_script_enabled=False, viewport={"width": PHONE, "height": 900})
    page.goto(address + PAGE)
    rows = [row.locator("td").all_inner_texts() for row in page.locator("cost-sliders tbody tr").all()]
    assert rows == [
        [name, f"{H} {TIMES} {W}", *map(str, (C, G1, G2))]
        + [f"{cost.total_macs:,}" for cost in (mhsa_cost(H, W, C), h_mhsa_cost(H, W, C, G1, G2))]
        for name, (H, W, C, G1, G2) in ((name, sizes(settings)) for name, settings in SMALL.items())
    ]
    page.close()


def test_the_figures_on_the_page_follow_from_the_formulas(open_page):
    """Matrices, attention products and all MACs of the four variants at 224 x 224; Eq. 5 and 15 of Small's stages."""
    page = open_page(PAGE)
    rows = [row.locator("td").all_inner_texts() for row in page.locator(".published tbody tr").all()]
    costs = [total(network_costs(get_config(variant), 224, 224)) for variant in ("tiny", "small", "medium", "large")]
    for row, name in zip(rows, ("projection_macs", "attention_macs", "total_macs"), strict=False):
        assert row[1:] == [f"{getattr(cost, name):,}" for cost in costs]
    rows = [row.locator("td").all_inner_texts() for row in page.locator(".losing tbody tr").all()]
    for row, (name, settings) in zip(rows, SMALL.items(), strict=True):
        H, W, C, G1, G2 = sizes(settings)
        plain, ours = equation_5(H, W, C), equation_15(H, W, C, G1, G2)
        assert row == [name, f"{H} {TIMES} {W}", f"{plain:,}", f"{ours:,}", f"{plain / ours:.2f}"]
