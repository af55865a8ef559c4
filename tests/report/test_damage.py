"""What an edit costs, as a reader meets it: beside its controls, and never a number that is not there."""

from __future__ import annotations

import random
from typing import Any

import pytest

from geoaudit.report import damage, html, interventions
from tests.report import example_interventions
from tests.report.drawn import HOSTILE


def detail(**changed: Any) -> dict[str, Any]:
    found = example_interventions.edit(random.Random(0))
    return found | {"damage": {**found["damage"], **changed}}


def section(record: dict[str, Any]) -> str:
    return html.render(record).partition('<section id="interventions">')[2].partition("</section>")[0]


def test_every_kind_of_damage_stands_beside_that_of_its_controls():
    found = damage.costs(detail(control_kl=[0.04, 0.08], control_broken=[0.0, 0.2]))
    assert [row.name for row in found] == [
        "KL at the first token, nats",
        "KL a token, first 30 tokens of 14 answers, nats",
        "Perplexity of these answers",
        "Degenerate among 15 answers that it writes itself",
    ]
    assert all(row.controls for row in found)
    first, over, perplexity, broken = found
    assert first.edited == "0.0830"
    assert over.edited == "0.0740 [0.0500, 0.110]"
    assert over.controls == "0.0600 (0.0400 to 0.0800, 2)"
    assert (perplexity.unedited, perplexity.edited) == ("1.48", "1.63")
    assert (broken.unedited, broken.edited, broken.controls) == ("0.000", "0.067", "0.100 (0.000 to 0.200, 2)")


@pytest.mark.parametrize(
    ("changed", "gone"),
    [({"kl": None}, "KL a token"), ({"perplexity": None}, "Perplexity"), ({"broken": None}, "Degenerate")],
)
def test_what_was_not_measured_is_not_written(changed, gone):
    assert not [row for row in damage.costs(detail(**changed)) if row.name.startswith(gone)]
    assert damage.costs({}) == []


def test_controls_that_decide_are_those_that_are_shown():
    other = detail() | {"decides": "random"}
    values = other["controls"]["random"]["kl"]
    assert f"{len(values)})" in damage.costs(other)[0].controls
    assert damage.costs(other)[0].controls != damage.costs(detail())[0].controls


def test_damage_that_was_not_read_says_why(geometric: dict[str, Any]):
    row = next(each for each in geometric["measurements"] if each["measure"] == "intervention_sensitivity")
    row["detail"]["damage"] = {"missing": f"no answers {HOSTILE}"}
    text = section(geometric)
    assert "What it does to answers was not read: no answers" in text
    assert "<script>" not in text
    assert damage.missing(detail()) == damage.missing({}) == ""


def test_the_table_and_the_curve_reach_the_page(geometric: dict[str, Any]):
    text = section(geometric)
    for row in damage.costs(detail()):
        assert row.name in text
    assert "KL a token over answers to everyday requests, nats" in text
    assert "answers to 14 everyday requests, token by token, the first 30 of each" in text
    assert "1.00 nats at the first token or 1.00 over answers" in text
    assert "What ablate R costs:" in text


def test_a_record_without_damage_is_shown_as_before(geometric: dict[str, Any]):
    for row in geometric["measurements"]:
        row["detail"].pop("damage", None)
        row["detail"].pop("damage_answers_kl", None)
        for dose in row["detail"].get("curve", ()):
            for name in ("answers_kl", "answers_control_kl", "answers_perplexity"):
                dose.pop(name)
    text = section(geometric)
    assert "KL at the first token, nats" in text
    assert "answers" not in text.replace("judges say of the answers", "")
    found = next(one for one in interventions.interventions(geometric) if isinstance(one, interventions.Sweep))
    assert found.columns == ("effect", "beyond", "kl", "p")
