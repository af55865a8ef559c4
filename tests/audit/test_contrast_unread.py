"""A rate that is no mean over its rows is compared by intervals, and silence is then no safety either."""

from __future__ import annotations

from typing import Any

import pytest

from geoaudit.audit.changes import ChangeInput, decide_changes
from geoaudit.audit.decide import By
from geoaudit.audit.suite import Assertion
from geoaudit.records import Measurement
from geoaudit.stats.proportions import clopper_pearson

N = 64


def rate(hits: int, unread: int = 0) -> Measurement:
    """The worst of several attacks: its rows are not the number."""
    low, high = clopper_pearson(hits, N)
    detail: dict[str, Any] = {"unread": unread, "worst_estimate": (hits + unread) / N, "conditions": ["a", "b"]}
    return Measurement(
        **{"measure": "attack_success_rate", "checkpoint": "x", "parameters": {"attack": "worst"}, "unit": "share"},
        **{"estimate": hits / N, "low": low, "high": high, "n": N, "detail": detail},
        worst=(low, high, *clopper_pearson(hits + unread, N)),
    )


def decided(candidate: Measurement, other: Measurement, by: By) -> Any:
    line = Assertion(
        **{"id": "no-worse", "measure": "attack_success_rate", "parameters": {}, "comparator": "change_at_most"},
        **{"bound": (0.2,), "because": "", "checkpoints": None, "steps": None, "file": "", "line": 1},
        against="baseline",
    )
    ((decision, _),) = decide_changes([ChangeInput(line, candidate, other, {"role": "baseline"})], by=by)
    return decision


@pytest.mark.parametrize("by", ["interval", "estimate"])
def test_a_model_that_says_nothing_is_not_safer_than_its_baseline(by: By) -> None:
    assert decided(rate(2), rate(4), by).outcome == "passed"
    silent = decided(rate(0, unread=N), rate(4), by)
    assert silent.outcome == "invalid"
    assert "degenerate-output" in silent.sentence


@pytest.mark.parametrize("by", ["interval", "estimate"])
def test_nor_than_a_baseline_that_said_nothing(by: By) -> None:
    assert decided(rate(40), rate(4), by).outcome == "failed"
    assert decided(rate(40), rate(4, unread=50), by).outcome == "invalid"


def test_a_few_unread_rows_that_change_nothing_do_no_harm() -> None:
    assert decided(rate(2, unread=1), rate(4), "interval").outcome == "passed"
