"""Several records as one: the checkpoints of a run that were audited one by one become a trajectory. Pure: no files.

What two records say of the same thing must be the same. What was measured twice with another result, or under another
definition, is an error that says which; what surrounded the measuring and differs (libraries, device) is noted. Lines
across a trajectory that has grown are left out: replay decides them again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from geoaudit.audit import provenance
from geoaudit.audit.record_parts import trajectories_of
from geoaudit.audit.trajectory import Place, Trajectories
from geoaudit.errors import RequestError

Named = tuple[str, Mapping[str, Any]]
"""(name of the file, record)."""
_IDENTITY = ("id", "dtype", "system_prompt", "contract")
"""What a checkpoint of one name must have alike in every record."""
_VALUE = ("estimate", "low", "high", "n", "worst", "why_missing", "judge", "flags")
"""What of a measurement is its result."""
_SURROUNDINGS = ("torch", "transformers", "device", "judge_rules")


def merge(records: Sequence[Named]) -> dict[str, Any]:
    """One record of all checkpoints, measurements and assertions; a single one as it is.

    Args:
        records: of this version (`record.read`), in the order in which they were named.

    Raises:
        RequestError: none at all, or two that contradict each other.
    """
    if not records:
        raise RequestError("no record was named")
    if len(records) == 1:
        return dict(records[0][1])
    checkpoints = _checkpoints(records)
    measurements = _measurements(records)
    trajectories = places_of(records, checkpoints)
    suites = _suites(records)
    entries, left_out = _assertions(records, trajectories)
    first = min((one for _, one in records), key=lambda one: one["profile"]["decide"] != "interval")
    made = provenance.of(measurements, suites, checkpoints)
    codes = [int(one["exit"]["code"]) for _, one in records]
    incomplete = left_out or any(one["status"] != "complete" for _, one in records)
    return {
        **first,
        "created": max(str(one["created"]) for _, one in records),
        "status": "incomplete" if incomplete else "complete",
        "command": ["geoaudit", "report", *(name for name, _ in records)],
        "exit": {"code": max(codes), "reason": f"merged from {len(records)} records; {_counts(entries)}"},
        "checkpoints": checkpoints,
        "trajectories": trajectories_of(trajectories, [one["name"] for one in checkpoints]),
        "baseline": _baseline(records),
        "suites": suites,
        "measurements": measurements,
        "assertions": entries,
        "completions": _completions(records),
        "measures": _measures(records),
        "judges": {name: card for _, one in reversed(records) for name, card in one.get("judges", {}).items()},
        "warnings": [*_unique(line for _, one in records for line in one["warnings"]), *_notes(records), *left_out],
        "timings": _timings(records),
        "merged": [
            {
                "file": name,
                "created": one["created"],
                "geoaudit": one["geoaudit"],
                "command": list(one["command"]),
                "environment": dict(one["environment"]),
                "checkpoints": [there["name"] for there in one["checkpoints"]],
                "content_sha256": one["provenance"].get(provenance.OWN),
            }
            for name, one in records
        ],
        "provenance": {**made, "package": first["provenance"]["package"]},
    }


def told_apart(paths: Sequence[Path]) -> list[str]:
    """Names of files for a reader: of those that are called alike, as much of their folders as tells them apart."""
    places = [path.absolute().parts for path in paths]

    def name(mine: tuple[str, ...]) -> str:
        others = [one for one in places if one != mine]
        most = range(1, len(mine) + 1)
        kept = next((n for n in most if all(one[-n:] != mine[-n:] for one in others)), len(mine))
        return Path(*mine[-kept:]).as_posix()

    return [name(one) for one in places]


def trajectories_from(record: Mapping[str, Any], reference: str | None = None) -> Trajectories:
    """The trajectories of a record's checkpoints, by what it says of them.

    Raises:
        RequestError: no checkpoint of the reference's name.
    """
    return Trajectories(_places([record], record["checkpoints"]), reference)


def places_of(records: Sequence[Named], checkpoints: Sequence[Mapping[str, Any]]) -> Trajectories:
    """The trajectories of all checkpoints: by the run that manifests name, else by the trajectory's name."""
    reference = next((one["options"]["reference"] for _, one in records if one["options"]["reference"]), None)
    return Trajectories(_places([one for _, one in records], checkpoints), reference)


def _places(records: Sequence[Mapping[str, Any]], checkpoints: Iterable[Mapping[str, Any]]) -> list[Place]:
    of = {name: one for record in records for one in record["trajectories"] for name in one["checkpoints"]}
    found = []
    for checkpoint in checkpoints:
        name, training, own = checkpoint["name"], checkpoint.get("training") or {}, of[checkpoint["name"]]
        lies = checkpoint["kind"] in ("directory", "adapter")
        folder = f"/{own['name']}/{re.sub('[^a-z]', '_', name)}"  # where it lay is not in the record
        step = own["steps"].get(name)
        found.append(
            Place(
                name,
                folder=folder if lies else None,
                kind=str(checkpoint["model_type"]),
                run=training.get("run") or "",
                step=None if step is None else int(step),
                reference=training.get("reference"),
            )
        )
    return found


def _checkpoints(records: Sequence[Named]) -> list[dict[str, Any]]:
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for file, record in records:
        for one in record["checkpoints"]:
            there = found.setdefault(one["name"], (file, dict(one)))
            for key in _IDENTITY:
                if there[1].get(key) != one.get(key):
                    what = "weights" if key == "id" else key.replace("_", " ")
                    raise RequestError(
                        f"{one['name']} has other {what} in {file} than in {there[0]}: audit one of them under another "
                        "name, --geoaudit-model=NAME=PATH"
                    )
    return [one for _, one in found.values()]


