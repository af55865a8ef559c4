"""Deciding the lines of a suite: what each needs of which checkpoint, asked for at once, and the verdicts from it.

Where the numbers come from is none of its business: a live audit measures them, a replay has them in its records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from geoaudit.audit import profiles
from geoaudit.audit.across import Point, decide_across
from geoaudit.audit.baseline import Other
from geoaudit.audit.changes import ChangeInput, decide_changes, family
from geoaudit.audit.decide import By, Decision, decide
from geoaudit.audit.gate import single_condition
from geoaudit.audit.numbers import Live, NotInRecord, Numbers
from geoaudit.audit.plan import Planned, fewer, resolve
from geoaudit.audit.suite import Assertion, Suite
from geoaudit.audit.verdict import Verdict, verdict_of
from geoaudit.errors import GeoauditError, RequestError, UnknownName
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.table import get
from geoaudit.records import Measurement


@dataclass(frozen=True)
class Line:
    """An assertion of a suite and what it is decided on."""

    assertion: Assertion
    suite: Suite
    about: str
    """A checkpoint, or a trajectory for a line across one."""
    members: tuple[str, ...]
    """The checkpoints that must be measured for it."""


ALONE = "decided by itself: the changes of several tests in Python are not corrected for being several"
Keyed = tuple[str | None, Measurement]
"""(key in the store or the record, measurement)."""
Ask = tuple[str, str, Mapping[str, Any]]
"""(checkpoint, measure, parameters as given)."""


class Deciding:
    """The verdicts of an audit.

    Args:
        numbers: where measurements come from.
        by: whether intervals or estimates decide.
    """

    def __init__(self, numbers: Numbers, by: By) -> None:
        self.numbers = numbers
        self.by: By = by
        self.lines: list[Line] = []
        """Every line that will be decided."""
        self._planned: dict[str, Planned | GeoauditError] = {}
        self._laid: set[str] = set()
        self._families: dict[tuple[str, str], dict[str, _Decided]] = {}
        self._others: dict[str, Other] = {}

    def expect(self, lines: Iterable[Line]) -> None:
        """Every line that will be decided, so that each checkpoint is measured once for all of them."""
        self.lines = list(lines)
        if isinstance(self.numbers, Live):  # while another process measures a checkpoint, this one measures others
            self.numbers.auditor.lay_plan = self._lay

    def decide(self, assertion: Assertion, suite: Suite, about: str) -> Verdict:
        """Decide one line on a checkpoint, or, for a line across a trajectory, on the trajectory of that name."""
        if assertion.across is not None:
            return self._across(assertion, suite, about)
        if assertion.against is not None:
            return self._change(assertion, suite, about)
        return self._bound(assertion, suite, about)

    def planned(self, checkpoint: str) -> list[tuple[Assertion, Planned | GeoauditError]]:
        """What each line asks of a checkpoint."""
        self._lay(checkpoint)
        asks = [(line.assertion, ask) for line in self.lines for ask in self._asks(line) if ask[0] == checkpoint]
        # a change line asks for its whole family: each is said of itself, and once
        own = [pair for pair in asks if pair[0].against is None or pair[1] == _ask(pair[0], checkpoint)]
        kept = [pair for at, pair in enumerate(own) if pair[0].against is None or pair not in own[:at]]
        alone: list[tuple[Assertion, Planned | GeoauditError]] = [
            (line.assertion, RequestError(f"nothing to compare with: {why}"))
            for line in self.lines
            if line.about == checkpoint and (why := self.without_other(line.assertion, checkpoint))
        ]
        return [(assertion, self._plan(ask)) for assertion, ask in kept] + alone

    def measure(
        self, checkpoint: str, measure: str, given: Mapping[str, Any], file: str = ""
    ) -> tuple[str | None, Measurement]:
        """For the `audit` fixture, in a test of that file: (key, measurement).

        Raises:
            UnknownName: of a source that there is not, which is the test's error and no verdict.
        """
        self._lay(checkpoint)
        ask = (checkpoint, measure, given)
        planned = self._plan(ask)
        if isinstance(planned, UnknownName):
            raise planned
        return self._measured(ask, file)

    def change(self, assertion: Assertion, checkpoint: str) -> Verdict:
        """For the `audit` fixture: one change, decided by itself."""
        given, (candidate, other) = self._sides(
            assertion, checkpoint, self._measured(_ask(assertion, checkpoint), assertion.file)
        )
        ((decision, result),) = decide_changes([given], by=self.by)
        decision = replace(decision, sentence=f"{decision.sentence}; {ALONE}")
        others = [] if other is None else [other]
        return verdict_of(
            assertion, "python", checkpoint, *candidate, decision, kind="change", result=result, others=others
        )

    # --- each kind ---------------------------------------------------------------------------------------------------

    def _bound(self, assertion: Assertion, suite: Suite, checkpoint: str) -> Verdict:
        key, measurement = self._measured(_ask(assertion, checkpoint), suite.file)
        condition = single_condition(suite, assertion, checkpoint)
        decision = decide(
            assertion.comparator,
            assertion.bound,
            measurement,
            by=self.by,
            extra=(condition,) if condition is not None else (),
        )
        return verdict_of(assertion, suite.name, checkpoint, key, measurement, decision)

    def _across(self, assertion: Assertion, suite: Suite, trajectory: str) -> Verdict:
        """A rule on the course of a measure over a trajectory."""
        assert assertion.across is not None
        members, second = self._members(assertion, trajectory), assertion.across.other
        steps = self.numbers.trajectories.of(members[0]).steps
        points, others = [], []
        for name in members:
            key, found = self._measured(_ask(assertion, name), suite.file)
            point = Point(name, steps.get(name), key, found)
            if second is not None:
                beside = self._measured((name, second.measure, second.parameters), suite.file)
                point = replace(point, other_key=beside[0], other=beside[1])
                others.append(beside)
            others.append((key, found))
            points.append(point)
        (key, last), others = others[-1], others[:-1]
        one_way = single_condition(suite, assertion, members[-1]) if assertion.bound else None
        extra = () if one_way is None else (one_way,)
        decision, result = decide_across(assertion, points, by=self.by, trajectory=trajectory, extra=extra)
        return verdict_of(
            assertion, suite.name, trajectory, key, last, decision, kind="across", result=result, others=others
        )

    def _change(self, assertion: Assertion, suite: Suite, checkpoint: str) -> Verdict:
        """A margin of what changed: all change lines of the file are decided together, whichever were selected."""
        name = suite.file, checkpoint
        if name not in self._families:
            self._families[name] = self._family(suite, checkpoint)
        family = self._families[name]
        own = family[assertion.id]
        others = [] if own.other is None else [own.other]
        # a replay decides them together again: those of lines that were not selected are nobody else's
        selected = {line.assertion.id for line in self.lines if (line.suite.file, line.about) == name}
        for line, one in family.items():
            if line != assertion.id and line not in selected:
                others += [one.candidate, *([] if one.other is None else [one.other])]
        key, measurement = own.candidate
        return verdict_of(
            assertion,
            suite.name,
            checkpoint,
            key,
            measurement,
            own.decision,
            kind="change",
            result=own.result,
            others=others,
        )

    def _family(self, suite: Suite, checkpoint: str) -> dict[str, _Decided]:
        """Id -> what was decided of each change line of a suite on a checkpoint."""
        lines = self._changes(suite, checkpoint)
        inputs, sides = zip(
            *(self._sides(line, checkpoint, self._candidate(line, checkpoint, suite.file)) for line in lines),
            strict=True,
        )
        decided = decide_changes(inputs, by=self.by)
        return {
            line.id: _Decided(candidate, other, decision, result)
            for line, (candidate, other), (decision, result) in zip(lines, sides, decided, strict=True)
        }

    def _candidate(self, line: Assertion, checkpoint: str, file: str) -> Keyed:
        """What a change line measures of the checkpoint itself; nothing where there is nothing to compare it with."""
        why = self.without_other(line, checkpoint)
        if not why:
            return self._measured(_ask(line, checkpoint), file)
        shown = Evidence.described(line.parameters)
        return None, Measurement(line.measure, checkpoint, shown, get(line.measure).unit, why_missing=why)

    def without_other(self, line: Assertion, checkpoint: str) -> str:
        """Why a change line has nothing to compare with on a checkpoint; empty where it has, and for other lines."""
        return "" if line.against is None else self._other(line, checkpoint).why_not

    def _other(self, line: Assertion, checkpoint: str) -> Other:
        """What a change line is compared with on a checkpoint: nothing, too, where a record lacks the measurement."""
        name = repr((line.file, line.against, _shown((checkpoint, line.measure, line.parameters))))
        if name not in self._others:
            against = self.numbers.against
            found = against.other(line, checkpoint)
            if not found.why_not:
                with suppress(GeoauditError):  # a parameter that cannot be is said where it is planned
                    resolved = resolve(get(line.measure), line.parameters, profiles.get(against.profile))
                    found = replace(found, why_not=against.lacks(line, checkpoint, Evidence.described(resolved)))
            self._others[name] = found
        return self._others[name]

    def _sides(
        self, line: Assertion, checkpoint: str, candidate: Keyed
    ) -> tuple[ChangeInput, tuple[Keyed, Keyed | None]]:
        """What a change line is decided from, and both sides with their keys."""
        against = self.numbers.against
        other = self._other(line, checkpoint)
        there = self._measured(_ask(line, other.checkpoint), line.file) if other.checkpoint else None
        given = against.input(line, candidate[1], other, None if there is None else there[1])
        if there is None and given.other is not None:
            there = self.numbers.key_of(given.other), given.other
        return given, (candidate, there)

    def _changes(self, suite: Suite, checkpoint: str) -> list[Assertion]:
        """The change lines that are decided together; a reference is compared with no reference."""
        return [one for one in family(suite, checkpoint) if not self._other(one, checkpoint).itself]

    # --- measurements ------------------------------------------------------------------------------------------------

    def _members(self, assertion: Assertion, trajectory: str) -> tuple[str, ...]:
        """The checkpoints of a trajectory that a line concerns, in order."""
        same = (line for line in self.lines if (line.assertion, line.about) == (assertion, trajectory))
        return next(line.members for line in same)

    def _asks(self, line: Line) -> list[Ask]:
        """Every measurement that deciding a line takes."""
        one = line.assertion
        if one.across is not None:
            return [(name, *asked) for asked in one.asked for name in line.members]
        if one.against is None:
            return [_ask(one, line.about)]
        asks = []
        for change in self._changes(line.suite, line.about):
            other = self._other(change, line.about)
            if not other.why_not:  # nothing is measured for a comparison with nothing
                asks += [_ask(change, name) for name in (line.about, other.checkpoint) if name]
        return asks

    def _lay(self, checkpoint: str) -> None:
        """Plan all that is asked of a checkpoint before the first is measured, so that each need is met once."""
        if checkpoint in self._laid:
            return
        self._laid.add(checkpoint)
        for line in self.lines:
            for ask in self._asks(line):
                if ask[0] == checkpoint:
                    self._plan(ask)

    def _plan(self, ask: Ask) -> Planned | GeoauditError:
        checkpoint, measure, given = ask
        name = _shown(ask)
        if name not in self._planned:
            try:
                self._planned[name] = self.numbers.plan(checkpoint, measure, given)
            except GeoauditError as error:
                self._planned[name] = error
        return self._planned[name]

    def _measured(self, ask: Ask, file: str) -> tuple[str | None, Measurement]:
        """The measurement, or one that says why there is none; `file` is the suite's that asks for it."""
        checkpoint, measure, given = ask
        self._lay(checkpoint)
        try:
            planned = self._plan(ask)
            if isinstance(planned, GeoauditError):
                raise planned.with_traceback(None)
            key, found = self.numbers.measured(planned)
            short = fewer(planned, given)
            return key, found if short is None else replace(found, flags=(*found.flags, short))
        except GeoauditError as error:
            why = f"{error}: {error.command_for(file)}" if isinstance(error, NotInRecord) else str(error)
            shown = Evidence.described(given)
            return None, Measurement(measure, checkpoint, shown, get(measure).unit, why_missing=why)


@dataclass(frozen=True)
class _Decided:
    """What was decided of one change line, and both sides of it with their keys."""

    candidate: Keyed
    other: Keyed | None
    decision: Decision
    result: Mapping[str, Any]


def _ask(assertion: Assertion, checkpoint: str) -> Ask:
    return checkpoint, assertion.measure, assertion.parameters


def _shown(ask: Ask) -> str:
    """What is asked, as text that tells it from everything else that is."""
    checkpoint, measure, given = ask
    return repr((checkpoint, measure, sorted(given.items(), key=lambda item: item[0])))
