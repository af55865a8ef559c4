"""Replay: the numbers of records, decided again without a model, without a store and without torch.

A record holds every measurement with its interval and its rows, so that a changed bound, another suite or a comparison
of two records needs nothing else. What a record does not hold is said to be missing, with the command that measures it;
nothing is green because it is absent.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from geoaudit.audit import provenance
from geoaudit.audit.baseline import PREFIX, Against, RecordBaseline, described
from geoaudit.audit.concerned import decided_on
from geoaudit.audit.environment import Environment
from geoaudit.audit.merge import merge, told_apart, trajectories_from
from geoaudit.audit.noise import Noise, Spread
from geoaudit.audit.numbers import NotInRecord, Written
from geoaudit.audit.plan import Planned, resolve, sources
from geoaudit.audit.profiles import Profile
from geoaudit.audit.profiles import get as profile_of
from geoaudit.audit.record import whole
from geoaudit.audit.record_parts import entries_of, measurements_of, measures_of, trajectories_of
from geoaudit.audit.suite import Assertion
from geoaudit.errors import RequestError, UnknownName, did_you_mean
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.inputs import Source, load_source
from geoaudit.measures.table import MEASURES, get
from geoaudit.prompts.sources import names
from geoaudit.records import Measurement


class Replay:
    """Numbers that records hold: a `Numbers` of `deciding`.

    Args:
        paths: of the records; several are merged.
        chosen: names of checkpoints, or globs, to decide on; none for all.
        profile: name of the profile whose defaults a suite is read with; None for the record's.
        reference: the checkpoint that changes are measured from; None for each trajectory's own.
        baseline: another record to compare with; None for the baseline of the record itself, where it has one.
        allowed: settings in which the baseline may differ; None for those of the record.
        noise: how far runs of an unchanged checkpoint lie apart; None for the record's.
        sealed: whether a record that was edited is refused.

    Raises:
        RequestError: a record that cannot be read or does not fit the others, or no checkpoint of that name.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        chosen: Sequence[str] = (),
        profile: str | None = None,
        reference: str | None = None,
        baseline: RecordBaseline | None = None,
        allowed: frozenset[str] | None = None,
        noise: Noise | None = None,
        sealed: bool = True,
    ) -> None:
        self.paths = list(paths)
        self._records = [whole(path, sealed=sealed)[0] for path in paths]
        try:
            self._open(chosen, profile, reference, baseline, allowed, noise)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            said = ", ".join(path.name for path in paths)
            raise RequestError(f"{said}: not a whole record: {type(error).__name__}: {error}") from None
        self.warnings: list[str] = self._redefined()
        self.timings: dict[str, float] = {}

    def _open(
        self,
        chosen: Sequence[str],
        profile: str | None,
        reference: str | None,
        baseline: RecordBaseline | None,
        allowed: frozenset[str] | None,
        noise: Noise | None,
    ) -> None:
        self._seals = [one["provenance"].get(provenance.OWN) for one in self._records]
        self.source = merge(list(zip(told_apart(self.paths), self._records, strict=True)))
        self.profile: Profile = profile_of(profile or self.source["profile"]["name"])
        self._entries = {one["name"]: one for one in self.source["checkpoints"]}
        self._names = list(self._entries)
        self._found = measurements_of(self.source)
        self._index = self._indexed()
        self.trajectories = trajectories_from(self.source, reference or self.source["options"]["reference"])
        self.names = self._chosen(chosen)
        kept = self.source["options"]
        self.against = Against(
            self,
            baseline or own_baseline(self.source, self._found),
            frozenset(kept["allow_mismatch"]) if allowed is None else allowed,
            noise or _noise(kept["noise"]),
            self.profile.name,
        )

    def _redefined(self) -> list[str]:
        """A line for each measure that is another one now: its numbers are replayed as they are."""
        recorded = {name: one.get("version") for name, one in self.source["measures"].items() if name in MEASURES}
        return [
            f"{name}: recorded by version {version} of the measure, this is version {MEASURES[name].version}; "
            "the recorded number is decided on"
            for name, version in recorded.items()
            if version not in (None, MEASURES[name].version)
        ]

    @property
    def where(self) -> str:
        """The records."""
        return f"replay of {', '.join(path.name for path in self.paths)}: nothing is measured"

    def plan(self, name: str, measure: str, given: Mapping[str, Any]) -> Planned:
        """The measurement as the record knows it, by its parameters; the key is its name there.

        Raises:
            NotInRecord: the record has no such measurement.
            UnknownName: nor could it have one, for no source has that name.
            GeoauditError: a parameter that cannot be.
        """
        parameters = resolve(get(measure), given, self.profile)
        asked = Planned(name, measure, parameters, "")
        found = [one for one in self._index.get(_known_by(name, measure, parameters), ()) if self._fits(one, asked)]
        if not found:  # what could not even be planned was noted under its parameters as the suite gives them
            noted = self._index.get(_known_by(name, measure, given), ())
            found = [one for one in noted if self._found[one].estimate is None]
        if not found:
            known = [one.name for one in names()]
            for value in parameters.values():
                if isinstance(value, Source) and not value.file and value.name not in known:
                    raise UnknownName.among("source", value.name, known)
            raise NotInRecord(f"not in the record{self._near(asked)}", self._command(name))
        return replace(asked, key=found[0])

    def measured(self, planned: Planned) -> tuple[str | None, Measurement]:
        """The measurement, with its rows."""
        found = self._found[planned.key]
        return planned.key.removeprefix(f"{found.checkpoint}/"), found

    def key_of(self, found: Measurement) -> str | None:
        """The key of a baseline's number, where it was replayed too."""
        names = (name for name, one in self._found.items() if one == found)
        name = next(names, None)
        return None if name is None else name.removeprefix(f"{found.checkpoint}/")

    def record(self, written: Written) -> dict[str, Any]:
        """The record of what was decided: the replayed one, with these assertions in place of its own."""
        source, profile = self.source, written["profile"]
        entries, measurements, completions = entries_of(
            written["verdicts"], lambda key, checkpoint: self._found[f"{checkpoint}/{key}"]
        )
        there = {one["key"] for one in measurements}
        measurements += [one for one in source["measurements"] if one["key"] not in there]
        made = provenance.of(measurements, written["suites"], source["checkpoints"])
        return {
            **source,
            "status": "complete" if written["complete"] else "incomplete",
            "command": list(written["command"]),
            "profile": {"name": profile.name, "decide": profile.decide},
            "exit": {"code": written["exit_code"], "reason": written["exit_reason"]},
            "trajectories": trajectories_of(self.trajectories, self._names),
            "baseline": described(self.against, self._entries.__getitem__),
            "suites": [dict(suite) for suite in written["suites"]],
            "measurements": measurements,
            "assertions": entries,
            "completions": {**completions, **source["completions"]},
            "measures": {**measures_of(measurements), **source["measures"]},
            "warnings": list(dict.fromkeys([*source["warnings"], *written["warnings"]])),
            "timings": {**source["timings"], "replay": round(written["timings"].get("total", 0.0), 3)},
            "replayed": {
                "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "records": [
                    {"file": path.name, "content_sha256": said}
                    for path, said in zip(self.paths, self._seals, strict=True)
                ],
            },
            "provenance": {
                **made,
                "package": source["provenance"]["package"],  # which measured
                "decided_with": made["package"],
            },
        }

    def record_of(self, checkpoint: str) -> Mapping[str, Any]:
        """The record that a checkpoint was measured for, before any merging."""
        for one in self._records:
            if any(there["name"] == checkpoint for there in one["checkpoints"]):
                return one
        return self.source

    def members(self, assertion: Assertion, about: str) -> tuple[str, ...]:
        """The checkpoints that a line on a checkpoint, or across a trajectory of that name, is decided on."""
        if assertion.across is None:
            return (about,)
        return decided_on(assertion, self.names, self.trajectories).get(about, ())

    def environment(self, name: str) -> Environment:
        """What a checkpoint's numbers depended on."""
        return Environment.of_record(self.record_of(name), self._entries[name])

    def identity(self, name: str) -> str | None:
        """The id of a checkpoint's content."""
        found: str | None = self._entries[name]["id"]
        return found

    def _indexed(self) -> dict[str, list[str]]:
        """What a measurement is known by -> the names of those, with a number first."""
        found: dict[str, list[str]] = {}
        for name, one in sorted(self._found.items(), key=lambda item: item[1].estimate is None):
            found.setdefault(_known_by(one.checkpoint, one.measure, one.parameters), []).append(name)
        return found

    def _fits(self, name: str, asked: Planned) -> bool:
        """Whether a measurement was made on the prompts that the files of the user's hold now."""
        inputs = self._found[name].inputs
        return all(
            load_source(source, None).first(n).sha256 == inputs[source.name]
            for need in asked.needs
            for source, n in sources(need)
            if source.file and source.name in inputs
        )

    def _near(self, asked: Planned) -> str:
        """What the record has in place of a measurement, where it is nearly that."""
        wanted = Evidence.described(asked.parameters)
        others = [
            one for one in self._found.values() if (one.checkpoint, one.measure) == (asked.checkpoint, asked.measure)
        ]
        if not others:
            return f" (it has no {asked.measure} of {asked.checkpoint})"

        def differs(one: Measurement) -> list[str]:
            return [key for key in {**wanted, **one.parameters} if wanted.get(key) != one.parameters.get(key)]

        nearest = min(others, key=lambda one: len(differs(one)))
        apart = differs(nearest)
        if not apart:
            return " (it was measured on other prompts than the file holds now)"
        shown = ", ".join(
            f"{key} = {nearest.parameters.get(key)!r} and not {wanted.get(key)!r}" for key in sorted(apart)[:3]
        )
        return f" (it has {asked.measure} with {shown})"

    def _command(self, name: str) -> str:
        words = ["pytest", f"--geoaudit-model={self._entries[name]['spec']}"]
        words += [] if self.profile.name == "standard" else [f"--geoaudit-profile={self.profile.name}"]
        return shlex.join(words)

    def _chosen(self, patterns: Sequence[str]) -> list[str]:
        found = []
        for pattern in patterns:
            names = [name for name in self._names if name == pattern or fnmatchcase(name, pattern)]
            if not names:
                near = did_you_mean(pattern, self._names)
                raise RequestError(
                    f"--geoaudit-model {pattern!r} is no checkpoint of the record{near}: {', '.join(self._names)} "
                    "(in a replay it takes names, or a glob of them)"
                )
            found += [name for name in names if name not in found]
        return found or self._names


