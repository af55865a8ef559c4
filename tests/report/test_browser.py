"""The report in a real browser: nothing asked of a network, nothing executed, readable by everyone, with and without
its script. Skipped where there is no Chromium (Debian: `apt-get install chromium`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from geoaudit.report import html
from tests.report.browser import Browser, axe, found
from tests.report.hostile import BREAKOUT, MEGABYTE, everywhere

Make = Callable[..., dict[str, Any]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(found() is None, reason="no Chromium here: install it, or name it in GEOAUDIT_CHROMIUM"),
]
WIDTHS = (1280, 390)
PAPER = 688
"""Pixels of an A4 page between the margins of the style sheet, 182 mm."""
EXAMPLE = Path(__file__).parents[2] / "reports" / "example.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = found()
    assert program is not None
    opened = Browser(program, tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def reports(
    tmp_path_factory: pytest.TempPathFactory, make_judged: Make, make_geometry: Make, make_trajectory: Make
) -> dict[str, Path]:
    """Files of reports about what audits find: behaviour with all that stands beside it, and geometry."""
    folder = tmp_path_factory.mktemp("reports")
    records = {
        "behaviour": make_judged(rows=6),
        "geometry": make_geometry(rows=4, layers=5),
        "trajectory": make_trajectory(),
        "bare": {"geoaudit_record": 1},
    }
    for name, record in records.items():
        html.write(record, folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in records} | {"example": EXAMPLE}


NAMES = ("behaviour", "geometry", "trajectory", "bare", "example")


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_fetched_nothing_complains_and_a_phone_does_not_scroll_sideways(
    browser: Browser, reports: dict[str, Path], name: str, scripts: bool
):
    for width in WIDTHS:
        with browser.page(reports[name], width=width, scripts=scripts) as page:
            assert page.requests == [reports[name].as_uri()]
            assert page.complaints == []
            assert page.value("document.documentElement.scrollWidth") == width
            assert page.value("document.querySelectorAll('.sort, .chooser').length > 0") <= scripts


@pytest.mark.skipif(axe() is None, reason="axe-core is not here: pip install --no-deps axe-playwright-python")
@pytest.mark.parametrize("name", ["behaviour", "geometry", "trajectory", "bare"])
def test_axe_finds_nothing(browser: Browser, reports: dict[str, Path], name: str):
    """Every rule at both widths; the contrast, which costs most and no width changes, in the light and in the dark."""
    with browser.page(reports[name]) as page:
        page.value("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert page.violations() == []
        for dark in (False, True):
            page.media(dark=dark)
            kinds, faint = page.faint()
            assert kinds > (10 if name == "bare" else 200)
            assert faint == []
        page.media()
        page.resize(390)
        assert page.violations() == []


@pytest.mark.skipif(axe() is None, reason="axe-core is not here: pip install --no-deps axe-playwright-python")
def test_axe_would_find_what_is_wrong(browser: Browser, reports: dict[str, Path], tmp_path: Path):
    broken = (
        reports["bare"].read_text(encoding="utf-8").replace('lang="en"', "").replace("<h1", "<h4").replace("h1>", "h4>")
    )
    (tmp_path / "broken.html").write_text(broken, encoding="utf-8")
    with browser.page(tmp_path / "broken.html") as page:
        assert page.faint()[1] == []
        page.value("document.querySelector('footer').firstElementChild.style.color = '#ccc'")
        ((first, *_),) = [line.split(" ") for line in page.faint()[1]]
        assert first == "color-contrast"
        assert {"html-has-lang", "page-has-heading-one"} <= {line.split(" ")[0] for line in page.violations()}


def test_the_policy_lets_the_reports_own_script_run_and_no_other(
    browser: Browser, reports: dict[str, Path], tmp_path: Path
):
    own = reports["behaviour"].read_text(encoding="utf-8")
    more = "<script>window.broken=1</script><p style='color:red' id='p' onclick='window.broken=2'>x</p>"
    (tmp_path / "more.html").write_text(own.replace("<footer>", f"<footer>{more}"), encoding="utf-8")
    with browser.page(tmp_path / "more.html") as page:
        page.value("document.getElementById('p').click()")
        assert page.value("window.broken ?? null") is None
        assert page.value("getComputedStyle(document.getElementById('p')).color") != "rgb(255, 0, 0)"
        assert page.value("document.querySelectorAll('.sort').length > 0")
        assert len([line for line in page.complaints if "Content Security Policy" in line]) >= 2
        # and the same page without the policy does run it: the test can fail
    (tmp_path / "open.html").write_text(
        re.sub(r"<meta http-equiv=[^>]*>", "", own).replace("<footer>", f"<footer>{more}")
    )
    with browser.page(tmp_path / "open.html") as page:
        assert page.value("window.broken") == 1


def test_headings_sort_by_mouse_and_keyboard_and_say_so(browser: Browser, reports: dict[str, Path]):
    with browser.page(reports["behaviour"]) as page:
        order = "[...document.querySelectorAll('table.lines > tbody')].map(body => body.id)"
        sorted_by = "[...document.querySelectorAll('table.lines th[aria-sort]')].map(h => [h.textContent, h.ariaSort])"
        first = page.value(order)
        assert page.value(sorted_by) == [["Outcome", "ascending"]]
        page.value("[...document.querySelectorAll('.sort')].find(b => b.textContent === 'n').focus()")
        page.press("Enter", 13, "\r")
        assert page.value(sorted_by) == [["n", "ascending"]]
        counts = page.value(
            "[...document.querySelectorAll('table.lines > tbody')].map(body => parseFloat("
            "(body.querySelector('[data-label=n]') || {textContent: ''}).textContent.replace(/,/g, '')))"
        )
        known = [n for n in counts if n is not None]
        assert known == sorted(known)
        assert len(set(known)) > 1
        assert counts[: len(known)] == known  # what has no number comes last
        page.value("[...document.querySelectorAll('.sort')].find(b => b.textContent === 'Outcome').click()")
        assert page.value(order) == first
        page.value("[...document.querySelectorAll('.sort')].find(b => b.textContent === 'Outcome').click()")
        assert page.value(sorted_by) == [["Outcome", "descending"]]
        assert page.value("document.querySelector('table.lines > tbody').className") == "is-passed"
        missing = (
            "[...document.querySelectorAll('table.lines > tbody')].map(body => !body.querySelector('.c-value .number'))"
        )
        for _ in ("ascending", "descending"):
            page.value("[...document.querySelectorAll('.sort')].find(b => b.textContent === 'Value').click()")
            absent = page.value(missing)
            assert absent == sorted(absent)  # what has no value comes last, whichever way
            assert len(set(absent)) == 2
        assert page.complaints == []


def test_a_filter_shows_less_says_how_much_and_never_hides_from_paper(browser: Browser, reports: dict[str, Path]):
    with browser.page(reports["behaviour"]) as page:
        shown = "[...document.querySelectorAll('table.lines > tbody')].filter(b => b.getClientRects().length).length"
        every = page.value(shown)
        word = page.value(
            "document.querySelector('table.lines > tbody:last-of-type .c-name').firstChild.textContent.trim()"
        )
        page.value("document.querySelector('.chooser input').focus()")
        page.type(word)
        few = page.value(shown)
        assert 0 < few < every
        assert f"{few} of {every} assertions shown" in page.value("document.querySelector('[role=status]').textContent")
        page.media("print")
        assert page.value(shown) == every
        assert page.value("document.querySelector('.chooser').getClientRects().length") == 0
        page.media()
        hidden = page.value("document.querySelector('table.lines > tbody[hidden]').id")
        page.value(f"location.hash = '#{hidden}'; new Promise(done => setTimeout(done, 200))")
        assert page.value(shown) == every
        page.value(
            "(() => { const list = document.querySelector('.chooser select'); list.value = '0';"
            " list.dispatchEvent(new Event('input')); })()"
        )
        failed = page.value("document.querySelectorAll('table.lines > tbody.is-failed').length")
        assert page.value(shown) == failed


@pytest.mark.parametrize("name", ["geometry", "trajectory"])
def test_pointing_at_a_figure_shows_the_row_of_its_table(browser: Browser, reports: dict[str, Path], name: str):
    with browser.page(reports[name]) as page:
        svg = "document.querySelector('.pointed svg')"
        table = f"[...{svg}.closest('.drawn, figure').querySelectorAll('table')].pop()"
        left, top, width, height, units = page.value(
            f"(() => {{ {svg}.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            f" const r = {svg}.getBoundingClientRect();"
            f" return [r.left, r.top, r.width, r.height, {svg}.viewBox.baseVal.width]; }})()"
        )
        at = [float(x) for x in page.value(f"{svg}.dataset.at").split()]
        names = page.value(f"[...{table}.tHead.rows[0].cells].map(cell => cell.textContent)")
        for row in (0, len(at) - 1):
            page.move(left + (at[row] + 0.3) * width / units, top + height / 2)
            says = page.value("[...document.querySelectorAll('.tip:not([hidden]) span')].map(part => part.textContent)")
            cells = page.value(f"[...{table}.tBodies[0].rows[{row}].cells].map(cell => cell.textContent)")
            assert says == [f"{name} {cell}" for name, cell in zip(names, cells, strict=True) if cell]
        page.move(2, 2)
        assert page.value("document.querySelectorAll('.tip:not([hidden])').length") == 0


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Browser, reports: dict[str, Path]):
    with browser.page(reports["geometry"]) as page:
        page.press("Tab", 9)
        assert page.value("document.activeElement.textContent") == "Skip to the assertions"
        assert page.value("document.activeElement.getBoundingClientRect().top") >= 0
        page.press("Enter", 13, "\r")
        assert page.value("location.hash") == "#assertions"
        for _ in range(12):
            page.press("Tab", 9)
            assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        scrolling = (
            "[...document.querySelectorAll('*')].filter(e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)"
            " && e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0).map(e => e.outerHTML.slice(0, 120))"
        )
        page.value("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        assert page.value(scrolling) == []
        page.resize(390)
        assert page.value(scrolling) == []


def test_motion_themes_and_paper_follow_the_reader(browser: Browser, reports: dict[str, Path]):
    with browser.page(reports["geometry"]) as page:
        ground = "getComputedStyle(document.body).backgroundColor"
        assert page.value(ground) == "rgb(255, 255, 255)"
        assert page.value("getComputedStyle(document.documentElement).scrollBehavior") == "smooth"
        page.media(dark=True, reduced=True)
        assert page.value(ground) == "rgb(22, 24, 27)"
        assert page.value("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        page.media("print", dark=True)
        assert page.value(ground) == "rgb(255, 255, 255)"


@pytest.mark.parametrize("name", ["behaviour", "geometry", "trajectory"])
def test_nothing_is_cut_off_on_paper(browser: Browser, reports: dict[str, Path], name: str):
    with browser.page(reports[name], width=PAPER) as page:
        page.media("print")
        cut = (
            "[...document.querySelectorAll('table, svg[role=img], pre, p')].filter(e => e.getClientRects().length &&"
            f" e.getBoundingClientRect().right > {PAPER} + 1).map(e => e.outerHTML.slice(0, 160))"
        )
        assert page.value(cut) == []
        assert page.value("document.querySelectorAll('summary').length") > 0
        shut = "every(s => getComputedStyle(s, '::after').content.includes('folded'))"
        assert page.value(f"[...document.querySelectorAll('summary')].{shut}")
        assert page.value("getComputedStyle(document.querySelector('.signature')).display") != "none"
        assert page.value("getComputedStyle(document.querySelector('.sort')).display") == "contents"
        pdf = page.pdf()
        assert pdf.startswith(b"%PDF")
        assert 2 < len(re.findall(rb"/Type\s*/Page\b", pdf)) < 80


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, make_judged: Make, make_geometry: Make) -> Callable[[str], Path]:
    """Reports about records in which every string, and every name that is not ours, is one of these; each made once."""
    folder = tmp_path_factory.mktemp("hostile")

    @cache
    def make(name: str) -> Path:
        string, _, kind = name.partition("-")
        record = make_judged(rows=3) if kind == "judged" else make_geometry(rows=3, layers=3)
        record = everywhere(record, {"breakout": BREAKOUT, "megabyte": MEGABYTE}[string])
        record["geoaudit_record"] = 1
        html.write(record, folder / f"{name}.html", folder / name)
        return folder / f"{name}.html"

    return make


HOSTILE = ("breakout-judged", "breakout-geometry", "megabyte-judged", "megabyte-geometry")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_strings_do_nothing(browser: Browser, hostile: Callable[[str], Path], name: str):
    file = hostile(name)
    assert file.stat().st_size < 1_500_000
    for width in WIDTHS:
        with browser.page(file, width=width) as page:
            page.value("document.querySelectorAll('details').forEach(part => { part.open = true; })")
            assert page.requests == [file.as_uri()]
            assert page.complaints == []
            assert page.value("window.broken ?? null") is None
            assert page.value("document.scripts.length") == 1
            assert page.value("document.querySelectorAll('img, link, iframe, form, style:not(head style)').length") == 0
            assert page.value("document.documentElement.scrollWidth") == width
            assert page.value("document.querySelectorAll('main, h1').length") == 2
            text = page.value("document.body.innerText")
            assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\ud800-\udfff]", text)
            if name.startswith("megabyte"):
                assert "characters left out" in text


def test_hostile_strings_do_nothing_in_figures_that_stand_alone(browser: Browser, hostile: Callable[[str], Path]):
    files = sorted(file for name in HOSTILE for file in hostile(name).with_suffix("").glob("*.svg"))
    assert len(files) > 20
    for file in files[:: max(1, len(files) // 12)]:
        assert file.stat().st_size < 200_000
        with browser.page(file) as page:
            assert page.requests == [file.as_uri()]
            assert page.complaints == []
            assert page.value("window.broken ?? null") is None
            assert page.value("document.documentElement.localName") == "svg"
            assert page.value("document.querySelectorAll('script, foreignObject, image').length") == 0


def test_the_script_is_small_and_knows_no_way_to_run_text(reports: dict[str, Path]):
    text = reports["behaviour"].read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script.encode()) < 6000
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function\(|setTimeout|fetch|XMLHttp|import\(", script
    )
    assert json.dumps(script)  # plain text
