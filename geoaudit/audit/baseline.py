"""What change lines are compared with: an earlier audit's record, a model that is measured for them, or the reference.

A baseline is another release. It is part of no trajectory, no line is decided on it, and its name here begins with
`baseline:`, so that it is never taken for a checkpoint of the audit.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from geoaudit.audit.changes import ChangeInput
from geoaudit.audit.environment import Environment, mismatches
from geoaudit.audit.noise import Noise
from geoaudit.errors import GeoauditError, RequestError
from geoaudit.records import Measurement

if TYPE_CHECKING:
    from geoaudit.audit.suite import Assertion
    from geoaudit.audit.trajectory import Trajectories

PREFIX = "baseline:"
FREE = frozenset({"n", "max_unparsed", "paraphrases"})
"""Parameters in which two measurements may differ: how many prompts were asked, and what only adds a check."""


@dataclass(frozen=True)
class RecordBaseline:
    """An earlier audit."""

    spec: str
    """As it was given."""
    record: Mapping[str, Any]
    """As `record.read` gives it."""
    measurements: Mapping[str, Measurement]
    """Its measurements with their rows (`record_parts.measurements_of`)."""
    only: str = ""
    """The checkpoint of it that is the baseline; empty: the one of the same name, or the only one."""

    def __post_init__(self) -> None:
        """The checkpoint that is named is there."""
        names = [one["name"] for one in self.record["checkpoints"]]
        if self.only and self.only not in names:
            raise RequestError(f"the record {self.spec} has no checkpoint {self.only!r}: {', '.join(names)}")

    def entry(self, candidate: str) -> Mapping[str, Any]:
        """The record's entry of the checkpoint that `candidate` is compared with.

        Raises:
            RequestError: it has several, and none of that name.
        """
        there: dict[str, Mapping[str, Any]] = {one["name"]: one for one in self.record["checkpoints"]}
        if self.only:
            return there[self.only]
        if len(there) == 1:
            return next(iter(there.values()))
        if candidate in there:
            return there[candidate]
        raise RequestError(
            f"the record {self.spec} has the checkpoints {', '.join(there)} and none called {candidate}: say which one "
            f"is the baseline, for example '{self.spec}#{next(iter(there))}'"
        )

    def find(self, candidate: Measurement) -> Measurement:
        """What the record has of the same measure with the same parameters.

        Raises:
            RequestError: nothing, with the parameters that differ where that is all.
        """
        name = self.entry(candidate.checkpoint)["name"]
        there = [
            one for one in self.measurements.values() if one.checkpoint == name and one.measure == candidate.measure
        ]
        wanted = comparable(candidate)
        same = [one for one in there if comparable(one) == wanted]
        if same:
            # of several with another n, the one with most prompts
            return max(same, key=lambda one: (one.estimate is not None, bool(one.detail.get("rows")), one.n))
        if not there:
            raise RequestError(f"the record {self.spec} has no {candidate.measure} of {name}")
        nearest = min(there, key=lambda one: len(_different(wanted, comparable(one))))
        differs = _different(wanted, comparable(nearest))
        said = ", ".join(f"{key} {here} here and {other} there" for key, here, other in differs)
        raise RequestError(f"the record {self.spec} has {candidate.measure} of {name} under other parameters: {said}")


@dataclass(frozen=True)
class Other:
    """What one change line on one checkpoint is compared with."""

    role: Literal["baseline", "reference"]
    name: str = ""
    checkpoint: str = ""
    """Name of the checkpoint that is measured in this audit; empty where a record has the number."""
    why_not: str = ""
    """Why there is nothing."""
    itself: bool = False
    """Whether the checkpoint is itself what others are compared with: then the line says nothing of it."""


class Around(Protocol):
    """What is known of the checkpoints that are measured here, or were."""

    @property
    def trajectories(self) -> Trajectories:
        """Which belong together."""

    def environment(self, name: str) -> Environment:
        """What a checkpoint's numbers depended on."""

    def identity(self, name: str) -> str | None:
        """The id of a checkpoint's content."""