def contract_of(record: Mapping[str, Any], checkpoint: str) -> dict[str, Any]:
    """What a checkpoint's numbers depended on besides it and the prompts, as far as the record says."""
    entry = next(one for one in record["checkpoints"] if one["name"] == checkpoint)
    return dict(entry.get("contract") or {"dtype": entry.get("dtype")})


def own_baseline(record: Mapping[str, Any], found: Mapping[str, Measurement]) -> RecordBaseline | None:
    """What a record itself compares with, whether that was a record or a model: its measurements of the baseline."""
    about = record["baseline"]
    if about is None:
        return None
    view = {
        "checkpoints": [{**one, "name": str(one["name"]).removeprefix(PREFIX)} for one in about["checkpoints"] or ()],
        "environment": about["environment"] or record["environment"],
        "geoaudit": about["geoaudit"] or record["geoaudit"],
        "measures": about["measures"] or record["measures"],
        "created": about["created"],
    }
    there = {
        name: replace(one, checkpoint=one.checkpoint.removeprefix(PREFIX))
        for name, one in found.items()
        if one.checkpoint.startswith(PREFIX)
    }
    return RecordBaseline(str(about["spec"]), view, there)


def _noise(kept: Mapping[str, Any] | None) -> Noise | None:
    if kept is None:
        return None
    found = [
        (measure, parameters, tuple(Spread(**{**one, "values": tuple(one["values"])}) for one in spreads))
        for measure, parameters, spreads in kept["found"]
    ]
    return Noise(kept["file"], kept["checkpoint"], tuple(found))


def _known_by(checkpoint: str, measure: str, parameters: Mapping[str, Any]) -> str:
    """What a measurement is found by: parameters as a record writes them."""
    shown = {name: value for name, value in Evidence.described(parameters).items() if value is not None}
    return provenance.sha256([checkpoint, measure, shown])
