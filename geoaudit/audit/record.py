"""The record of an audit: versioned JSON from which the report is made and outcomes can be read again."""

from __future__ import annotations

import json
import os
import platform
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geoaudit
from geoaudit import judges
from geoaudit.audit import judge_cards, provenance
from geoaudit.audit.baseline import described
from geoaudit.audit.measuring import Options
from geoaudit.audit.migrate import VERSION, migrate
from geoaudit.audit.profiles import Profile
from geoaudit.audit.provenance import sha256
from geoaudit.audit.run import Auditor
from geoaudit.audit.trajectory import Trajectories, Trajectory
from geoaudit.errors import GeoauditError, RequestError
from geoaudit.measures.table import MEASURES
from geoaudit.records import Measurement

_QUOTED = re.compile(r':?\s*".*"', re.DOTALL)
Stored = Callable[[str, str], Measurement]
"""(key, name of the checkpoint) -> the measurement, with its rows."""


def build(
    *,
    auditor: Auditor,
    profile: Profile,
    command: Sequence[str],
    verdicts: Sequence[Mapping[str, Any]],
    suites: Sequence[Mapping[str, str]],
    exit_code: int,
    exit_reason: str,
    complete: bool,
    warnings: Sequence[str],
    timings: Mapping[str, float],
) -> dict[str, Any]:
    """The record as a dictionary.

    Args:
        auditor: gives measurements and checkpoints.
        profile: how much was measured and what decided.
        command: as typed, paths as given.
        verdicts: `Verdict.to_json()` of every assertion that reported.
        suites: name, file and hash of each suite file.
        exit_code: pytest's.
        exit_reason: one line.
        complete: whether every collected audit item reported.
        warnings: lines of other libraries, caught while measuring.
        timings: phase -> seconds.
    """
    entries, measurements, completions = entries_of(verdicts, auditor.stored)
    checkpoints = [_checkpoint(auditor, name) for name in auditor.names]
    return {
        "geoaudit_record": VERSION,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": "complete" if complete else "incomplete",
        "geoaudit": geoaudit.__version__,
        "command": list(command),
        "profile": {"name": profile.name, "decide": profile.decide},
        "exit": {"code": exit_code, "reason": exit_reason},
        "environment": _environment(auditor),
        "options": _options(auditor.options),
        "checkpoints": checkpoints,
        "trajectories": trajectories_of(auditor.checkpoints.trajectories, auditor.names),
        "baseline": described(auditor.checkpoints.against(), lambda name: _checkpoint(auditor, name)),
        "suites": [dict(suite) for suite in suites],
        "measurements": measurements,
        "assertions": entries,
        "completions": completions,
        "measures": measures_of(measurements),
        "judges": judge_cards.cards(measurements),
        "warnings": list(warnings),
        "timings": {phase: round(seconds, 3) for phase, seconds in timings.items()},
        "provenance": provenance.of(measurements, suites, checkpoints),
    }


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


