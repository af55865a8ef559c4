"""The record of an audit: versioned JSON from which the report is made and outcomes can be read again."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import geoaudit
from geoaudit.audit.profiles import Profile
from geoaudit.audit.run import Auditor
from geoaudit.errors import GeoauditError, RequestError
from geoaudit.measures.table import MEASURES
from geoaudit.records import Measurement

VERSION = 1


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
    measurements: dict[str, dict[str, Any]] = {}
    completions: dict[str, dict[str, Any]] = {}
    entries = []
    for verdict in verdicts:
        entry = dict(verdict)
        unmeasured = entry.pop("unmeasured")
        key = entry["measurement"] or f"unmeasured-{len(measurements)}"
        name = f"{entry['checkpoint']}/{key}"
        if name not in measurements:
            found = (
                Measurement.from_json(unmeasured) if unmeasured else auditor.stored(key, str(entry["checkpoint"]))
            ).to_json()
            for detail in (found["detail"], *found["detail"].pop("more", ())):
                if "completions" in detail:  # rows of one set of completions are kept once
                    completions.setdefault(
                        detail["completions"],
                        {
                            "checkpoint": entry["checkpoint"],
                            "source": detail.get("asked_of") or ", ".join(found["inputs"]),
                            "attack": detail.get("attack", "plain requests"),
                            "judge": found["judge"],
                            "n": len(detail["rows"]),
                            "texts": detail.get("texts", ""),
                            "rows": detail.pop("rows"),
                        },
                    )
            measurements[name] = {"key": name, **found}
        entries.append({**entry, "measurement": name})
    return {
        "geoaudit_record": VERSION,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "status": "complete" if complete else "incomplete",
        "geoaudit": geoaudit.__version__,
        "command": list(command),
        "profile": {"name": profile.name, "decide": profile.decide},
        "exit": {"code": exit_code, "reason": exit_reason},
        "environment": _environment(auditor),
        "checkpoints": [_checkpoint(auditor, name) for name in auditor.names],
        "suites": [dict(suite) for suite in suites],
        "measurements": list(measurements.values()),
        "assertions": entries,
        "completions": completions,
        "measures": {
            name: {
                "title": MEASURES[name].title,
                "unit": MEASURES[name].unit,
                "better": MEASURES[name].better,
                "source": MEASURES[name].source,
                "says": MEASURES[name].says,
                "says_not": MEASURES[name].says_not,
            }
            for name in sorted({entry["measure"] for entry in entries})
        },
        "warnings": list(warnings),
        "timings": {phase: round(seconds, 3) for phase, seconds in timings.items()},
    }


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


def read(path: Path) -> dict[str, Any]:
    """A record from its file.

    Raises:
        RequestError: if there is none, or it is not a record of this version.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(f"cannot read the record {path}: {error.strerror}") from None
    except ValueError as error:
        raise RequestError(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict) or record.get("geoaudit_record") != VERSION:
        got = record.get("geoaudit_record") if isinstance(record, dict) else type(record).__name__
        raise RequestError(f"{path} is not a geoaudit record of version {VERSION} (got {got!r})")
    return record


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
        "parameters": size.parameters,
        "n_layers": size.n_layers,
        "d_model": size.d_model,
        "template": facts.get("template"),
        "training": training
        and {
            "recipe": training.recipe,
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
        "device": auditor.options.device,
        "threads": facts.get("threads"),
    }


def _known(auditor: Auditor, name: str) -> dict[str, Any]:
    try:
        return auditor.facts(name)
    except GeoauditError:
        return {}
