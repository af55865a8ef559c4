"""The sections on geometry as a whole: explained, readable without sight, safe against any string, small."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from geoaudit.report import html
from tests.report.hostile import PAYLOAD, everywhere, is_safe

Make = Callable[..., dict[str, Any]]
Read = Callable[[str], Any]
SECTIONS = ("carrier", "direction", "spectrum", "coupling", "interventions", "beliefs", "drift")


def sections(text: str) -> dict[str, ET.Element]:
    found = {part.get("id"): part for part in ET.fromstring(text).iter("section")}
    return {name: found[name] for name in SECTIONS}


def test_every_figure_says_what_it_says_and_what_it_does_not(geometric: dict[str, Any]):
    identifiers = set()
    for section in sections(html.render(geometric)).values():
        for figure in section.iter("figure"):
            said = [part for part in figure.iter("p") if part.get("class") == "says"]
            assert said, ET.tostring(figure)[:200]
            for part in said:
                words = "".join(part.itertext())
                link = part.find("a")
                if link is None:
                    assert words.startswith("Says ")
                    assert " Does not say " in words
                    identifiers.add(part.get("id"))
                else:
                    assert (link.get("href") or "")[1:] in identifiers  # explained before it is pointed to
        drawings = {drawing for drawing in section.iter("svg") if drawing.get("role") == "img"}
        assert drawings
        assert drawings <= {drawing for figure in section.iter("figure") for drawing in figure.iter("svg")}


def test_every_picture_has_its_words_and_every_table_its_heads(geometric: dict[str, Any]):
    for section in sections(html.render(geometric)).values():
        for picture in section.iter("svg"):
            if picture.get("aria-hidden") != "true":
                assert picture.get("role") == "img"
                assert [(part.text or "").strip() != "" for part in picture[:2]] == [True, True]
        for table in section.iter("table"):
            assert all(head.get("scope") in ("col", "row") for head in table.iter("th"))
            columns = len(table.findall("./thead/tr/th"))
            assert all(len(list(row)) == columns for row in table.findall("./tbody/tr"))


def test_identifiers_are_unique_and_links_lead_somewhere(geometric: dict[str, Any], read_page: Read):
    page = read_page(html.render(geometric))
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    links = {(a["href"] or "")[1:] for _, a in page.elements if "href" in a}
    assert links <= set(identifiers)


def test_the_sections_are_in_the_contents_and_absent_without_measurements(
    geometric: dict[str, Any], record: dict[str, Any]
):
    text = html.render(geometric)
    assert all(f'<a href="#{name}">' in text for name in SECTIONS)
    older = html.render(record)
    assert [name for name in SECTIONS if f'<a href="#{name}">' in older] == ["carrier", "spectrum"]
    assert [name for name in SECTIONS if f'<section id="{name}">' in older] == ["carrier", "spectrum"]


def test_figures_name_the_assertions_that_read_them(geometric: dict[str, Any]):
    found = sections(html.render(geometric))
    links = {name: {link.text for link in part.iter("a")} for name, part in found.items()}
    assert {"carrier-sits-in-the-middle", "carrier-is-separable", "carrier-bypasses"} <= links["carrier"]
    assert "refusal-is-low-rank" in links["spectrum"]
    assert {"c-cos-is-bounded", "c-sub-is-bounded"} <= links["coupling"]
    assert {"carrier-transfer-is-bounded", "direction-cosine-is-bounded"} <= links["drift"]


def test_rates_name_the_assertions_that_read_them(record: dict[str, Any]):
    behaviour = next(
        part for part in ET.fromstring(html.render(record)).iter("section") if part.get("id") == "behaviour"
    )
    names = {link.text for link in behaviour.iter("a") if link.get("class") == "asserted"}
    assert names == {
        "direct-requests-are-refused", "harmful-prompts-are-refused", "safe-prompts-are-answered", "answers-are-text"
    }  # fmt: skip


def test_nothing_of_python_or_of_floats_shows(geometric: dict[str, Any]):
    for section in sections(html.render(geometric)).values():
        words = " ".join(" ".join(section.itertext()).split())
        assert not [odd for odd in ("None", "nan", "True", "False", "{'", "[]", "Undefined") if odd in words]


def test_a_record_of_hostile_strings_stays_a_report(make_geometry: Make, known: set[tuple[str, str]], read_page: Read):
    record = everywhere(make_geometry(rows=4, layers=4), PAYLOAD)
    record["geoaudit_record"] = 1
    is_safe(html.render(record), read_page, known, "alert(1)")


def test_hostile_names_of_scopes_readings_and_nulls_stay_text(
    make_geometry: Make, known: set[tuple[str, str]], read_page: Read
):
    record = make_geometry(rows=4, layers=4)
    for one in record["measurements"]:
        detail = one["detail"]
        for holder, name in ((detail, "readings"), (detail, "cells"), (detail.get("examined") or {}, "scopes")):
            if holder.get(name):
                holder[name] = {f"{PAYLOAD}{k}": part for k, part in enumerate(holder[name].values())}
        for name in ("contrast", "reference", "class", "sentence", "h_position", "position_here", "preset", "scope"):
            if name in detail:
                detail[name] = PAYLOAD
        for site in detail.get("by_site", ())[:3]:
            site["position"] = PAYLOAD
        if "matrix" in detail:
            detail["matrix"]["checkpoints"] = [PAYLOAD, PAYLOAD]
    is_safe(html.render(record), read_page, known, "alert(1)")


def test_a_trajectory_is_a_file_to_send(make_geometry: Make):
    record = make_geometry(checkpoints=4, layers=24, rows=128)
    text = html.render(record)
    assert len(text.encode()) < 1_000_000
    assert text == html.render(json.loads(json.dumps(record)))


def test_a_search_of_the_usual_size_takes_few_bytes(make_geometry: Make):
    text = html.render(make_geometry(checkpoints=4, layers=24, rows=12))
    for name, most in (("carrier", 60_000), ("direction", 12_000), ("spectrum", 21_000), ("coupling", 18_000)):
        section = text.partition(f'<section id="{name}">')[2].partition("</section>")[0]
        assert len(section.encode()) < 4 * most, name
    pictures = re.findall(r'<svg class="heat".*?</svg>', text, re.DOTALL)
    assert len(pictures) == 4 * (2 * 3 + 3)
    assert max(map(len, pictures)) < 5_000


def test_the_ramps_of_the_legends_are_drawn_once_in_the_order_of_the_steps(geometric: dict[str, Any]):
    root = ET.fromstring(html.render(geometric))
    ramps = {part.get("id"): [cell.get("class") for cell in part] for part in root.iter("symbol") if len(part) > 1}
    steps = [f"heat-{k}" for k in range(8)]
    assert ramps == {
        "ramp-8": steps, "ramp-8-down": steps[::-1], "ramp-4": steps[4:], "ramp-4-down": steps[:3:-1]
    }  # fmt: skip
    used = {(part.get("href") or "")[1:] for part in root.iter("use") if "ramp" in (part.get("href") or "")}
    assert used <= set(ramps)
