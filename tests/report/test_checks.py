from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geoaudit
from geoaudit.report import checks, html, verdict

SENTENCE = "the judge refusal was compared with people on xstest only: its error here is unknown"
NOTE = {"name": "judge-flip", "effect": "note", "sentence": SENTENCE}


def flagged(record: dict[str, Any], n: int, flag: dict[str, str] = NOTE) -> dict[str, Any]:
    for one in record["assertions"][:n]:
        one["flags"] = [*one["flags"], flag]
    return record


def test_a_note_of_many_lines_is_said_once_with_the_lines_it_holds_for(record: dict[str, Any]):
    lines = verdict.lines(flagged(record, 5))
    (note,) = checks.notes(lines)
    assert (note.name, note.sentence, len(note.lines), note.everywhere) == ("judge-flip", SENTENCE, 5, False)
    for line in lines:
        assert SENTENCE not in [flag["sentence"] for flag in checks.own(line, [note])]
        assert (checks.of(line, [note]) == [note]) is (line in note.lines)
    text = html.render(record)
    assert text.count(SENTENCE) == 1
    assert text.count('href="#note1"') == 5
    assert "It holds for 5 of 16 assertions: " in text


def test_a_note_of_every_line_says_so_and_lists_none(record: dict[str, Any]):
    text = html.render(flagged(record, 99))
    assert "It holds for every assertion." in text
    assert text.count(SENTENCE) == 1


def test_a_note_of_few_lines_stays_at_the_line(record: dict[str, Any]):
    lines = verdict.lines(flagged(record, 2))
    assert checks.notes(lines) == []
    assert html.render(record).count(SENTENCE) == 2


def test_what_stops_a_verdict_or_is_about_the_line_is_never_gathered(record: dict[str, Any]):
    flagged(record, 9, {**NOTE, "effect": "stops"})
    flagged(record, 9, {**NOTE, "name": "sink-driven"})
    assert checks.notes(verdict.lines(record)) == []


def test_a_line_that_says_a_note_twice_is_listed_once(record: dict[str, Any]):
    flagged(flagged(record, 4), 4)
    (note,) = checks.notes(verdict.lines(record))
    assert len(note.lines) == 4


def test_every_check_that_the_package_can_fire_is_explained():
    text = "".join(
        path.read_text(encoding="utf-8")
        for room in ("measures", "audit", "carriers")
        for path in (Path(geoaudit.__file__).parent / room).glob("*.py")
    )
    named = set(re.findall(r'Flag\(\s*"([a-z]+(?:-[a-z]+)+)"', text))
    assert len(named) > 8
    assert named <= set(checks.CHECKS)


def test_only_checks_that_fired_are_explained(record: dict[str, Any]):
    assert [name for name, _, _ in checks.fired(record)] == ["single-condition", "rank-by-norm", "not-admissible"]
    assert checks.fired({}) == []


def test_checks_that_fired_stand_in_the_glossary(make_geometry: Callable[..., dict[str, Any]]):
    text = html.render(make_geometry(rows=4, layers=4))
    table = text.partition('<h3 id="checks">')[2].partition("</table>")[0]
    for name in ("cross-layer-coupling", "same-contrast", "rank-by-norm"):
        assert f"<code>{name}</code>" in table
        assert checks.CHECKS[name][0] in table


def test_a_note_of_many_lines_names_each_assertion_once(make_trajectory: Any):
    record = make_trajectory()
    for line in record["assertions"]:
        line["flags"] = [{"name": "judge-flip", "effect": "note", "sentence": "error unknown"}]
    (note,) = checks.notes(verdict.lines(record))
    assert note.everywhere
    assert sum(n for _, n in note.assertions) == len(note.alone) == len(record["assertions"])
    names = [line.assertion["id"] for line, _ in note.assertions]
    assert len(names) == len(set(names)) == 7


def test_wording_is_said_to_matter_no_more_than_the_check_knows():
    # it also fires where twins got no readable answer, so that another answer is possible and not seen
    assert checks.CHECKS["paraphrase-gap"][1] == "In other words the same prompts may get another answer."
