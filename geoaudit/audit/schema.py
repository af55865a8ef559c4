"""The JSON Schema of suite files, made from the table of measures, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from geoaudit.attacks.stored import sets
from geoaudit.audit.suite import ID, VERSION
from geoaudit.measures.definition import Measure, Parameter
from geoaudit.measures.table import MEASURES
from geoaudit.prompts.sources import names


def suite_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a `*.audit.yaml` file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "geoaudit suite",
        "type": "object",
        "additionalProperties": False,
        "required": ["geoaudit", "suite", "assertions"],
        "properties": {
            "geoaudit": {"const": VERSION, "description": "Version of the grammar."},
            "suite": {"type": "string", "minLength": 1, "description": "Name of the suite."},
            "about": {"type": "string", "description": "What the suite is for."},
            "gate": {
                "type": "boolean",
                "description": "Whether a release hangs on it: bounds on attacks then need more than one condition.",
            },
            "chat": {"$ref": "#/$defs/chat"},
            "assertions": {
                "type": "array",
                "minItems": 1,
                "items": {"oneOf": [_assertion(m) for m in MEASURES.values()]},
            },
        },
        "$defs": {"source": _source(), "chat": _chat()},
    }


def _assertion(measure: Measure) -> dict[str, Any]:
    low, high = measure.range
    number: dict[str, Any] = {"type": "number"}
    number |= {} if low is None else {"minimum": low}
    number |= {} if high is None else {"maximum": high}
    comparators: dict[str, Any] = {
        "at_most": number,
        "at_least": number,
        "between": {"type": "array", "items": number, "minItems": 2, "maxItems": 2},
    }
    if measure.kind == "discrete":
        comparators["equals"] = number
    return {
        "title": measure.title,
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "measure", "because"],
        "properties": {
            "id": {"type": "string", "pattern": "^" + ID.pattern.replace(r"\Z", "$")},
            "measure": {"const": measure.name, "description": measure.says},
            "with": {
                "type": "object",
                "additionalProperties": False,
                "properties": {name: _parameter(one) for name, one in measure.parameters.items()},
            },
            **comparators,
            "because": {"type": "string", "minLength": 1, "description": "One sentence with the source of the bound."},
            "checkpoints": {"type": "string", "description": "Glob over the names of the checkpoints concerned."},
            "steps": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
        },
        "oneOf": [{"required": [name]} for name in comparators],
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    if parameter.type in ("source", "chat"):
        return {"$ref": f"#/$defs/{parameter.type}", "description": parameter.what}
    if parameter.type == "stored":
        return {"oneOf": [{"enum": [one.name for one in sets()]}, _file()], "description": parameter.what}
    if parameter.type == "file":
        return {"type": "string", "minLength": 1, "description": f"{parameter.what} Relative to the suite file."}
    if parameter.type == "choices":
        one = {"enum": list(parameter.choices)}
        several = {"type": "array", "items": one, "minItems": 1, "uniqueItems": True}
        return {"oneOf": [one, several], "description": parameter.what, "default": parameter.default}
    if parameter.type == "position":
        places = [{"const": "t_inst"}, {"type": "integer", "maximum": -1}]
        return {"oneOf": places, "description": parameter.what, "default": parameter.default}
    types = {
        "choice": "string",
        "checkpoint": "string",
        "text": "string",
        "int": "integer",
        "float": "number",
        "bool": "boolean",
    }
    schema: dict[str, Any] = {"type": types.get(parameter.type, "string"), "description": parameter.what}
    if parameter.choices and not parameter.named:
        schema["enum"] = list(parameter.choices)
    if parameter.low is not None:
        schema["minimum"] = parameter.low
    if parameter.high is not None:
        schema["maximum"] = parameter.high
    if parameter.default is not None:
        schema["default"] = parameter.default
    return schema


def _file() -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["file"],
        "properties": {"file": {"type": "string", "description": "Relative to the suite file."}},
    }


def _chat() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "How requests are rendered; the default of every line.",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {
            "system": {"type": "string", "description": "System prompt; empty for none at all."},
            "template": {"type": "string", "description": "zephyr, chatml, none, or a file beside the suite."},
            "thinking": {"type": "boolean", "default": False},
        },
    }


def _source() -> dict[str, Any]:
    return {
        "oneOf": [
            {"enum": [source.name for source in names()]},
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "description": "CSV, JSONL or text, relative to the suite file."},
                    "column": {"type": "string", "default": "prompt"},
                    "category": {"type": "string"},
                    "label": {"enum": ["harmful", "harmless"], "default": "harmful"},
                },
            },
        ]
    }
