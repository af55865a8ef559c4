"""The JSON Schema of a record, for programs that read one: `geoaudit schema --record` prints it.

What a measure keeps for its figures (`detail`) and what a change or a course was decided from (`result`) is open: it
differs by measure. Everything else is closed, and `migrate.VERSION` rises with it.
"""

from __future__ import annotations

from typing import Any

from geoaudit.audit.decide import OUTCOMES
from geoaudit.audit.migrate import VERSION
from geoaudit.audit.rules import RULES
from geoaudit.audit.suite import CHANGES, COMPARATORS
from geoaudit.records import LABELS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_WHOLE: Schema = {"type": "integer", "minimum": 0}
_OPEN: Schema = {"type": "object"}
_SHA: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def record_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a record of this version."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "geoaudit record",
        "description": "What an audit measured and decided. Texts of prompts and answers are never part of it.",
        **_object(
            {
                "geoaudit_record": {"const": VERSION, "description": "Version of this form."},
                "created": _said(_TEXT, "UTC, ISO 8601: when it was measured."),
                "status": {"enum": ["complete", "incomplete"]},
                "geoaudit": _said(_TEXT, "Version of the package that measured."),
                "command": _list(_TEXT),
                "profile": _object({"name": _TEXT, "decide": {"enum": ["interval", "estimate"]}}),
                "exit": _object({"code": _WHOLE, "reason": _TEXT}),
                "environment": _OPEN,
                "options": _OPEN,
                "checkpoints": _list(_ref("checkpoint")),
                "trajectories": _list(_ref("trajectory")),
                "baseline": _or_null(_ref("baseline")),
                "suites": _list(_object({"name": _TEXT, "file": _TEXT, "sha256": _SHA})),
                "measurements": _list(_ref("measurement")),
                "assertions": _list(_ref("assertion")),
                "completions": _said(
                    {"type": "object", "additionalProperties": _ref("completions")},
                    "Rows of completions, without text, under the name that `detail.completions` of a measurement has.",
                ),
                "measures": {"type": "object", "additionalProperties": _ref("measure")},
                "warnings": _list(_TEXT),
                "timings": _said({"type": "object", "additionalProperties": _NUMBER}, "Phase -> seconds."),
                "provenance": _ref("provenance"),
            },
            optional={
                "judges": _said({"type": "object", "additionalProperties": _OPEN}, "Judge -> its card."),
                "replayed": _object(
                    {
                        "created": _TEXT,
                        "records": _list(_object({"file": _TEXT, "content_sha256": _or_null(_SHA)})),
                    }
                ),
                "merged": _list(_OPEN),
            },
        ),
        "$defs": {
            "checkpoint": _checkpoint(),
            "trajectory": _object(
                {
                    "name": _TEXT,
                    "checkpoints": _said(_list(_TEXT), "In order."),
                    "steps": {"type": "object", "additionalProperties": _WHOLE},
                    "reference": _said(_or_null(_TEXT), "The checkpoint that the last one is compared with."),
                }
            ),
            "baseline": _object(
                {
                    "spec": _or_null(_TEXT),
                    "name": _or_null(_TEXT),
                    "id": _or_null(_TEXT),
                    "record": {"type": "boolean"},
                },
                optional={
                    "created": _or_null(_TEXT),
                    "geoaudit": _or_null(_TEXT),
                    "environment": _or_null(_OPEN),
                    "measures": _or_null(_OPEN),
                    "checkpoints": _or_null(_list(_OPEN)),
                },
            ),
            "flag": _object({"name": _TEXT, "effect": {"enum": ["stops", "note"]}, "sentence": _TEXT}),
            "measurement": _measurement(),
            "assertion": _assertion(),
            "completions": _completions(),
            "measure": _object(
                {
                    **{name: _TEXT for name in ("title", "unit", "better", "source", "says", "says_not")},
                    "version": _or_null(_WHOLE),
                }
            ),
            "provenance": _provenance(),
        },
    }