def _measurements(records: Sequence[Named]) -> list[dict[str, Any]]:
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    same: dict[str, tuple[str, dict[str, Any]]] = {}
    for file, record in records:
        for one in record["measurements"]:
            if one["estimate"] is not None:
                known = provenance.sha256([one["checkpoint"], one["measure"], one["parameters"], one["inputs"]])
                where, earlier = same.setdefault(known, (file, one))
                apart = [key for key in _VALUE if earlier[key] != one[key]]
                if apart:
                    raise RequestError(
                        f"{one['measure']} of {one['checkpoint']} was measured twice with different results: "
                        f"{_said(earlier)} in {where}, {_said(one)} in {file} (they differ in {', '.join(apart)}). "
                        "Measure it once for both, or leave one of the records out"
                    )
            found.setdefault(one["key"], (file, dict(one)))
    return [one for _, one in found.values()]


def _said(one: Mapping[str, Any]) -> str:
    ends = "" if one["low"] is None else f" [{one['low']:.6g}, {one['high']:.6g}]"
    return f"{one['estimate']:.6g}{ends}, n = {one['n']}"


def _completions(records: Sequence[Named]) -> dict[str, Any]:
    found: dict[str, tuple[str, Any]] = {}
    for file, record in records:
        for key, one in record["completions"].items():
            where, earlier = found.setdefault(key, (file, one))
            if [(row["sha256"], row["label"]) for row in earlier["rows"]] != [
                (row["sha256"], row["label"]) for row in one["rows"]
            ]:
                raise RequestError(f"the completions {key} have other labels in {file} than in {where}")
    return {key: one for key, (_, one) in found.items()}


def _measures(records: Sequence[Named]) -> dict[str, Any]:
    found: dict[str, tuple[str, Any]] = {}
    for file, record in records:
        for name, one in record["measures"].items():
            where, earlier = found.setdefault(name, (file, one))
            if earlier.get("version") != one.get("version"):
                raise RequestError(
                    f"{name} is {_version(earlier)} in {where} and {_version(one)} in {file}, "
                    "so that their numbers may not be of the same thing: measure one of them again"
                )
    return {name: one for name, (_, one) in found.items()}


def _version(measure: Mapping[str, Any]) -> str:
    version = measure.get("version")
    return "from before versions were recorded" if version is None else f"of version {version}"


def _suites(records: Sequence[Named]) -> list[dict[str, Any]]:
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for file, record in records:
        for one in record["suites"]:
            where, earlier = found.setdefault(one["file"], (file, dict(one)))
            if earlier["sha256"] != one["sha256"]:
                found[f"{one['file']} {one['sha256']}"] = (where, dict(one))
    return [one for _, one in found.values()]


def _assertions(records: Sequence[Named], trajectories: Trajectories) -> tuple[list[dict[str, Any]], list[str]]:
    """Every assertion once, and a line for each that is left out because it was about fewer checkpoints."""
    found: dict[tuple[str, ...], tuple[str, dict[str, Any]]] = {}
    left_out = []
    now = {one.name: list(one.names) for one in trajectories.all}
    for file, record in records:
        before = {one["name"]: one["checkpoints"] for one in record["trajectories"]}
        for one in record["assertions"]:
            about = one["checkpoint"]
            if one["kind"] == "across" and now.get(about) != before.get(about):
                left_out.append(
                    f"{one['id']} on {about} was decided in {file} on fewer checkpoints than there are now: "
                    "replay these records to decide it"
                )
                continue
            name = tuple(str(one[key]) for key in ("file", "suite", "id", "line", "checkpoint"))
            where, earlier = found.setdefault(name, (file, dict(one)))
            if (earlier["outcome"], earlier["bound"]) != (one["outcome"], one["bound"]):
                raise RequestError(
                    f"{one['id']} on {one['checkpoint']} is {earlier['outcome']} in {where} and {one['outcome']} in "
                    f"{file}: decide it again from both with pytest and --geoaudit-replay"
                )
    return [one for _, one in found.values()], _unique(left_out)


def _baseline(records: Sequence[Named]) -> Any:
    there = [one["baseline"] for _, one in records if one["baseline"] is not None]
    return there[0] if there and all(one.get("id") == there[0].get("id") for one in there) else None


def _notes(records: Sequence[Named]) -> list[str]:
    """What surrounded the measuring and was not the same."""
    notes = []
    for key in _SURROUNDINGS:
        said = {str(one["environment"].get(key)): name for name, one in reversed(records)}
        if len(said) > 1:
            shown = ", ".join(f"{value} in {name}" for value, name in said.items())
            notes.append(f"the records were not made in the same environment: {key} is {shown}")
    for key, what in (("geoaudit", "geoaudit's version"), ("profile", "the profile")):
        values = {str(one[key]["name"] if key == "profile" else one[key]): name for name, one in reversed(records)}
        if len(values) > 1:
            notes.append(f"{what} is {', '.join(f'{value} in {name}' for value, name in values.items())}")
    if len({str((one["baseline"] or {}).get("id")) for _, one in records}) > 1:
        notes.append("the records have different baselines: changes are as each was decided")
    return notes


def _timings(records: Sequence[Named]) -> dict[str, float]:
    found: dict[str, float] = {}
    for _, record in records:
        for phase, seconds in record["timings"].items():
            found[phase] = round(found.get(phase, 0.0) + seconds, 3)
    return found


def _counts(entries: Iterable[Mapping[str, Any]]) -> str:
    outcomes = [str(one["outcome"]) for one in entries]
    there = ("failed", "invalid", "inconclusive", "passed")
    return ", ".join(f"{outcomes.count(one)} {one}" for one in there if one in outcomes) or "nothing was decided"


def _unique(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))
