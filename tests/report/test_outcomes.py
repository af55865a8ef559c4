from __future__ import annotations

import random
from typing import Any

import pytest

from geoaudit.measures.outcome_needs import OUTCOMES as MEASURED
from geoaudit.report import html, interventions
from geoaudit.report.outcomes import OUTCOMES, beside, outcome
from tests.report import example_interventions
from tests.report.drawn import HOSTILE


def of_text(**changed: Any) -> dict[str, Any]:
    """The detail of an intervention on the refusal rate."""
    found = example_interventions.edit(random.Random(0), effect=-0.8)
    return found | {
        "outcome": "refusal_rate",
        "unedited": 0.9,
        "edited": 0.1,
        "control_mean": -0.025,
        "refusal_score": {"unedited": 2.1, "edited": -1.3, "controls": [-0.2] * 39},
        "degenerate": {"unedited": 0.0, "edited": 0.05, "controls": 0.025, "control_most": 0.1},
        "asked": 64,
        "unread": 3,
        **changed,
    }


def facts(detail: dict[str, Any]) -> dict[str, str]:
    return dict(
        interventions.Intervention("m", {"detail": detail, "estimate": -0.775, "low": -0.9, "high": -0.6}).facts
    )


def test_every_outcome_that_is_measured_has_words_for_a_reader():
    assert OUTCOMES.keys() == MEASURED.keys()
    assert all(one.text == bool(MEASURED[name].judges) for name, one in OUTCOMES.items())


def test_rates_are_written_as_rates_beside_their_controls():
    found = facts(of_text())
    assert found["Refusal rate without and with it"] == "0.900 and 0.100"
    assert found["Mean effect of its controls"] == "−0.025"
    assert found["Beyond its controls"] == "−0.775 [−0.900, −0.600]"
    assert found["Completions that are no answer: without it, with it, under its controls"] == "0.000, 0.050, 0.025"
    assert found["Completions that nobody could read, at most"] == "3 of 64"
    assert found["Refusal score of the same prompts without and with it"] == "2.10 and −1.30 nats"
    assert "nats" not in found["Effect"]


def test_the_refusal_score_stays_in_nats_and_has_nothing_of_text():
    detail = example_interventions.edit(random.Random(0))
    assert beside(detail) == []
    assert facts(detail)["Mean effect of its controls"] == "−0.200 nats"
    assert facts({name: value for name, value in detail.items() if name != "outcome"}) == facts(detail)


@pytest.mark.parametrize("name", OUTCOMES)
def test_the_cloud_of_controls_says_what_it_is_of(name):
    one = interventions.Intervention("m", {"detail": of_text(outcome=name)})
    first = one.strips[0][0]
    assert first.endswith(f"effect on the {OUTCOMES[name].axis}")
    assert OUTCOMES[name].axis == OUTCOMES[name].name + ("" if OUTCOMES[name].text else ", nats")


def test_numbers_that_are_not_there_are_not_written():
    found = facts(of_text(unread=0, refusal_score=None, degenerate=None))
    assert not [name for name in found if name.startswith(("Completions", "Refusal score"))]


def test_an_outcome_of_another_version_reads_as_it_is_called(geometric: dict[str, Any]):
    assert outcome({"outcome": HOSTILE}).name == HOSTILE
    row = {"measure": "intervention_sensitivity", "checkpoint": "m", "detail": of_text(outcome=HOSTILE)}
    shown = html.render(geometric | {"measurements": [*geometric["measurements"], row]})
    assert HOSTILE not in shown