def _checkpoint() -> Schema:
    plain = {
        "name": _TEXT,
        "kind": {"enum": ["directory", "adapter", "gguf", "hub", "builtin"]},
        "spec": _said(_TEXT, "As it was asked for."),
        "commit": _or_null(_TEXT),
        "model_type": _TEXT,
        "system_prompt": _or_null(_TEXT),
        "id": _said(_or_null(_SHA), "Hash of the content; null where it could not be read (`unidentified` says why)."),
    }
    identified = {
        "weights_sha256": _SHA,
        "base": _or_null(_object({"name": _TEXT, "id": _SHA, "spec": _TEXT})),
        "dtype": _TEXT,
        "contract": _OPEN,
        "parameters": _WHOLE,
        "n_layers": _WHOLE,
        "d_model": _WHOLE,
        "template": _or_null(_OPEN),
        "training": _or_null(_OPEN),
    }
    return _object(plain, optional={**identified, "unidentified": _TEXT})


def _measurement() -> Schema:
    return _object(
        {
            "key": _said(_TEXT, "CHECKPOINT/KEY: its name in this record."),
            "measure": _TEXT,
            "checkpoint": _TEXT,
            "parameters": _OPEN,
            "unit": _TEXT,
            "estimate": _said(_or_null(_NUMBER), "Null exactly where `why_missing` says why."),
            "low": _or_null(_NUMBER),
            "high": _or_null(_NUMBER),
            "level": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "interval": _said(_TEXT, "How the interval was made."),
            "n": _WHOLE,
            "seed": _or_null({"type": "integer"}),
            "judge": _TEXT,
            "inputs": _said({"type": "object", "additionalProperties": _TEXT}, "Prompt set or other input -> hash."),
            "worst": _said(
                _or_null({"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4}),
                "Of a rate: low and high with unread rows as misses, then as hits.",
            ),
            "flags": _list(_ref("flag")),
            "why_missing": _TEXT,
            "detail": _OPEN,
        }
    )


def _assertion() -> Schema:
    bound = {"oneOf": [_NUMBER, _list(_NUMBER)]}
    return _object(
        {
            "suite": _TEXT,
            "id": _TEXT,
            "checkpoint": _said(_TEXT, "Across a trajectory, that one's name."),
            "measurement": _said(_TEXT, "Key of the measurement; across a trajectory, of its last checkpoint's."),
            "others": _said(_list(_TEXT), "Keys of the further measurements that it rests on."),
            "kind": {"enum": ["bound", "change", "across"]},
            "result": _said(_OPEN, "What a change or a course was decided from."),
            "measure": _TEXT,
            "comparator": {"enum": [*COMPARATORS, *CHANGES, *RULES]},
            "bound": bound,
            "outcome": {"enum": list(OUTCOMES)},
            "by": {"enum": ["interval", "estimate"]},
            "sentence": _TEXT,
            "because": _TEXT,
            "file": _TEXT,
            "line": _WHOLE,
            "needed_n": _or_null(_WHOLE),
            "flags": _list(_ref("flag")),
        }
    )


def _completions() -> Schema:
    row = _object(
        {
            "id": _TEXT,
            "sha256": _said(_SHA, "Of the prompt's text."),
            "category": _TEXT,
            "label": {"enum": list(LABELS)},
            "reason": _TEXT,
            "score": _or_null(_NUMBER),
            "tokens": _WHOLE,
        },
        optional={"exchange": _SHA, "method": _TEXT, "broken": _TEXT, "grade": _or_null(_NUMBER)},
    )
    return _object(
        {
            "checkpoint": _TEXT,
            "source": _TEXT,
            "attack": _TEXT,
            "judge": _TEXT,
            "n": _WHOLE,
            "texts": _said(_TEXT, "Where the store of the audit has the texts."),
            "rows": _list({**row, "additionalProperties": True}),
        }
    )


def _provenance() -> Schema:
    package = _object({"version": _TEXT, "sha256": _or_null(_SHA)})
    return _object(
        {
            "package": _said(package, "What measured: hash over the package's files."),
            "suites": _list(_object({"file": _TEXT, "sha256": _SHA})),
            "prompt_sets": _list(_object({"name": _TEXT, "sha256": _TEXT})),
            "checkpoints": _list(_object({"name": _TEXT, "id": _or_null(_SHA)})),
        },
        optional={
            "content_sha256": _said(_SHA, "Of everything in this record but this hash."),
            "decided_with": _said(package, "What decided, in a replay."),
        },
    )


def _object(properties: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": {**properties, **(optional or {})},
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