@dataclass(frozen=True)
class Against:
    """What the change lines of an audit are compared with."""

    around: Around
    baseline: RecordBaseline | str | None
    """A record, or the name of the checkpoint that is measured as the baseline; None: there is none."""
    allowed: frozenset[str] = frozenset()
    """Settings that may differ, by name."""
    noise: Noise | None = None
    profile: str = "standard"
    settings: tuple[str, ...] = ()
    """Further options that a baseline must be measured under."""

    def other(self, assertion: Assertion, checkpoint: str) -> Other:
        """What a change line is compared with on a checkpoint; whatever it measures there must be planned too."""
        if assertion.against == "reference":
            try:
                name = self.around.trajectories.against(checkpoint, "reference")
            except GeoauditError as error:
                return Other("reference", why_not=str(error))
            if name is None:
                return Other("reference", why_not=f"{checkpoint} is itself the reference", itself=True)
            return Other("reference", name, name)
        if self.baseline is None:
            return Other(
                "baseline",
                why_not=f"no baseline was named: measure one with `{self.command(assertion)}` and compare with "
                "--geoaudit-baseline=baseline.json, or name its model there, which is then measured along",
            )
        if isinstance(self.baseline, str):
            return Other("baseline", self.baseline.removeprefix(PREFIX), self.baseline)
        try:
            return Other("baseline", str(self.baseline.entry(checkpoint)["name"]))
        except RequestError as error:
            return Other("baseline", why_not=str(error))

    def lacks(self, assertion: Assertion, checkpoint: str, parameters: Mapping[str, Any]) -> str:
        """Why the record that is the baseline cannot serve a change line, known before anything is measured for it.

        Args:
            assertion: the line.
            checkpoint: that it is decided on.
            parameters: as a measurement of it would show them.

        Returns:
            The reason, with the command that measures what is missing; empty where the record has the number, and
            where the baseline is no record.
        """
        if not isinstance(self.baseline, RecordBaseline) or assertion.against != "baseline":
            return ""
        found = self._found(assertion, Measurement(assertion.measure, checkpoint, parameters, ""))
        if isinstance(found, str):
            return found
        return "" if found.estimate is not None else f"the baseline has no number: {found.why_missing}"

    def _found(self, assertion: Assertion, candidate: Measurement) -> Measurement | str:
        """What the record has for a change line, or why it has nothing, with the command that measures it."""
        assert isinstance(self.baseline, RecordBaseline)
        try:
            return self.baseline.find(candidate)
        except RequestError as error:
            spec = self.baseline.entry(candidate.checkpoint).get("spec") or "OLD-MODEL"
            return f"{error}: measure it with `{self.command(assertion, str(spec), self.baseline.spec)}`"

    def input(
        self, assertion: Assertion, candidate: Measurement, other: Other, measured: Measurement | None = None
    ) -> ChangeInput:
        """A change line with both sides.

        Args:
            assertion: the line.
            candidate: what was measured of the checkpoint.
            other: from `other`.
            measured: what was measured of `other.checkpoint`; None where a record has it.
        """
        against: dict[str, Any] = {"role": other.role, "name": other.name or None, "id": None}
        if other.why_not or candidate.estimate is None:
            return ChangeInput(assertion, candidate, None, against, other.why_not)
        here = self.around.environment(candidate.checkpoint)
        if other.checkpoint:
            assert measured is not None
            against["id"] = self.around.identity(other.checkpoint)
            there = self.around.environment(other.checkpoint)
        else:
            assert isinstance(self.baseline, RecordBaseline)
            entry = self.baseline.entry(candidate.checkpoint)
            against["id"] = entry.get("id")
            found = self._found(assertion, candidate)
            if isinstance(found, str):
                return ChangeInput(assertion, candidate, None, against, found)
            measured = replace(found, checkpoint=f"{PREFIX}{entry['name']}")
            there = Environment.of_record(self.baseline.record, entry)
        return ChangeInput(
            assertion,
            candidate,
            measured,
            against,
            mismatches=mismatches(here, candidate, there, measured) if measured.estimate is not None else (),
            allowed=self.allowed,
            noise=self.noise.of(candidate) if self.noise else None,
        )

    def command(self, assertion: Assertion, model: str = "OLD-MODEL", record: str = "baseline.json") -> str:
        """The command that measures a baseline. It is its own baseline, so that the change lines are decided too."""
        words = [
            "pytest",
            f"--geoaudit-model={model}",
            f"--geoaudit-baseline={model}",
            f"--geoaudit-suite={_near(assertion.file)}",
            f"--geoaudit-profile={self.profile}",
            *self.settings,
            f"--geoaudit-report={_near(str(Path(record).with_suffix('.html')))}",
        ]
        return shlex.join(words)


def _near(path: str) -> str:
    """A path as a person here would write it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def described(against: Against, entry: Callable[[str], Mapping[str, Any]]) -> dict[str, Any] | None:
    """What the record says of the baseline.

    Args:
        against: of the audit.
        entry: gives the record's entry of a checkpoint that was measured here.

    Returns:
        None without a baseline, else {"spec", "name", "id", "record", "created", "geoaudit", "environment", "measures",
        "checkpoints"}; the last five as in a record, of a model those of this audit (None).
    """
    if against.baseline is None:
        return None
    if isinstance(against.baseline, str):
        about = dict(entry(against.baseline))
        kept = {"created": None, "geoaudit": None, "environment": None, "measures": None, "checkpoints": [about]}
        name = against.baseline.removeprefix(PREFIX)
        return {"spec": about.get("spec"), "name": name, "id": about.get("id"), "record": False, **kept}
    record, only = against.baseline.record, against.baseline.only
    entries = [one for one in record["checkpoints"] if only in ("", one["name"])]
    return {
        "spec": against.baseline.spec,
        "name": entries[0]["name"] if len(entries) == 1 else None,
        "id": entries[0].get("id") if len(entries) == 1 else None,
        "record": True,
        "created": record.get("created"),
        "geoaudit": record.get("geoaudit"),
        "environment": record.get("environment"),
        "measures": {name: {"version": one.get("version")} for name, one in record.get("measures", {}).items()},
        "checkpoints": entries,
    }


def comparable(found: Measurement) -> dict[str, Any]:
    """The parameters that two measurements must have alike, as JSON has them."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(found.parameters), default=str))
    return {name: value for name, value in plain.items() if name not in FREE}


def _different(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(parameter, here, there) of those that differ."""

    def word(side: Mapping[str, Any], name: str) -> str:
        return json.dumps(side[name], ensure_ascii=False) if name in side else "not set"

    found = [(name, word(wanted, name), word(there, name)) for name in sorted({*wanted, *there})]
    return [(name, here, other) for name, here, other in found if here != other]
