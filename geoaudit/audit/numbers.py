"""Where measurements come from: a live audit measures them, a replay has them in its records."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict

from geoaudit.audit import recording
from geoaudit.audit.baseline import Against
from geoaudit.audit.plan import Planned, check
from geoaudit.audit.profiles import Profile
from geoaudit.audit.run import Auditor
from geoaudit.audit.trajectory import Trajectories
from geoaudit.errors import NothingToMeasure
from geoaudit.measures.table import get
from geoaudit.records import Measurement


class Written(TypedDict):
    """What a record says besides the numbers: arguments of `recording.build`."""

    profile: Profile
    command: Sequence[str]
    verdicts: Sequence[Mapping[str, Any]]
    suites: Sequence[Mapping[str, str]]
    exit_code: int
    exit_reason: str
    complete: bool
    warnings: Sequence[str]
    timings: Mapping[str, float]


class Numbers(Protocol):
    """Where measurements come from."""

    @property
    def names(self) -> list[str]:
        """The checkpoints that are decided on, in the order given."""

    @property
    def trajectories(self) -> Trajectories:
        """Which of them belong together."""

    @property
    def against(self) -> Against:
        """What change lines are compared with."""

    @property
    def where(self) -> str:
        """Where they come from, for pytest's header."""

    @property
    def warnings(self) -> Sequence[str]:
        """Lines on what happened meanwhile."""

    @property
    def timings(self) -> Mapping[str, float]:
        """Phase -> seconds."""

    def plan(self, name: str, measure: str, given: Mapping[str, Any]) -> Planned:
        """A measurement that will be asked for.

        Raises:
            GeoauditError: there can be none.
        """

    def measured(self, planned: Planned) -> tuple[str | None, Measurement]:
        """The measurement, with the key that the record finds it by; None for one that travels with its verdict.

        Raises:
            GeoauditError: there is none.
        """

    def key_of(self, found: Measurement) -> str | None:
        """The key of what a baseline's record said; None where it must travel with its verdict."""

    def record(self, written: Written) -> dict[str, Any]:
        """The record of what was decided from them."""


class NotInRecord(NothingToMeasure):
    """A measurement that no replayed record holds.

    Args:
        why: in a sentence.
        command: what measures it, but for the suite.
    """

    def __init__(self, why: str, command: str) -> None:
        super().__init__(why)
        self.command = command

    def command_for(self, file: str) -> str:
        """What measures it for a suite file; for a test in Python, without one."""
        where = os.path.relpath(file) if file else ""
        suite = f" {shlex.quote(file if where.startswith('..') else where)}" if file else ""
        return f"measure it with `{self.command}{suite}`"


class Live:
    """Numbers that are measured."""

    def __init__(self, auditor: Auditor) -> None:
        self.auditor = auditor
        self.against = auditor.checkpoints.against()

    @property
    def names(self) -> list[str]:
        """The audited checkpoints."""
        return self.auditor.names

    @property
    def trajectories(self) -> Trajectories:
        """Their trajectories."""
        return self.auditor.checkpoints.trajectories

    @property
    def where(self) -> str:
        """The device and the store."""
        return f"{self.auditor.options.device} · store {self.auditor.options.store}"

    @property
    def warnings(self) -> Sequence[str]:
        """Of other libraries, caught while measuring."""
        return self.auditor.warnings

    @property
    def timings(self) -> Mapping[str, float]:
        """Of the phases of measuring."""
        return self.auditor.timings

    def plan(self, name: str, measure: str, given: Mapping[str, Any]) -> Planned:
        """Add it to what will be measured of the checkpoint, once all that it takes besides the model is there."""
        check(get(measure), given, self.auditor.options.profile, self.auditor.options.judging)
        return self.auditor.plan(name, measure, given)

    def measured(self, planned: Planned) -> tuple[str | None, Measurement]:
        """Measure, with everything else that is planned of the checkpoint."""
        found = self.auditor.measurement(planned)
        return (None if planned.key in self.auditor.subject(planned.checkpoint).missing else planned.key), found

    def key_of(self, found: Measurement) -> None:
        """A number of another record is not in the store."""

    def record(self, written: Written) -> dict[str, Any]:
        """The record of an audit."""
        return recording.build(auditor=self.auditor, **written)
