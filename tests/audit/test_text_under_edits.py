"""An audit of text under edits from plan to page: measured once, kept without its text, shown beside its controls."""

from __future__ import annotations

import json

import pytest

from geoaudit.audit import profiles, recording
from geoaudit.audit.decide import decide
from geoaudit.audit.measuring import Options
from geoaudit.audit.run import Auditor
from geoaudit.audit.suite import Assertion
from geoaudit.audit.verdict import verdict_of
from geoaudit.measures.needs import EditedCompletions
from geoaudit.model import load as loading
from geoaudit.model.checkpoint import resolve_all
from geoaudit.report import html
from tests.model.planted import ANSWER, REFUSAL

PROFILE = profiles.get("standard")
GIVEN = {
    "outcome": "refusal_rate",
    "rule": "arditi",
    "expects": "lower",
    "max_new_tokens": 3,
    "n_train": 32,
    "n_validation": 8,
    "n_held_out": 12,
    "n_controls": 19,
}


@pytest.fixture(scope="module")
def audited(planted, tmp_path_factory):
    """An auditor that has measured, what it said, and the record."""
    store, lines = tmp_path_factory.mktemp("store"), []
    options = Options(PROFILE, store, "cpu", None, None, None)
    audit = Auditor(resolve_all([f"one={planted(layer=2, position=-1).folder}"]), options, lines.append)
    planned = audit.plan("one", "intervention_sensitivity", GIVEN)
    works = audit.works("one")
    found = audit.measurement(planned)
    line = Assertion(
        "opened", "intervention_sensitivity", GIVEN, "at_most", (-0.3,), "a paper", None, None, "a.yaml", 1
    )
    verdict = verdict_of(line, "gate", "one", planned.key, found, decide("at_most", (-0.3,), found, by="interval"))
    built = recording.build(
        auditor=audit,
        profile=PROFILE,
        command=["pytest"],
        verdicts=[verdict.to_json()],
        suites=[{"name": "gate", "file": "a.yaml", "sha256": "0" * 64}],
        exit_code=0,
        exit_reason="",
        complete=True,
        warnings=[],
        timings={},
    )
    return audit, works, lines, found, built


def test_it_is_planned_priced_and_said_once(audited):
    _, works, lines, _, _ = audited
    (work,) = (work for work, _ in works if isinstance(work.need, EditedCompletions))
    assert work.prompts == 20 * 12
    assert sum("generate under edits harmful, ablate R" in line for line in lines) == 1
    kinds = [type(work.need).__name__ for work, _ in works]
    assert kinds.index("Intervention") < kinds.index("EditedCompletions")


def test_the_planted_change_passes_and_is_measured_once(audited, monkeypatch):
    audit, _, _, found, built = audited
    assert built["assertions"][0]["outcome"] == "passed"
    assert found.detail["effect"] == -1

    def never(*args, **more):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(loading, "load", never)
    again = Auditor(resolve_all([f"one={audit.checkpoint('one').path}"]), audit.options, lambda line: None)
    assert again.measurement(again.plan("one", "intervention_sensitivity", GIVEN)) == found


def test_the_record_holds_both_sets_of_completions_without_their_text(audited):
    built = audited[-1]
    sets = {entry["attack"]: entry for entry in built["completions"].values()}
    assert set(sets) == {"plain requests", "plain requests, ablate R, dose 1"}
    assert [entry["n"] for entry in sets.values()] == [12, 12]
    assert {entry["source"] for entry in sets.values()} == {"harmful"}
    assert {row["label"] for row in sets["plain requests"]["rows"]} == {"full_refusal"}
    (measurement,) = built["measurements"]
    assert "rows" not in measurement["detail"]
    text = json.dumps(built, allow_nan=False)
    assert REFUSAL not in text
    assert ANSWER not in text


def test_the_page_shows_the_rates_beside_the_controls_and_no_text(audited):
    page = html.render(audited[-1])
    section = page.partition('<section id="interventions">')[2].partition("</section>")[0]
    for said in (
        "Refusal rate without and with it",
        "1.000 and 0.000",
        "KL-matched controls (these decide): effect on the refusal rate",
        "Completions that are no answer: without it, with it, under its controls",
    ):
        assert said in section, said
    assert ANSWER not in page
    assert REFUSAL not in page


def test_a_replayed_record_decides_the_same(audited):
    found, built = audited[3], json.loads(json.dumps(audited[-1]))
    row = {name: value for name, value in built["measurements"][0].items() if name != "key"}
    again = type(found).from_json(row)
    for bound in (-0.99, -0.6, -0.3, 0.5):
        for by in ("interval", "estimate"):
            outcome = decide("at_most", (bound,), found, by=by).outcome
            assert decide("at_most", (bound,), again, by=by).outcome == outcome
