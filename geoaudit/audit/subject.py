"""The `audit` fixture: measurements of one checkpoint for tests in Python.

`assert audit.attack_success_rate("harmbench") <= 0.05` measures, decides and shows value, interval, n and judge when it
fails. What it compares is not a float, so that nothing unmeasured or undecided can slip through a comparison.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from geoaudit.audit.decide import By, decide
from geoaudit.audit.suite import AGAINST, Against, Assertion
from geoaudit.audit.values import impossible, impossible_change
from geoaudit.audit.verdict import AuditOutcome, Verdict, verdict_of
from geoaudit.errors import GeoauditError, RequestError
from geoaudit.measures.inputs import Source
from geoaudit.measures.table import get
from geoaudit.records import Measurement

Measurer = Callable[[str, dict[str, Any]], tuple[str | None, Measurement]]
"""(measure, parameters) -> (key or None, measurement)."""
Changer = Callable[[Assertion], Verdict]
"""An assertion on a change, decided."""


class AuditedCheckpoint:
    """One checkpoint: every measure of the table is a method (`geoaudit measures` lists them).

    The first positional argument is the source of prompts, where the measure has one; parameters are keywords.
    """

    def __init__(
        self, name: str, measure: Measurer, by: By, record: Callable[[Verdict], None], change: Changer | None = None
    ) -> None:
        self.name = name
        self._measure = measure
        self._by = by
        self._record = record
        self._change = change

    def __getattr__(self, measure: str) -> Callable[..., Measured]:
        if measure.startswith("_"):
            raise AttributeError(measure)
        __tracebackhide__ = True  # a wrong call is shown where it stands, not where it was noticed
        try:
            definition = get(measure)
        except GeoauditError as error:
            raise error.with_traceback(None) from None

        def call(source: str | Source | None = None, /, **parameters: Any) -> Measured:
            __tracebackhide__ = True
            if source is not None:
                if "source" not in definition.parameters:
                    raise TypeError(f"{measure} takes no source; its parameters: {', '.join(definition.parameters)}")
                parameters["source"] = source
            try:
                key, measurement = self._measure(measure, parameters)
            except GeoauditError as error:
                raise error.with_traceback(None) from None
            return Measured(key, measurement, self._by, self._record, parameters, self._change)

        return call


class _Decided:
    """What answers `<= < >= >` once it is decided.

    passed is True, failed is False; inconclusive and invalid raise `AuditOutcome`. An impossible bound raises
    `RequestError`. Equality, truth and conversion to a number raise TypeError.
    """

    IS = ""
    """What it is, in an error's words."""

    def __init__(self, measurement: Measurement, record: Callable[[Verdict], None]) -> None:
        self.measurement = measurement
        self.verdict: Verdict | None = None
        """Of the latest comparison."""
        self._record = record

    def __le__(self, bound: float) -> bool:
        return self._compare("at_most", bound)

    def __lt__(self, bound: float) -> bool:
        return self._compare("at_most", bound, beyond=-math.inf)

    def __ge__(self, bound: float) -> bool:
        return self._compare("at_least", bound)

    def __gt__(self, bound: float) -> bool:
        return self._compare("at_least", bound, beyond=math.inf)

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError(f"{self.IS} has an interval and equals nothing; compare with <= or >=, or use .estimate")

    __hash__ = None  # type: ignore[assignment]  # not equal to anything, so not hashable

    def __bool__(self) -> NoReturn:
        raise TypeError(f"{self.IS} is neither true nor false; compare it with a bound, or use .estimate")

    def __float__(self) -> NoReturn:
        raise TypeError(f"{self.IS} is not a float; use .estimate for the bare number")

    def _impossible(self, bound: float) -> str | None:
        """Why no value could ever lie beyond or within the bound."""
        raise NotImplementedError

    def _verdict(self, assertion: Assertion) -> Verdict:
        raise NotImplementedError

    def _written(self, comparator: Any, bound: float, id_: str, file: str, line: int) -> Assertion:
        raise NotImplementedError

    def _compare(self, side: str, bound: float, beyond: float | None = None) -> bool:
        """Decide against `bound`, or against the next number towards `beyond` where the bound itself is not enough."""
        if isinstance(bound, bool) or not isinstance(bound, (int, float)) or not math.isfinite(bound):
            raise TypeError(f"a bound is a finite number, got {bound!r}")
        if (why := self._impossible(bound)) is not None:
            raise RequestError(why)
        frame = sys._getframe(2)
        name, file, line = frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno
        against = float(bound) if beyond is None else math.nextafter(bound, beyond)
        self.verdict = self._verdict(self._written(side, against, name, file, line))
        self._record(self.verdict)
        if self.verdict.outcome in ("inconclusive", "invalid"):
            raise AuditOutcome(self.verdict)
        return self.verdict.outcome == "passed"


