"""What pytest's report of an item says of an audit: its verdicts, as the test meant them, and words for outcomes."""

from __future__ import annotations

import os
from typing import Any

import pytest

from geoaudit.audit.decide import OUTCOMES
from geoaudit.audit.verdict import AuditOutcome, Verdict
from geoaudit.items import LONGEST
from geoaudit.report.clean import visible

VERDICTS: pytest.StashKey[list[dict[str, Any]]] = pytest.StashKey()
WORDS = {"inconclusive": ("I", "yellow"), "invalid": ("V", "red")}


def keep(item: pytest.Item, verdict: Verdict) -> None:
    """Keep a verdict until the item's report is made."""
    item.stash.setdefault(VERDICTS, []).append(verdict.to_json())
    item.user_properties += verdict.properties()


def attach(item: pytest.Item, call: pytest.CallInfo[None], report: Any, *, allow_inconclusive: bool) -> None:
    """Attach an item's verdicts to the report of its call.

    Args:
        item: that was run.
        call: as pytest made it.
        report: of the call; changed in place.
        allow_inconclusive: whether an inconclusive item is reported as skipped.
    """
    verdicts = item.stash.get(VERDICTS, [])
    raised = call.excinfo.value if call.excinfo is not None else None
    if isinstance(raised, AuditOutcome) and report.failed:
        report.longrepr = visible(str(raised), LONGEST)
        if _worst(verdicts) == "inconclusive" and allow_inconclusive:
            path, line, _ = item.reportinfo()
            why = f"inconclusive (allowed): {raised.verdict.decision.sentence}"
            report.outcome, report.longrepr = "skipped", (os.fspath(path), (line or 0) + 1, why)
    report.geoaudit = _as_asserted(verdicts, report, call)
    outcomes = iter([one["outcome"] for one in report.geoaudit])
    report.user_properties = [
        (name, next(outcomes) if name == "geoaudit_outcome" else value) for name, value in report.user_properties
    ]


def status(report: Any) -> tuple[str, str, Any] | None:
    """Inconclusive and invalid have their own words; an estimate says that it is one. None: as pytest has it."""
    verdicts = getattr(report, "geoaudit", None)
    if report.when != "call" or not verdicts:
        return None
    worst = _worst(verdicts)
    if report.failed and worst in WORDS:
        letter, colour = WORDS[worst]
        return worst, letter, (worst.upper(), {colour: True})
    if report.skipped and worst == "inconclusive" and not hasattr(report, "wasxfail"):
        return "skipped", "s", ("INCONCLUSIVE (allowed)", {"yellow": True})
    if report.passed and verdicts[0]["by"] == "estimate":
        return "passed", ".", ("PASSED (estimate)", {"green": True})
    return None


def _worst(verdicts: list[dict[str, Any]]) -> str:
    return min((str(one["outcome"]) for one in verdicts), key=[*map(str, OUTCOMES)].index)


def _as_asserted(verdicts: list[dict[str, Any]], report: Any, call: pytest.CallInfo[None]) -> list[dict[str, Any]]:
    """Verdicts as a test in Python used its comparisons: in the negative they count the other way round."""
    if report.passed:
        return [_contrary(one) if one["outcome"] == "failed" else one for one in verdicts]
    if report.failed and verdicts and verdicts[-1]["outcome"] == "passed" and call.excinfo is not None:
        at, last = call.excinfo.traceback[-1], verdicts[-1]
        if call.excinfo.errisinstance(AssertionError) and str(at.path) == last["file"] and last["line"] > at.lineno:
            sentence = f"the assertion that this comparison stands in failed: {last['sentence']}"
            return [*verdicts[:-1], {**last, "outcome": "failed", "sentence": sentence}]
    return verdicts


def _contrary(one: dict[str, Any]) -> dict[str, Any]:
    most, least = "at_most", "at_least"
    start = one["comparator"].removesuffix(most).removesuffix(least)
    comparator = start + (least if one["comparator"].endswith(most) else most)
    sentence = f"the test asserts the contrary: {one['sentence']}"
    return {**one, "outcome": "passed", "comparator": comparator, "sentence": sentence}
