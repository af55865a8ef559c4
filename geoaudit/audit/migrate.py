"""Records of earlier versions, brought up to this one: nothing is invented, what was not kept is None or empty."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from geoaudit.errors import RequestError

VERSION = 2
"""Of the record's form."""


def migrate(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record as this version writes it; one of this version as it is.

    Raises:
        RequestError: a version that is not known here.
    """
    found = dict(record)
    while (version := found.get("geoaudit_record")) != VERSION:
        if version not in _STEPS:
            newer = isinstance(version, int) and version > VERSION
            how = "read it with the geoaudit that wrote it, or a newer one" if newer else "no geoaudit wrote that"
            raise RequestError(f"not a geoaudit record of version {VERSION} or earlier (got {version!r}): {how}")
        found = _STEPS[version](found)
    return found


def _from_1(record: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1 had neither trajectories nor changes, and no hashes but those of suites, prompts and checkpoints."""
    entries = [{**one, "kind": "bound", "result": {}, "others": []} for one in record["assertions"]]
    prompts = {(name, sha) for one in record["measurements"] for name, sha in one["inputs"].items()}
    return {
        **record,
        "geoaudit_record": 2,
        "options": {
            "dtype": None,
            "template": None,
            "system": next((one.get("system_prompt") for one in record["checkpoints"]), None),
            "reference": None,
            "allow_mismatch": [],
            "noise": None,
            "labels": "",
            "judge_models": {},
            "judge_quantise": "",
            "endpoint_model": "",
        },
        "trajectories": _grouped(record["checkpoints"]),
        "baseline": None,
        "assertions": entries,
        "measures": {name: {**one, "version": one.get("version")} for name, one in record["measures"].items()},
        "judges": {},
        "provenance": {
            "package": {"version": record["geoaudit"], "sha256": None},
            "suites": [{"file": one["file"], "sha256": one["sha256"]} for one in record["suites"]],
            "prompt_sets": [{"name": name, "sha256": sha} for name, sha in sorted(prompts)],
            "checkpoints": [{"name": one["name"], "id": one["id"]} for one in record["checkpoints"]],
        },
    }


def _grouped(checkpoints: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trajectories by name: `run/step50` and `run/step100` are of one, where they are the same kind of model."""
    found: dict[tuple[str, str], list[str]] = {}
    for one in checkpoints:
        lies = one["kind"] in ("directory", "adapter") and "/" in one["name"]
        name = one["name"].rpartition("/")[0] if lies else one["name"]
        found.setdefault((name, one["model_type"] if lies else ""), []).append(one["name"])
    return [_trajectory(name, members) for (name, _), members in found.items()]


def _trajectory(name: str, members: list[str]) -> dict[str, Any]:
    numbers = {member: re.search(r"(\d+)\Z", member) for member in members if "/" in member}
    steps = {member: int(number.group(1)) for member, number in numbers.items() if number}
    ordered = sorted(members, key=lambda member: steps[member]) if len(steps) == len(members) else members
    reference = ordered[0] if len(ordered) > 1 else None
    return {"name": name, "checkpoints": ordered, "steps": steps, "reference": reference}


_STEPS: dict[Any, Callable[[Mapping[str, Any]], dict[str, Any]]] = {1: _from_1}
