from __future__ import annotations

import random
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import belief_figure, beliefs, html
from tests.report import example_beliefs
from tests.report.drawn import HOSTILE, by_class, drawn, strokes
from tests.report.hostile import ODD, alone


def belief(**more: Any) -> beliefs.Belief:
    detail = example_beliefs.scores(random.Random(0))["beliefs"] | more
    return beliefs.Belief("m", detail, [])


def section(record: dict[str, Any]) -> str:
    return html.render(record).partition('<section id="beliefs">')[2].partition("</section>")[0]


def test_measures_of_one_set_of_scores_share_one_figure(geometric: dict[str, Any]):
    found = beliefs.beliefs(geometric)
    assert [one.checkpoint for one in found] == ["smollm2-135m", "safety-tuned"]
    assert {row["measure"] for row in found[0].measurements} == {"harmfulness_belief", "latent_guard"}
    text = section(geometric)
    assert text.count("Belief of harmfulness against belief of refusal") == 2
    assert text.count('<table class="small plain">') == 2 * 3 + 2


def test_every_prompt_is_a_mark_and_a_group_a_shape_and_a_filling():
    element = drawn(belief_figure.scatter(belief().scatter, uid="f1"))
    for name, n in example_beliefs.COUNTS.items():
        kind, _, answer = name.rpartition("_")
        paths = [part for part in by_class(element, f"belief-{kind}") if answer in (part.get("class") or "").split()]
        assert sum(part.get("d", "").count("M") for part in paths) == n
    assert strokes(element, "belief") == sum(example_beliefs.COUNTS.values())
    shapes = {belief_figure.SHAPES[kind][2] for kind in ("harmful", "harmless", "scary")}
    assert len(shapes) == 3


def test_the_words_of_the_figure_hold_what_it_shows():
    words = drawn(belief_figure.scatter(belief().scatter, uid="f1"))[1].text or ""
    assert words.startswith("harmful, refused: 30 prompts, mean ")
    assert "safe, sounds harmful, refused: 12 prompts" in words
    assert "safe, sounds harmful, answered" not in words, "an empty group has no mark"


def test_legend_marks_differ_without_colour_and_are_decoration():
    marks = [str(belief_figure.legend_mark(name)) for name in beliefs.GROUPS]
    assert all('aria-hidden="true"' in mark for mark in marks)
    assert len(set(marks)) == len(beliefs.GROUPS)


def test_marks_stay_in_the_frame_and_zero_is_in_it():
    far = [("harmful_refused", [(0.5, 0.4), (0.6, 0.45)])]
    element = drawn(belief_figure.scatter(far, uid="f1"))
    guides = by_class(element, "guide")
    assert len(guides) == 2
    (path,) = by_class(element, "belief")
    for point in path.get("d", "").split("M")[1:]:
        x, y = (float(part) for part in point.split("h")[0].split())
        assert 50 <= x <= 480
        assert 8 <= y <= 310


def test_quadrants_count_answers_and_what_is_believed():
    table = dict(belief().quadrants)
    assert table["harmful"] == ["30 (15 believed harmful)", "20 (5 believed harmful)", "1 (0 believed harmful)"]
    assert list(table) == ["harmful", "harmless", "safe, sounds harmful"]
    bare = dict(belief(quadrants={"harmful": {"refused": 3, "answered": 1}}).quadrants)
    assert bare == {"harmful": ["3", "1", "not recorded"]}


def test_separations_without_a_number_are_left_out():
    ((name, sizes, values),) = belief().separation
    assert (sizes, values) == ("20 against 40", ["0.910", "0.600"])
    assert name == "harmful against harmless, of the answered"


def test_values_name_their_group_and_what_chance_gives(geometric: dict[str, Any]):
    one = beliefs.beliefs(geometric)[0]
    texts = [one.value(row) for row in one.measurements]
    assert texts[0].startswith("harmful, answered: ")
    assert all("permuted labels give [0.310, 0.690]" in text for text in texts)
    missing = {"parameters": {"group": "scary_refused"}, "estimate": None, "why_missing": "there are 0 of them"}
    assert one.value(missing) == "safe, sounds harmful, refused: not measured: there are 0 of them"


def test_what_could_not_be_measured_still_shows_its_quadrants(geometric: dict[str, Any]):
    row = next(row for row in geometric["measurements"] if row["measure"] == "harmfulness_belief")
    row.update(estimate=None, low=None, high=None, why_missing="unidentified-beliefs: there are 0 prompts")
    geometric["measurements"], geometric["assertions"] = [row], []
    text = section(geometric)
    assert "not measured: unidentified-beliefs" in text
    assert "30 (15 believed harmful)" in text


def test_reply_inversion_shows_both_directions_beside_their_controls(geometric: dict[str, Any]):
    one = beliefs.inversions(geometric)[0]
    assert [len(values) for _, values, _ in one.strips] == [19, 19], "a control that was hardly applied is none"
    assert [aim for *_, aim in one.strips] == [3.1, -0.4]
    assert one.strips[0][0].startswith("adding harmfulness (H)")
    other = beliefs.Inversion({**one.measurement, "parameters": {"requests": "harmful"}})
    assert other.strips[1][0].startswith("taking away refusal (R)")
    assert one.where.startswith("layer 4, coefficient 1, harmless requests in 3 wordings; Certainly means harmful")
    assert [name for name, _ in one.table] == ["H", "R"]
    assert all(len(cells) == len(beliefs.COLUMNS) for _, cells in one.table)
    figures = [part for part in ET.fromstring(f'<section id="beliefs">{section(geometric)}</section>').iter("figure")]
    assert len(figures) == 4


def test_a_number_that_is_none_leaves_the_task_standing(geometric: dict[str, Any]):
    row = next(row for row in geometric["measurements"] if row["measure"] == "reply_inversion")
    row.update(estimate=None, low=None, high=None, why_missing="uncontrolled: 0 of H", detail={})
    geometric["measurements"], geometric["assertions"] = [row], []
    assert "not measured: uncontrolled: 0 of H" in section(geometric)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("measure", ["latent_guard", "reply_inversion"])
def test_odd_fields_leave_the_section_standing(make_geometry: Callable[..., dict[str, Any]], odd: Any, measure: str):
    record = alone(make_geometry(rows=2, layers=3, checkpoints=1), measure)
    (row,) = record["measurements"]
    part = "inversion" if measure == "reply_inversion" else "beliefs"
    whole = row["detail"][part]
    for name in whole:
        row["detail"] = {part: {**whole, name: odd}}
        assert '<section id="beliefs">' in html.render(record)


def test_hostile_names_stay_text():
    assert belief_figure.scatter([(HOSTILE, [(0.1, 0.2)])], uid="f1") == ""
    assert belief_figure.scatter([], uid="f1") == ""
