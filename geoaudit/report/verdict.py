"""The record arranged for reading: verdict, assertions worst first, the same assertion across checkpoints.

Takes a record that has been cleaned; computes no number, only order, wording and counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from geoaudit.report import changes, titles, words
from geoaudit.report.changes import ACROSS, CHANGE, Change, Series
from geoaudit.report.titles import Row, mapping

MOST_NAMED = 3
"""Checkpoints named beside a rate; more are counted."""


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
    def kind(self) -> str:
        """*bound*, *change* or *across*."""
        return changes.kind(self.assertion)

    @property
    def change(self) -> Change | None:
        """What a change was decided from; None for any other line."""
        return Change(mapping(self.assertion.get("result")), self._own_unit) if self.kind == CHANGE else None

    @property
    def series(self) -> Series | None:
        """What a rule over a trajectory was decided from; None for any other line."""
        if self.kind != ACROSS:
            return None
        return Series(mapping(self.assertion.get("result")), self._own_unit, self._bounds)

    @property
    def decided(self) -> Row:
        """The numbers that were held against the bound: the measurement's, or those of the difference."""
        return self.change.numbers if self.change else self.measurement

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint; of a line over a trajectory, the trajectory's."""
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
        if self.series:
            return bool(self.series.value)
        return words.finite(self.decided.get("estimate")) is not None

    @property
    def value(self) -> str:
        """The estimate, or "not measured: why"."""
        if not self.measured:
            sentence = str(self.assertion.get("sentence") or "")
            return words.missing_reason({} if self.kind != changes.BOUND else self.measurement, sentence)
        if self.series:
            return self.series.value
        if self.change:
            return self.change.value
        return words.number(self.measurement["estimate"], self.unit, apart_from=self._bounds)

    @property
    def interval(self) -> str:
        """The interval in brackets, "" where there is none."""
        if not self.measured or self.series:
            return ""
        if self.change:
            return self.change.interval
        low, high = self.measurement.get("low"), self.measurement.get("high")
        return words.interval(low, high, self.unit, apart_from=self._bounds)

    @property
    def level(self) -> str:
        """`95 % Clopper-Pearson`."""
        if self.change or self.series:
            return words.plain(mapping(self.assertion.get("result")).get("method") or self.kind)
        share = words.finite(self.measurement.get("level"))
        percent = "" if share is None else f"{words.exact(round(share * 100, 6))} % "
        return f"{percent}{self.measurement.get('interval') or 'interval'}"

    @property
    def unit(self) -> str:
        """Unit of the value."""
        return f"change of {self._own_unit}".removesuffix(" of ") if self.change else self._own_unit

    @property
    def figure_bound(self) -> str:
        """The comparator as a figure of one value takes it."""
        return words.plain(self.assertion.get("comparator")).removeprefix("change_")

    @property
    def bound(self) -> str:
        """The bound in words."""
        if self.series:
            return self.series.rule
        return words.bound_text(str(self.assertion.get("comparator") or ""), self.assertion.get("bound"))

    @property
    def n(self) -> str:
        """The number of prompts; no zero for what was not measured."""
        if self.series and self.measured:
            return words.count(len(self.series.points) - self.series.missing)
        found = mapping(self.assertion.get("result")) if self.change else self.measurement
        return words.count(found.get("n")) if self.measured else "none"

    @property
    def cases(self) -> str:
        """`200 completions` where n counts behaviours that were asked several times; "" where it counts all."""
        if self.series and self.measured:
            return "checkpoints"
        cases = words.finite(mapping(self.measurement.get("detail")).get("cases"))
        if (
            not self.measured
            or self.kind != changes.BOUND
            or cases is None
            or cases == words.finite(self.measurement.get("n"))
        ):
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
        """Validity checks that fired, those that stop first; a note that only repeats one of them is left out."""
        found = [flag for flag in self.assertion.get("flags") or () if isinstance(flag, Mapping)]
        stopping = [flag for flag in found if flag.get("effect") == "stops"]
        said = [(flag.get("name"), flag.get("sentence")) for flag in stopping]
        notes = [flag for flag in found if flag.get("effect") != "stops"]
        return stopping + [flag for flag in notes if (flag.get("name"), flag.get("sentence")) not in said]

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
    def _own_unit(self) -> str:
        return str(self.measurement.get("unit") or "")

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
    """Names of the checkpoints in the record's order, those that only an assertion or measurement names last.

    A line over a trajectory names no checkpoint, and one that was only compared with is none of this audit's.
    """
    named = [row.get("name") for row in rows(record, "checkpoints")]
    named += [row.get("checkpoint") for row in rows(record, "assertions") if changes.kind(row) != ACROSS]
    others = {words.plain(key) for row in rows(record, "assertions") for key in titles.listed(row.get("others"))}
    named += [
        row.get("checkpoint") for row in rows(record, "measurements") if words.plain(row.get("key")) not in others
    ]
    return list(dict.fromkeys(words.plain(name) for name in named))


