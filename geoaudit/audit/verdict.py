"""One assertion decided on one checkpoint: what a pytest item reports and the record keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from geoaudit.audit.controlled import controls
from geoaudit.audit.decide import By, Decision, Outcome
from geoaudit.audit.suite import Assertion
from geoaudit.judges import JUDGES
from geoaudit.records import Measurement

Kind = Literal["bound", "change", "across"]
"""What was decided: a value against a bound, a change against another checkpoint, or the course over a trajectory."""


@dataclass(frozen=True)
class Verdict:
    """A decision with everything needed to show it."""

    suite: str
    id: str
    checkpoint: str
    """Its name; of a verdict on a trajectory, the trajectory's."""
    measure: str
    comparator: str
    bound: tuple[float, ...]
    because: str
    file: str
    line: int
    key: str | None
    """Key of the measurement in the store; None where there is none."""
    measurement: Measurement
    """What was decided on; of a trajectory, the measurement of its last checkpoint."""
    decision: Decision
    kind: Kind = "bound"
    result: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able: what a change or a course over a trajectory was decided from. Empty for a bound."""
    others: tuple[tuple[str | None, Measurement], ...] = ()
    """Further measurements that the decision rests on, each with its key in the store."""

    @property
    def outcome(self) -> Outcome:
        """passed, failed, inconclusive or invalid."""
        return self.decision.outcome

    @property
    def by(self) -> By:
        """Whether the interval or the estimate decided."""
        return self.decision.by

    def to_json(self) -> dict[str, Any]:
        """The record's entry for this assertion. Measurements that are not in the store travel with it."""
        bound: Any = self.bound[0] if len(self.bound) == 1 else list(self.bound)
        return {
            "suite": self.suite,
            "id": self.id,
            "checkpoint": self.checkpoint,
            "measurement": self.key,
            "measured_on": self.measurement.checkpoint,
            "unmeasured": None if self.key else self.measurement.to_json(),
            "others": [
                {"measurement": key, "measured_on": found.checkpoint, "unmeasured": None if key else found.to_json()}
                for key, found in self.others
            ],
            "kind": self.kind,
            "result": dict(self.result),
            "measure": self.measure,
            "comparator": self.comparator,
            "bound": bound,
            "outcome": self.outcome,
            "by": self.by,
            "sentence": self.decision.sentence,
            "because": self.because,
            "file": self.file,
            "line": self.line,
            "needed_n": self.decision.needed_n,
            "flags": [{"name": f.name, "effect": f.effect, "sentence": f.sentence} for f in self.decision.flags],
        }

    @property
    def telling(self) -> Measurement:
        """The measurement to show: of a trajectory that failed, the first checkpoint's that breaks the line."""
        if self.outcome != "failed" or self.kind != "across":
            return self.measurement
        broken = [row["checkpoint"] for row in self.result.get("points", ()) if row.get("breaks")]
        there = {found.checkpoint: found for _, found in reversed(self.others) if found.measure == self.measure}
        there[self.measurement.checkpoint] = self.measurement
        return next((there[name] for name in broken if name in there), self.measurement)

    def properties(self) -> list[tuple[str, object]]:
        """What a JUnit file shows of it."""
        found = self.telling
        values: dict[str, object] = {
            "geoaudit_outcome": self.outcome,
            "geoaudit_checkpoint": self.checkpoint,
            "geoaudit_measure": self.measure,
            "geoaudit_estimate": found.estimate,
            "geoaudit_low": found.low,
            "geoaudit_high": found.high,
            "geoaudit_n": found.n,
            "geoaudit_judge": found.judge,
            "geoaudit_bound": f"{self.comparator} {' '.join(f'{value:g}' for value in self.bound)}",
            "geoaudit_flags": " ".join(flag.name for flag in self.decision.flags),
        }
        return [(name, value) for name, value in values.items() if value not in (None, "")]

    def text(self) -> str:
        """Several lines for a failed test."""
        found = self.telling
        lines = [f"{self.outcome}: {self.id} on {self.checkpoint}", f"  {self.decision.sentence}"]
        if found.estimate is not None:
            there = found.low is not None and found.high is not None
            interval = f"95 % interval [{found.low:.4g}, {found.high:.4g}]" if there else "no interval"
            judge = f", judge {found.judge}" if found.judge else ""
            judge += " (what is not refused: an upper bound)" if _is_upper_bound(found) else ""
            where = "" if found.checkpoint == self.checkpoint else f" on {found.checkpoint}"
            value = f"{found.measure}{where} = {found.estimate:.4g} ({found.unit})"
            lines.append(f"  {value}, {interval}, n = {found.n}{judge}")
        beside = controls(found) if found.estimate is not None else ""
        lines += [f"  {beside}"] if beside else []
        direct = found.detail.get("direct")
        if direct:
            interval = f"[{direct['low']:.4g}, {direct['high']:.4g}]"
            lines.append(f"  beside it, plain requests to the same behaviours: {direct['estimate']:.4g} {interval}")
        worst = [row for row in found.detail.get("categories", ()) if row["hits"]]
        if worst and self.comparator == "at_most":
            top = max(worst, key=lambda row: row["hits"] / row["n"])
            lines.append(f"  most in category {top['category']!r}: {top['hits']:g} of {top['n']}")
        lines += [f"  {flag.name}: {flag.sentence}" for flag in self.decision.flags if flag.effect == "note"]
        lines.append(f"  because: {self.because}")
        return "\n".join(lines)


def _is_upper_bound(found: Measurement) -> bool:
    """Whether a rate of successes counts whatever is not refused."""
    rates = ("attack_success_rate", "transfer_asr")
    return found.measure in rates and found.judge in JUDGES and JUDGES[found.judge].says == "refusal"


class AuditOutcome(Exception):
    """An assertion that did not pass, raised so that pytest reports it under its own word."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.text())
        self.verdict = verdict


def verdict_of(
    assertion: Assertion,
    suite: str,
    checkpoint: str,
    key: str | None,
    measurement: Measurement,
    decision: Decision,
    *,
    kind: Kind = "bound",
    result: Mapping[str, Any] | None = None,
    others: Sequence[tuple[str | None, Measurement]] = (),
) -> Verdict:
    """The verdict for a line of a suite."""
    return Verdict(
        suite=suite,
        id=assertion.id,
        checkpoint=checkpoint,
        measure=assertion.measure,
        comparator=assertion.comparator,
        bound=assertion.bound,
        because=assertion.because,
        file=assertion.file,
        line=assertion.line,
        key=key,
        measurement=measurement,
        decision=decision,
        kind=kind,
        result=result or {},
        others=tuple(others),
    )
