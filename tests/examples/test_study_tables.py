"""The study's tables say what the records hold: nothing that was not measured, no stopped number without its mark."""

from __future__ import annotations

from typing import Any

import pytest

from examples.study import tables
from examples.study.__main__ import AUDITS, SUITES, main
from geoaudit.audit.plan import resolve
from geoaudit.audit.profiles import PROFILES
from geoaudit.audit.suite import read
from geoaudit.measures.evidence import describe
from geoaudit.measures.table import get

LINES = [line for suite in SUITES for line in read(suite).assertions]
OTHERS = [line.across.other for line in LINES if line.across is not None and line.across.other is not None]
ASKED = [(one.measure, one.parameters) for one in (*LINES, *OTHERS)]
OURS = [column for table in tables.TABLES for column in table.columns if column.measure]
STOPS = {"name": "judge-flip", "effect": "stops", "sentence": "another judge decides otherwise"}


def found(checkpoint: str, measure: str, estimate: float | None, *, n: int = 64, **more: Any) -> dict[str, Any]:
    return {
        "key": more.pop("key", f"{checkpoint}/1"),
        "checkpoint": checkpoint,
        "measure": measure,
        "parameters": more.pop("parameters", {}),
        "estimate": estimate,
        "low": more.pop("low", None),
        "high": more.pop("high", None),
        "n": n,
        "flags": more.pop("flags", []),
        "detail": more.pop("detail", {}),
    }


def records(*measurements: dict[str, Any], claims: tuple[dict[str, Any], ...] = ()) -> tables.Records:
    names = ("r2d2/step0", "r2d2/step250", "r2d2/step25", "other/step250")
    return tables.Records.of(
        [
            {
                "checkpoints": [{"name": name} for name in names],
                "measurements": list(measurements),
                "trajectories": [
                    {"name": "r2d2", "steps": {"r2d2/step0": 0, "r2d2/step25": 25, "r2d2/step250": 250}},
                    {"name": "other", "steps": {"other/step250": 250}},
                ],
                "assertions": list(claims),
            }
        ]
    )