def by_checkpoint(record: Row, found: Sequence[Line]) -> list[tuple[str, Row, dict[str, int]]]:
    """For each checkpoint its name, its entry in the record (empty: none) and its outcomes, worst first."""
    entries = {words.plain(row.get("name")): row for row in rows(record, "checkpoints")}
    cards = []
    for name in checkpoint_names(record):
        own = [line.assertion for line in found if line.checkpoint == name and line.kind != ACROSS]
        cards.append((name, entries.get(name, {}), words.tally(own)))
    return cards


def side_by_side(found: Sequence[Line], names: Sequence[str]) -> list[tuple[Line, list[Line | None]]]:
    """Each assertion once with its line for every checkpoint (None: not asked), the worst assertion first."""
    grouped: dict[tuple[str, str], dict[str, Line]] = {}
    for line in found:
        if line.kind == ACROSS:
            continue
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
    return [
        line
        for line in found
        if keys & {str(line.assertion.get("measurement") or ""), *map(str, titles.listed(line.assertion.get("others")))}
    ]


def beside_rate(found: Iterable[Line], checkpoint: str) -> list[tuple[Line, str]]:
    """Each assertion that reads a rate of this checkpoint once, and on which other checkpoints it reads it.

    A change puts the rate of the one that it is compared with beside that of every other one.
    """
    grouped: dict[tuple[str, str], list[Line]] = {}
    for line in found:
        own = words.plain(line.assertion.get("suite")), words.plain(line.assertion.get("id"))
        grouped.setdefault(own, []).append(line)
    made = []
    for same in grouped.values():
        here = [line for line in same if line.kind == ACROSS or line.checkpoint == checkpoint]
        names = list(dict.fromkeys(line.checkpoint for line in same if line not in here))
        shown = ", ".join(names) if len(names) <= MOST_NAMED else words.plural(len(names), "checkpoint")
        made.append(((here or same)[0], f"{'also ' if here else ''}on {shown}" if names else ""))
    return made


def doubted(record: Row) -> frozenset[str]:
    """Keys of the measurements whose number must not be trusted.

    A check stops the verdict on them and no bound was decided all the same: a bound can fail on a number that is too
    doubtful to pass on.
    """
    decided: dict[str, bool] = {}
    for row in rows(record, "assertions"):
        if changes.kind(row) == changes.BOUND and row.get("measurement"):
            key = words.plain(row["measurement"])
            decided[key] = decided.get(key, False) or words.outcome_of(row) != "invalid"
    stopped = {words.plain(row.get("key")) for row in rows(record, "measurements") if stops([row])}
    return frozenset(
        {key for key, found in decided.items() if not found} | (stopped - {k for k, v in decided.items() if v})
    )


def overlap(record: Row, checkpoint: str) -> str:
    """Whether the prompts could be compared with what the checkpoint was trained on; "" where the record is silent."""
    own = [row for row in rows(record, "measurements") if words.plain(row.get("checkpoint")) == checkpoint]
    said = {str(mapping(row.get("detail")).get("overlap")) for row in own} & {"checked", "not checkable"}
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
