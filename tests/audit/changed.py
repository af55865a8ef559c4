"""Synthetic measurements of two checkpoints on the same prompts, and change lines on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from geoaudit.audit.baseline import RecordBaseline
from geoaudit.audit.changes import ChangeInput
from geoaudit.audit.record_parts import measurements_of
from geoaudit.audit.suite import Assertion
from geoaudit.records import REFUSED, UNREAD, Flag, Measurement

ROLE = {"role": "baseline", "name": "old", "id": None}


def sha(prompt: object) -> str:
    return hashlib.sha256(str(prompt).encode()).hexdigest()


def refusals(
    labels: Sequence[str], *, prompts: Sequence[object] | None = None, checkpoint: str = "new", **more: Any
) -> Measurement:
    """A refusal rate with a row a label: r refused, a answered, d degenerate, u unjudged."""
    words = {"r": "full_refusal", "a": "full_compliance", "d": "degenerate", "u": "unjudged", "p": "partial_refusal"}
    named = list(prompts) if prompts is not None else list(range(len(labels)))
    rows: list[dict[str, Any]] = [
        {"id": f"{name}#{number}", "sha256": sha(name), "label": words[label], "score": None, "category": "x"}
        for number, (name, label) in enumerate(zip(named, labels, strict=True))
    ]
    if prompts is None:
        rows = [{**row, "id": str(name)} for row, name in zip(rows, named, strict=True)]
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row["sha256"], []).append(float(row["label"] in REFUSED))
    values = [fmean(group) for group in groups.values()]
    unread = sum(row["label"] in UNREAD for row in rows)
    fields: dict[str, Any] = {
        "parameters": {"source": "harmful", "attack": "direct", "n": len(values), "max_new_tokens": 64},
        "detail": {"rows": rows, "unread": unread, "judge_id": "refusal 0123", "batches": [len(rows)]},
        **more,
    }
    return Measurement(
        "refusal_rate",
        checkpoint,
        unit="share of prompts",
        estimate=fmean(values),
        low=0.0,
        high=1.0,
        n=len(values),
        judge="refusal",
        **fields,
    )


def plain(value: float, low: float, high: float, *, measure: str = "effective_rank", **more: Any) -> Measurement:
    """A measurement without rows."""
    return Measurement(
        measure, more.pop("checkpoint", "new"), {"n_train": 32}, "x", value, low, high, n=more.pop("n", 32), **more
    )


def line(comparator: str, margin: float, *, name: str = "change", measure: str = "refusal_rate") -> Assertion:
    return Assertion(
        id=name,
        measure=measure,
        parameters={},
        comparator=comparator,  # type: ignore[arg-type]
        bound=(margin,),
        because="planted.",
        checkpoints=None,
        steps=None,
        file="gate.audit.yaml",
        line=4,
        against="baseline",
    )


def given(
    candidate: Measurement,
    other: Measurement | None,
    comparator: str = "change_at_least",
    margin: float = -0.05,
    **more: Any,
) -> ChangeInput:
    """A change line with both sides."""
    name = more.pop("name", "change")
    return ChangeInput(
        line(comparator, margin, name=name, measure=candidate.measure),
        candidate,
        None if other is None else replace(other, checkpoint="baseline:old"),
        ROLE,
        **more,
    )


def flagged(found: Measurement, name: str = "null-direction", effect: Any = "stops") -> Measurement:
    return replace(found, flags=(Flag(name, effect, "planted."),))


def noise(floor: float, unpaired: float = 0.0) -> Mapping[str, Any]:
    return {"floor": floor, "unpaired_floor": max(floor, unpaired), "sources": {}, "checkpoint": "c", "file": "n.json"}


def record(*found: Measurement, checkpoint: str = "new", **changed: Any) -> dict[str, Any]:
    """A record of one checkpoint that holds these measurements, rows among them, with parts of it changed."""
    names = list(dict.fromkeys(one.checkpoint for one in found)) or [checkpoint]
    contract = {
        **{"device": "cpu", "dtype": "float32", "template_sha256": "", "system_sha256": "", "torch": "2.13"},
        **{
            "transformers": "5.23",
            "generation_batch": 64,
            "generation_tokens": 65536,
            "probe_blocks": 32,
            "numerics": 2,
        },
    }
    completions: dict[str, Any] = {}
    measurements = []
    for number, one in enumerate(found):
        data = one.to_json()
        data["detail"] = dict(data["detail"])
        if "rows" in data["detail"]:
            data["detail"]["completions"] = f"c{number}"
            completions[f"c{number}"] = {"rows": data["detail"].pop("rows")}
        measurements.append({"key": f"{one.checkpoint}/{number}", **data})
    return {
        "geoaudit_record": 2,
        "created": "2026-11-22T06:00:00Z",
        "geoaudit": "0.1.0",
        "environment": {"torch": "2.13.0+cpu", "transformers": "5.23.1", "device": "cpu", "judge_rules": "ab" * 32},
        "checkpoints": [
            {
                **{"name": name, "id": sha(name), "spec": f"models/{name}", "dtype": "float32", "system_prompt": None},
                **{"contract": contract, "template": {"sha256": "cd" * 32}},
            }
            for name in names
        ],
        "measurements": measurements,
        "completions": completions,
        **{part: [] for part in ("assertions", "suites", "trajectories")},
        **{part: {} for part in ("exit", "options", "profile", "provenance")},
        "measures": {one.measure: {"version": 1} for one in found},
        **changed,
    }


def opened(data: dict[str, Any], only: str = "") -> RecordBaseline:
    """The same as it is compared."""
    return RecordBaseline("old.json", data, measurements_of(data), only)
