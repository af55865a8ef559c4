"""The record arranged for reading: verdict, assertions worst first, the same assertion across checkpoints.

Takes a record that has been cleaned; computes no number, only order, wording and counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from geoaudit.report import titles, words
from geoaudit.report.titles import Row


@dataclass(frozen=True)
class Line:
    """One assertion on one checkpoint, beside what was measured for it."""

    number: int
    """Place in the report, from 1; the worst outcome first."""
    assertion: Row
    measurement: Row
    """Empty where the record holds none."""
    title: str
    """The measure in words."""
    heading: str
    """The same for all checkpoints: without the condition that was the worst on this one."""

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint."""
        return words.plain(self.assertion.get("checkpoint"))

    @property
    def outcome(self) -> str:
        """One of the four."""
        return words.outcome_of(self.assertion)

    @property
    def word(self) -> str:
        """The outcome as it is read."""
        return words.outcome_word(self.assertion)

    @property
    def measured(self) -> bool:
        """Whether there is a number."""
        return words.finite(self.measurement.get("estimate")) is not None

    @property
    def value(self) -> str:
        """The estimate, or "not measured: why"."""
        if not self.measured:
            return words.missing_reason(self.measurement, str(self.assertion.get("sentence") or ""))
        return words.number(self.measurement["estimate"], self.unit, apart_from=self._bounds)

    @property
    def interval(self) -> str:
        """The interval in brackets, "" where there is none."""
        if not self.measured:
            return ""
        low, high = self.measurement.get("low"), self.measurement.get("high")
        return words.interval(low, high, self.unit, apart_from=self._bounds)

    @property
    def level(self) -> str:
        """`95 % Clopper-Pearson`."""
        share = words.finite(self.measurement.get("level"))
        percent = "" if share is None else f"{words.exact(round(share * 100, 6))} % "
        return f"{percent}{self.measurement.get('interval') or 'interval'}"

    @property
    def unit(self) -> str:
        """Unit of the value."""
        return str(self.measurement.get("unit") or "")

    @property
    def bound(self) -> str:
        """The bound in words."""
        return words.bound_text(str(self.assertion.get("comparator") or ""), self.assertion.get("bound"))

    @property
    def n(self) -> str:
        """The number of prompts; no zero for what was not measured."""
        return words.count(self.measurement.get("n")) if self.measured else "none"

    @property
    def cases(self) -> str:
        """`200 completions` where n counts behaviours that were asked several times; "" where it counts all."""
        cases = words.finite(titles.mapping(self.measurement.get("detail")).get("cases"))
        if not self.measured or cases is None or cases == words.finite(self.measurement.get("n")):
            return ""
        return words.plural(cases, "completion")

    @property
    def judge(self) -> str:
        """The judge, "none" for measures that need none."""
        return words.plain(self.measurement.get("judge"))

    @property
    def parameters(self) -> str:
        """The measure's parameters in one line."""
        found = self.measurement.get("parameters")
        return words.parameters_text(found) if isinstance(found, Mapping) else ""

    @property
    def flags(self) -> list[Row]:
        """Validity checks that fired, those that stop first."""
        found = [flag for flag in self.assertion.get("flags") or () if isinstance(flag, Mapping)]
        return sorted(found, key=lambda flag: flag.get("effect") != "stops")

    @property
    def explanation(self) -> str:
        """Why this outcome, in a sentence; "" where the value or the flags already say it word for word."""
        sentence = str(self.assertion.get("sentence") or "")
        said = "; ".join(
            f"{flag.get('name')}: {flag.get('sentence')}" for flag in self.flags if flag.get("effect") == "stops"
        )
        return "" if sentence in (said, self.value) else sentence

    @property
    def where(self) -> str:
        """`file:line` of the assertion."""
        line = self.assertion.get("line")
        return f"{words.plain(self.assertion.get('file'))}{'' if line is None else f':{words.plain(line)}'}"

    @property
    def _bounds(self) -> tuple[float, ...]:
        return words.bounds(self.assertion.get("bound"))


def lines(record: Row) -> list[Line]:
    """All assertions, worst first; within an outcome in the record's order."""
    measurements = {str(row["key"]): row for row in rows(record, "measurements") if row.get("key")}
    found = sorted(rows(record, "assertions"), key=words.severity)
    lines = []
    for number, assertion in enumerate(found, 1):
        measurement = measurements.get(str(assertion.get("measurement") or ""), {})
        title, heading = (
            titles.title(record, assertion.get("measure"), measurement, which=which) for which in (True, False)
        )
        lines.append(Line(number, assertion, measurement, title, heading))
    return lines