def write(record: Mapping[str, Any], path: Path) -> None:
    """Write the record atomically; NaN is refused, so that nothing reads it as a number."""
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path, *, sealed: bool = True) -> dict[str, Any]:
    """A record from its file, brought up to this version.

    Args:
        path: where it lies.
        sealed: whether a record whose content is not what it was written with is refused.

    Raises:
        RequestError: there is none, it is of a version that is not known here, or it was edited.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(f"cannot read the record {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict) or type(record.get("geoaudit_record")) is not int:
        got = record.get("geoaudit_record") if isinstance(record, dict) else type(record).__name__
        raise RequestError(f"{path} is not a geoaudit record (geoaudit_record is {got!r})")
    if sealed and provenance.is_intact(record) is False:
        raise RequestError(
            f"{path} was changed after it was written: its content is not what its content_sha256 says. Nothing is "
            "decided from it; take the record as the audit wrote it (`geoaudit verify` says what differs)"
        )
    try:
        return migrate(record)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RequestError(f"{path} is not a whole record: {type(error).__name__}: {error}") from None


PARTS: Mapping[str, type] = {
    **dict.fromkeys(("checkpoints", "measurements", "assertions", "suites", "trajectories"), list),
    **dict.fromkeys(("completions", "environment", "exit", "measures", "options", "profile", "provenance"), dict),
}
"""What every record has."""


def whole(path: Path, *, sealed: bool = True) -> tuple[dict[str, Any], dict[str, Measurement]]:
    """A record and its measurements, to compare with or to decide from; `sealed` as in `read`.

    Raises:
        RequestError: as `read`, or a part of it is missing or is none.
    """
    found = read(path, sealed=sealed)
    try:
        for part, kind in PARTS.items():
            if not isinstance(found[part], kind):
                raise TypeError(f"{part} is no {'list' if kind is list else 'mapping'}")
        for name, one in found["completions"].items():
            if not isinstance(one, dict) or not isinstance(one.get("rows"), list):
                raise TypeError(f"completions {name!r} have no rows")
        for one in found["checkpoints"]:
            str(one["name"])
        return found, measurements_of(found)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RequestError(f"{path} is not a whole record: {type(error).__name__}: {error}") from None


def _options(options: Options) -> dict[str, Any]:
    """How it was measured, as far as checkpoints do not say so: what measuring it again needs."""
    judging = options.judging
    return {
        "dtype": options.dtype,
        "template": options.template,
        "system": options.system,
        "reference": options.reference,
        "allow_mismatch": sorted(options.allow_mismatch),
        "noise": asdict(options.noise) if options.noise else None,
        "labels": options.labels.sha256,
        "judge_models": dict(judging.models),
        "judge_quantise": judging.quantise,
        "endpoint_model": judging.endpoint.model if judging.endpoint else "",
    }


def _checkpoint(auditor: Auditor, name: str) -> dict[str, Any]:
    checkpoint = auditor.checkpoint(name)
    entry: dict[str, Any] = {
        "name": name,
        "kind": checkpoint.kind,
        "spec": checkpoint.spec,
        "commit": checkpoint.commit,
        "model_type": checkpoint.model_type,
        "system_prompt": auditor.options.system,
    }
    try:
        subject = auditor.subject(name)
    except GeoauditError as error:
        return {**entry, "id": None, "unidentified": str(error)}
    facts = auditor.facts(name)
    base = subject.identity.base
    size = auditor.size(name)
    training = subject.training
    return {
        **entry,
        "id": subject.identity.id,
        "weights_sha256": subject.identity.weights_sha256,
        "base": base
        and {
            "name": checkpoint.base.name if checkpoint.base else "",
            "id": base.id,
            "spec": checkpoint.base.spec if checkpoint.base else "",
        },
        "dtype": subject.contract.dtype,
        "contract": asdict(subject.contract),
        "parameters": size.parameters,
        "n_layers": size.n_layers,
        "d_model": size.d_model,
        "template": facts.get("template"),
        "training": training
        and {
            "recipe": training.recipe,
            "run": training.run,
            "step": training.step,
            "reference": training.reference,
            "steps": training.steps,
            "seed": training.seed,
            "base_weights_sha256": training.base.weights_sha256,
            "prompt_sets": {name: {"sha256": one.sha256, "n": one.n} for name, one in training.prompt_sets.items()},
            "versions": training.versions,
        },
    }


def _environment(auditor: Auditor) -> dict[str, Any]:
    from importlib.metadata import version

    facts = next((found for name in auditor.names if (found := _known(auditor, name))), {})
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "judge_rules": judges.rules_sha256(),
        "device": auditor.options.device,
        "threads": facts.get("threads"),
    }


def _known(auditor: Auditor, name: str) -> dict[str, Any]:
    try:
        return auditor.facts(name)
    except GeoauditError:
        return {}
