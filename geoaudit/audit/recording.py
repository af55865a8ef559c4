"""The record of an audit that was measured here: what was asked, found and decided, of what, and where."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import geoaudit
from geoaudit import judges
from geoaudit.audit import judge_cards, provenance
from geoaudit.audit.baseline import described
from geoaudit.audit.measuring import Options
from geoaudit.audit.migrate import VERSION
from geoaudit.audit.profiles import Profile
from geoaudit.audit.record_parts import entries_of, measures_of, trajectories_of
from geoaudit.audit.run import Auditor
from geoaudit.errors import GeoauditError


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