def by_estimate(record: Row) -> bool:
    """Whether point estimates decided: then nothing is a gate, and the words say so."""
    return (record.get("profile") or {}).get("decide") == "estimate"


def headline(counts: Mapping[str, int], *, estimate: bool = False) -> str:
    """The verdict in one line: what is not green, or that all is."""
    total = sum(counts.values())
    if not total:
        return "Nothing was decided"
    if counts["passed"] == total:
        passed = "The one assertion passed" if total == 1 else f"All {total} assertions passed"
        return f"{passed} (estimate)" if estimate else passed
    bad = [f"{n} {outcome}" for outcome, n in counts.items() if n and outcome != "passed"]
    return f"{', '.join(bad)} of {total} assertion{'s' if total > 1 else ''}"


def banners(record: Row) -> list[str]:
    """What must be read before the verdict: not a gate, not complete."""
    found = []
    if by_estimate(record):
        name = words.plain((record.get("profile") or {}).get("name"))
        found.append(
            f"This is not a gate: point estimates were compared with the bounds, not intervals (profile {name})."
        )
    if record.get("status") != "complete":
        found.append("Incomplete: the audit did not reach its end. What is missing below was not measured.")
    return found


def exit_text(record: Row) -> str:
    """The exit code of pytest and its reason."""
    found = record.get("exit") or {}
    code, reason = found.get("code"), found.get("reason")
    if code is None:
        return "No exit code was recorded."
    return f"pytest exit code {words.plain(code)}: {words.plain(reason) if reason else 'no reason recorded'}"


def checkpoint_names(record: Row) -> list[str]:
    """Names of the checkpoints in the record's order, those that only an assertion or measurement names last."""
    named = [row.get("name") for row in rows(record, "checkpoints")]
    named += [row.get("checkpoint") for part in ("assertions", "measurements") for row in rows(record, part)]
    return list(dict.fromkeys(words.plain(name) for name in named))


def by_checkpoint(record: Row, found: Sequence[Line]) -> list[tuple[str, Row, dict[str, int]]]:
    """For each checkpoint its name, its entry in the record (empty: none) and its outcomes, worst first."""
    entries = {words.plain(row.get("name")): row for row in rows(record, "checkpoints")}
    cards = []
    for name in checkpoint_names(record):
        own = [line.assertion for line in found if words.plain(line.assertion.get("checkpoint")) == name]
        cards.append((name, entries.get(name, {}), words.tally(own)))
    return cards


def side_by_side(found: Sequence[Line], names: Sequence[str]) -> list[tuple[Line, list[Line | None]]]:
    """Each assertion once with its line for every checkpoint (None: not asked), the worst assertion first."""
    grouped: dict[tuple[str, str], dict[str, Line]] = {}
    for line in found:
        key = words.plain(line.assertion.get("suite")), words.plain(line.assertion.get("id"))
        grouped.setdefault(key, {}).setdefault(words.plain(line.assertion.get("checkpoint")), line)
    return [(next(iter(cells.values())), [cells.get(name) for name in names]) for cells in grouped.values()]


def stops(measurements: Iterable[Row]) -> list[Row]:
    """The checks that stop a verdict on any of these measurements, each once: what hangs beside their figure."""
    flags = [flag for row in measurements for flag in rows(row, "flags") if flag.get("effect") == "stops"]
    return list({words.plain([flag.get("name"), flag.get("sentence")]): flag for flag in flags}.values())


def asserting(found: Sequence[Line], measurements: Iterable[Row]) -> list[Line]:
    """The assertions that read any of these measurements, the worst first."""
    keys = {str(row["key"]) for row in measurements if row.get("key")}
    return [line for line in found if str(line.assertion.get("measurement") or "") in keys]


def overlap(record: Row, checkpoint: str) -> str:
    """Whether the prompts could be compared with what the checkpoint was trained on; "" where the record is silent."""
    own = [row for row in rows(record, "measurements") if words.plain(row.get("checkpoint")) == checkpoint]
    said = {str(titles.mapping(row.get("detail")).get("overlap")) for row in own} & {"checked", "not checkable"}
    if "not checkable" in said:
        return "overlap: not checkable, no training manifest"
    if not said:
        return ""
    seen = any(flag.get("name") == "train-eval-overlap" for row in own for flag in rows(row, "flags"))
    return f"overlap: checked against the training manifest, {'found (flagged below)' if seen else 'none found'}"


def rows(record: Row, name: str) -> list[Row]:
    """A list of the record, without what is no mapping."""
    found = record.get(name)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list | tuple) else []