def cells(page: str, title: str, name: str) -> list[str]:
    part = page.partition(f"### {title}\n")[2].partition("###")[0]
    (row,) = [line for line in part.splitlines() if line.startswith(f"| `{name}`")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_a_number_stands_with_its_interval_beside_the_papers_of_the_same_step():
    asr = {"attack": "fixed", "attacks": "jailbreakbench", "method": "GCG"}
    page = tables.page(records(found("r2d2/step250", "attack_success_rate", 0.2, low=0.1, high=0.31, parameters=asr)))
    assert cells(page, "Behaviour", "r2d2/step250") == [
        "`r2d2/step250`", "—", "—", "0.200 [0.100, 0.310]", "0.035", "—", "—", "0.415",
    ]  # fmt: skip
    assert cells(page, "Behaviour", "r2d2/step0")[3:5] == ["—", "0"]  # the papers' reference, and nothing of ours


def test_what_the_papers_do_not_print_and_we_did_not_measure_is_no_row():
    page = tables.page(records(found("r2d2/step25", "effective_rank", 1.2, parameters={"field": "paper"})))
    assert "`other/step250`" not in page
    assert cells(page, "Rank and drift", "r2d2/step25")[1] == "1.200"
    assert "`r2d2/step25`" not in page.partition("### Rank")[0]


def test_a_stopped_number_has_its_mark_and_a_missing_one_is_no_zero():
    lenient = {"score": "lenient"}
    stopped = found("r2d2/step0", "benign_utility", 0.5, flags=[STOPS], parameters=lenient, detail={"strict": 0.0})
    missing = found("r2d2/step250", "benign_utility", None, parameters=lenient)
    page = tables.page(records(stopped, missing))
    row = cells(page, "Refusing what is safe, and being of use", "r2d2/step0")
    assert row[3] == "0.500 †"
    assert row[5] == "0.000 †"
    assert cells(page, "Refusing what is safe, and being of use", "r2d2/step250")[3] == "—"


def test_a_model_that_says_nothing_has_no_good_number():
    """Unreadable answers stop a bound where it is decided; the number itself is zero and has no flag."""
    direct = {"attack": "direct"}
    silent = {**found("r2d2/step0", "attack_success_rate", 0.0, parameters=direct), "key": "r2d2/step0/k"}
    line = {
        "id": "l",
        "measure": "attack_success_rate",
        "checkpoint": "r2d2/step0",
        "measurement": "r2d2/step0/k",
        "others": [],
        "sentence": "x",
    }
    assert cells(tables.page(records(silent)), "Behaviour", "r2d2/step0")[1] == "0.000"
    bound = {**line, "kind": "bound", "outcome": "invalid"}
    assert cells(tables.page(records(silent, claims=(bound,))), "Behaviour", "r2d2/step0")[1] == "0.000 †"
    points = [{"checkpoint": "r2d2/step0", "outcome": "invalid"}, {"checkpoint": "r2d2/step25", "outcome": "passed"}]
    run = {
        **line,
        "kind": "across",
        "outcome": "failed",
        "measurement": "r2d2/step25/k",
        "others": ["r2d2/step0/k"],
        "result": {"points": points},
    }
    assert cells(tables.page(records(silent, claims=(run,))), "Behaviour", "r2d2/step0")[1] == "0.000 †"


def test_of_two_measurements_the_one_on_more_prompts_counts():
    few = found("r2d2/step0", "effective_rank", 9.0, n=10, parameters={"field": "paper"})
    many = found("r2d2/step0", "effective_rank", 2.0, n=20, parameters={"field": "paper"})
    for pair in ((few, many), (many, few)):
        assert cells(tables.page(records(*pair)), "Rank and drift", "r2d2/step0")[1] == "2.000"


def test_places_are_position_and_layer():
    carrier = {"selected": {"position": -4, "layer": 23, "kl": 0.05}}
    one = found(
        "r2d2/step250", "carrier_layer", 23.0, low=20.0, high=24.0, parameters={"preset": "paper"}, detail=carrier
    )
    row = cells(tables.page(records(one)), "The carrier as the papers choose it", "r2d2/step250")
    assert row[1:3] == ["(-4, 23) [20, 24]", "-3, 0"]
    assert row[6] == "0.050"


def test_claims_stand_with_outcome_and_reason_and_cannot_break_the_table():
    claim = {
        "measurement": "",
        "others": [],
        "id": "holds",
        "checkpoint": "r2d2",
        "outcome": "inconclusive",
        "sentence": "a | b\nc",
    }
    assert "| holds | `r2d2` | inconclusive | a \\| b c |" in tables.page(records(claims=(claim,)))


def test_the_papers_numbers_are_those_of_the_shipped_claims():
    """The five anchors of both regimes, each number in the range of what it is."""
    assert {name: list(anchors) for name, anchors in tables.PAPERS.items()} == {
        "r2d2": ["start", 50, 100, 250, 500],
        "sft": ["start", 50, 100, 250, 500],
    }
    for anchors in tables.PAPERS.values():
        for one in anchors.values():
            assert all(0 <= one[name] <= 1 for name in ("fixed_asr", "xstest_any", "hrci_repr", "hrci_full"))
            assert sorted(one.get("angles", ())) == list(one.get("angles", ()))


@pytest.mark.parametrize("column", OURS, ids=lambda column: column.heading)
def test_every_column_is_asked_for_by_a_line_of_the_suites(column: tables.Column):
    asked = [
        {name: describe(value) for name, value in resolve(get(measure), parameters, PROFILES["standard"]).items()}
        for measure, parameters in ASKED
        if measure == column.measure
    ]
    assert any(all(one.get(name) == value for name, value in column.parameters.items()) for one in asked)


def test_nothing_measured_is_said_and_no_table_is_printed(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.argv", ["study", "--tables"])
    monkeypatch.setattr("examples.study.__main__.RECORDS", tmp_path)
    assert main() == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no record in" in shown.err


@pytest.mark.parametrize("audit", AUDITS, ids=lambda audit: audit.name)
def test_commands_are_those_of_the_readme(audit):
    command = audit.command(["--geoaudit-plan"])
    assert command[0] == "pytest"
    assert command[-1] == "--geoaudit-plan"
    assert f"--geoaudit-model=examples/trajectories/{audit.runs[0]}/step*" in command