class Measured(_Decided):
    """A measurement that answers comparisons once it is decided.

    A bound outside the measure's range raises `RequestError` (5 for a rate is no 5 %). Use `.estimate`, `.low`, `.high`
    for bare numbers, and `.change("baseline")` for what became of it since.
    """

    IS = "a measurement"

    def __init__(
        self,
        key: str | None,
        measurement: Measurement,
        by: By,
        record: Callable[[Verdict], None],
        parameters: Mapping[str, Any] | None = None,
        change: Changer | None = None,
    ) -> None:
        super().__init__(measurement, record)
        self._key = key
        self._by = by
        self._parameters = parameters or {}
        self._change = change

    @property
    def estimate(self) -> float | None:
        """The bare number, or None where there is none."""
        return self.measurement.estimate

    @property
    def low(self) -> float | None:
        """Lower end of the 95 % interval."""
        return self.measurement.low

    @property
    def high(self) -> float | None:
        """Upper end of the 95 % interval."""
        return self.measurement.high

    @property
    def n(self) -> int:
        """Prompts behind the number."""
        return self.measurement.n

    def change(self, against: Against = "baseline") -> Changed:
        """What changed against the baseline (--geoaudit-baseline) or the reference, on the same prompts.

        `assert audit.attack_success_rate("harmful").change("baseline") <= 0.05` allows five points more. Each is
        decided by itself: those of several tests are not corrected for being several, as the lines of a suite file are.

        Raises:
            RequestError: neither *baseline* nor *reference*.
        """
        if against not in AGAINST:
            raise RequestError(f"a change is against {' or '.join(map(repr, AGAINST))}, got {against!r}")
        if self._change is None:
            raise RequestError("this measurement was not made for an audit: there is nothing to compare it with")
        return Changed(self.measurement, self._parameters, against, self._change, self._record)

    def __repr__(self) -> str:
        found = self.measurement
        if found.estimate is None:
            return f"<{found.measure}: not measured: {found.why_missing}>"
        return f"<{found.measure} {found.estimate:.4g}{_ends(found.low, found.high, '.4g')}, n={found.n}>"

    def _impossible(self, bound: float) -> str | None:
        return impossible(bound, get(self.measurement.measure))

    def _written(self, comparator: Any, bound: float, id_: str, file: str, line: int) -> Assertion:
        measure = self.measurement.measure
        name = f"{id_}: {measure}"
        return Assertion(name, measure, {}, comparator, (bound,), "asserted in Python", None, None, file, line)

    def _verdict(self, assertion: Assertion) -> Verdict:
        found = self.measurement
        decision = decide(assertion.comparator, assertion.bound, found, by=self._by)
        return verdict_of(assertion, "python", found.checkpoint, self._key, found, decision)


class Changed(_Decided):
    """What a measure changed against another checkpoint: candidate minus the other, decided on the same prompts."""

    IS = "a change"

    def __init__(
        self,
        measurement: Measurement,
        parameters: Mapping[str, Any],
        against: Against,
        change: Changer,
        record: Callable[[Verdict], None],
    ) -> None:
        super().__init__(measurement, record)
        self._parameters = parameters
        self._against: Against = against
        self._change = change

    def __repr__(self) -> str:
        name = f"change of {self.measurement.measure} against the {self._against}"
        found = self.verdict.result if self.verdict is not None else {}
        if found.get("estimate") is None:
            return f"<{name}>"
        return f"<{name} {found['estimate']:+.4g}{_ends(found['low'], found['high'], '+.4g')}, n={found['n']}>"

    def _impossible(self, bound: float) -> str | None:
        return impossible_change(bound, get(self.measurement.measure))

    def _written(self, comparator: Any, bound: float, id_: str, file: str, line: int) -> Assertion:
        measure = self.measurement.measure
        return Assertion(
            id=f"{id_}: change of {measure}",
            measure=measure,
            parameters=self._parameters,
            comparator="change_at_most" if comparator == "at_most" else "change_at_least",
            bound=(bound,),
            because="asserted in Python",
            checkpoints=None,
            steps=None,
            file=file,
            line=line,
            against=self._against,
        )

    def _verdict(self, assertion: Assertion) -> Verdict:
        return self._change(assertion)


def _ends(low: float | None, high: float | None, form: str) -> str:
    return "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"
