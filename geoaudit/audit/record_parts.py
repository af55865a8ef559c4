"""The parts of a record that are made of verdicts and measurements, and measurements made of them again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from geoaudit.audit.provenance import sha256
from geoaudit.audit.trajectory import Trajectories, Trajectory
from geoaudit.errors import GeoauditError
from geoaudit.measures.table import MEASURES
from geoaudit.records import Measurement

_QUOTED = re.compile(r':?\s*".*"', re.DOTALL)
Stored = Callable[[str, str], Measurement]
"""(key, name of the checkpoint) -> the measurement, with its rows."""


def entries_of(
    verdicts: Sequence[Mapping[str, Any]], stored: Stored
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Assertions, the measurements that they rest on, each once, and the rows of completions behind those, each once.

    Args:
        verdicts: `Verdict.to_json()` of every assertion that reported.
        stored: gives the measurements that did not travel with their verdict.
    """
    measurements: dict[str, dict[str, Any]] = {}
    completions: dict[str, dict[str, Any]] = {}

    def keep(one: Mapping[str, Any]) -> str:
        checkpoint, unmeasured = str(one["measured_on"]), one["unmeasured"]
        key = one["measurement"] or _own_key(unmeasured)
        name = f"{checkpoint}/{key}"
        if name not in measurements:
            found = (Measurement.from_json(unmeasured) if unmeasured else stored(key, checkpoint)).to_json()
            _set_rows_apart(found, completions)
            measurements[name] = {"key": name, **found}
        return name

    entries = []
    for verdict in verdicts:
        entry = dict(verdict)
        name = keep(entry)
        others = [keep(one) for one in entry["others"]]
        del entry["unmeasured"], entry["measured_on"]
        entries.append({**entry, "measurement": name, "others": others})
    return entries, list(measurements.values()), completions


def _own_key(unmeasured: Mapping[str, Any]) -> str:
    """The key of what is in no store: the reason for none, or a number of another record's that was compared with."""
    return f"{'unmeasured' if unmeasured['estimate'] is None else 'given'}-{sha256(unmeasured)[:32]}"


def _set_rows_apart(found: dict[str, Any], completions: dict[str, dict[str, Any]]) -> None:
    """Rows of one set of completions are kept once, whatever number of measurements read them."""
    for detail in (found["detail"], *found["detail"].pop("more", ())):
        if "completions" in detail and "rows" in detail:
            completions.setdefault(
                detail["completions"],
                {
                    "checkpoint": found["checkpoint"],
                    "source": detail.get("asked_of") or ", ".join(found["inputs"]),
                    "attack": detail.get("attack", "plain requests"),
                    "judge": found["judge"],
                    "n": len(detail["rows"]),
                    "texts": detail.get("texts", ""),
                    "rows": [{**row, "reason": _unquoted(row["reason"])} for row in detail.pop("rows")],
                },
            )


def _unquoted(reason: str) -> str:
    """What a judge says, without the words of the answer that it quotes."""
    return _QUOTED.sub("", reason).lstrip(" ,:")


def measurements_of(record: Mapping[str, Any]) -> dict[str, Measurement]:
    """Every measurement of a record under its name there, with the rows of its completions: inverse of `entries_of`."""
    found = {}
    for one in record["measurements"]:
        fields = {name: value for name, value in one.items() if name != "key"}
        rows = record["completions"].get(fields["detail"].get("completions"), {}).get("rows")
        if rows is not None:
            fields["detail"] = {**fields["detail"], "rows": rows}
        found[str(one["key"])] = Measurement.from_json(fields)
    return found


def measures_of(found: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What the record says of the measures that it has numbers of; nothing of those that are not in the table."""
    return {
        name: {
            "title": MEASURES[name].title,
            "version": MEASURES[name].version,
            "unit": MEASURES[name].unit,
            "better": MEASURES[name].better,
            "source": MEASURES[name].source,
            "says": MEASURES[name].says,
            "says_not": MEASURES[name].says_not,
        }
        for name in sorted({str(one["measure"]) for one in found} & set(MEASURES))
    }


def trajectories_of(trajectories: Trajectories, names: Iterable[str]) -> list[dict[str, Any]]:
    """The trajectories of some checkpoints, each with its steps and what it is compared with."""
    found = {one.name: one for one in (trajectories.of(name) for name in names)}
    return [
        {
            "name": one.name,
            "checkpoints": list(one.names),
            "steps": dict(one.steps),
            "reference": _reference(trajectories, one),
        }
        for one in found.values()
    ]


def _reference(trajectories: Trajectories, one: Trajectory) -> str | None:
    """What the last checkpoint of a trajectory is compared with, where there is something."""
    try:
        return trajectories.against(one.names[-1], "reference") if len(one.names) > 1 else None
    except GeoauditError:
        return None
