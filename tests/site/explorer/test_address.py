"""The view in the page's address: copied, reloaded, gone back to, and whatever nobody should type."""

import pytest

from tests.site.explorer.conftest import canvas, choose, point, query_of, text

pytestmark = pytest.mark.long

CHOSEN = {"picture": "1", "beside": "2", "kind": "global", "stage": "1", "block": "1", "head": "0"}


def view(page):
    checked = page.locator("attention-explorer input:checked").all()
    chosen = {each.get_attribute("name"): each.get_attribute("value") for each in checked}
    return chosen, query_of(page), text(page, ".finding")


def arrived(page):
    page.locator("attention-explorer .panels").wait_for()
    return view(page)


def test_a_view_survives_reload_going_back_and_copying(open_explorer, served):
    page = open_explorer("pair.html", permissions=["clipboard-read", "clipboard-write"])
    for name, value in CHOSEN.items():
        choose(page, name, value)
    point(page, "query", 0.9, 0.3, "click")
    point(page, "map", 0.2, 0.9, "click")
    page.wait_for_url("**#explore?*key=3,1*")
    seen = view(page)
    assert CHOSEN.items() <= seen[0].items()
    page.reload()
    assert arrived(page) == seen
    page.goto(served + "index.html")
    page.locator("attention-explorer .panels").wait_for()
    page.go_back()
    assert arrived(page) == seen
    page.locator("attention-explorer button").click()
    page.locator("attention-explorer .link", has_text="Copied.").wait_for()
    address = page.evaluate("navigator.clipboard.readText()")
    assert address == page.url
    other = page.context.new_page()
    other.goto(address)
    assert arrived(other) == seen


@pytest.mark.parametrize(
    "nonsense",
    [
        "#explore?",
        "#explore",
        "#somewhere-else",
        "#explore?%E0%A4%A&&==&kind",
        "#explore?picture=99&beside=0&kind=toString&stage=-1&block=1e3&head=x&class=9&query=99999,1&key=1",
        "#explore?picture=0.5&beside=4&kind=<img src=x onerror=alert(1)>&stage=&query=1,2,3&key=,&more=1",
        "#explore?query=45,3&key=31,0",
    ],
)
def test_malformed_addresses_are_ignored(open_explorer, nonsense):
    """Each part for itself; the view is the first one, and no error occurs."""
    plain, odd = (view(open_explorer(f"pair.html{end}")) for end in ("", nonsense))
    assert odd == plain


def test_the_sound_parts_of_a_malformed_address_count(open_explorer):
    page = open_explorer("pair.html#explore?stage=1&kind=nothing&query=0,30&block=7")
    assert query_of(page) == (7, 0)
    assert page.locator("input[name=block][value='0']").is_checked()


def test_a_link_to_a_view_on_the_page_changes_it(open_explorer):
    """Going back returns to the view before; a link to a heading changes nothing."""
    page = open_explorer("pair.html")
    choose(page, "stage", 1)
    canvas(page, "query").press("Home")
    page.wait_for_url("**stage=1*query=2,2*")  # in pixels; the address is written late
    before = view(page)
    page.evaluate("location.hash = '#explore?kind=global&stage=0&query=44,30'")
    page.locator("attention-explorer input[name=kind][value=global]:checked").wait_for(state="attached")
    page.wait_for_url("**picture=0*kind=global*query=44,30*")  # written late: all of the view, in place of the link
    assert query_of(page) == (15, 22)
    page.evaluate("location.hash = '#heading'")
    assert query_of(page) == (15, 22)
    page.go_back()
    page.go_back()
    page.locator("attention-explorer input[name=kind][value=local]:checked").wait_for(state="attached")
    assert view(page) == before


def test_an_address_that_is_written_late_does_not_undo_a_link(open_explorer):
    page = open_explorer("pair.html")
    late = "history.replaceState(null, '', '#explore?kind=local')"
    page.evaluate(f"location.hash = '#explore?kind=global'; {late}")
    page.locator("attention-explorer input[name=kind][value=global]:checked").wait_for(state="attached")
    page.wait_for_url("**kind=global*")
    page.evaluate("dispatchEvent(new HashChangeEvent('hashchange'))")  # without addresses, as routers do
    assert page.locator("input[name=kind][value=global]").is_checked()


def test_an_explorer_without_the_attribute_has_no_address(open_explorer):
    page = open_explorer("index.html#explore?stage=1")
    assert page.locator("input[name=stage][value='0']").is_checked()
    choose(page, "stage", 2)
    page.wait_for_timeout(300)
    assert page.url.endswith("#explore?stage=1")
    assert page.locator("attention-explorer button").count() == 0
