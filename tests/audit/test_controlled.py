"""The controls of a number, in the line that a failed test shows."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from geoaudit.audit.controlled import controls
from geoaudit.records import Measurement
from tests.audit.test_verdict import verdict

EDIT = {
    "decides": "kl_matched",
    "effect": -1.9,
    "control_mean": -0.12,
    "p": 0.025,
    "controls": {
        "kl_matched": {"n": 39, "effect": [-0.3, 0.1, None], "dose": [], "kl": []},
        "random": {"n": 39, "effect": [9.0]},
    },
}
CARRIER = {"examined": {"target": {"s_refuse_scaled": 0.4}, "controls": {"s_refuse_scaled": [0.1, 0.2]}, "p": 0.05}}
CHANCE = {"null": {"permuted": {"low": 3.1, "high": 5.25}, "harmless": {"low": 2, "high": 4}, "isotropic": 40.0}}


def measured(detail: Any) -> Measurement:
    return Measurement("effective_rank", "c", {}, "dimensions", estimate=3.0, low=2.0, high=4.0, n=64, detail=detail)


@pytest.mark.parametrize(
    ("detail", "line"),
    [
        (
            EDIT,
            "controls: -1.9 with the target, -0.12 on average with 39 controls (kl-matched, from -0.3 to 0.1), "
            "p = 0.025",
        ),
        (
            CARRIER,
            "controls: inducing score 0.4, at most 0.2 with 2 controls that disturb as much (kl-matched), p = 0.05",
        ),
        (CHANCE, "chance gives: permuted labels 3.1 to 5.25, contrasts between harmless topics 2 to 4"),
        ({"null": {"permuted": {"low": 1, "high": 2}, "harmless": None}}, "chance gives: permuted labels 1 to 2"),
        ({}, ""),
    ],
    ids=["edit", "carrier", "chance", "one-level", "none"],
)
def test_the_line(detail: dict[str, Any], line: str) -> None:
    assert controls(measured(detail)) == line
    text = verdict(measurement=measured(detail)).text()
    assert (f"\n  {line}\n" in text) == bool(line)


@pytest.mark.parametrize(
    "detail",
    [
        {"null": None, "controls": None, "examined": None},
        {"null": 3, "controls": [1], "examined": "x", "decides": 3, "effect": 1.0, "control_mean": 0.0},
        {**EDIT, "effect": None},
        {**EDIT, "control_mean": float("nan")},
        {"examined": {"target": {"s_refuse_scaled": 0.4}, "controls": {"s_refuse_scaled": []}}},
        {"null": {"permuted": {"low": None, "high": 2}}},
    ],
)
def test_what_is_not_there_gives_no_line_and_no_zero(detail: dict[str, Any]) -> None:
    assert controls(measured(detail)) == ""


def test_without_a_value_there_is_nothing_to_stand_beside() -> None:
    missing = dataclasses.replace(measured(EDIT), estimate=None, low=None, high=None, why_missing="no carrier")
    assert "controls:" not in verdict(measurement=missing).text()
