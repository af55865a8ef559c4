"""The JSON Schema of suite files, made from the table of measures, so that editors complete and check them."""

from __future__ import annotations

from typing import Any

from geoaudit.attacks.stored import sets
from geoaudit.audit.rules import ABOUT, DIRECTIONS, IN_LAYERS, PARTS, RULES, Rule
from geoaudit.audit.suite import AGAINST, CHANGES, ID, VERSION
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
        "$defs": {
            "source": _source(),
            "chat": _chat(),
            "step": _STEP,
            **{f"with_{m.name}": _with(m) for m in MEASURES.values()},
            "companion": {"oneOf": [_companion(m) for m in MEASURES.values()]},
            "monotone": _directed("monotone", {"slack": {"type": "number", "minimum": 0}}),
            "trend": _directed("trend", {"rho": _RHO}),
            "change_point": _directed(
                "change_point",
                {
                    "between": {"type": "array", "items": _ref("step"), "minItems": 2, "maxItems": 2},
                    "size": {"type": "number", "minimum": 0},
                },
            ),
        },
    }


_STEP = {"type": "integer", "minimum": 0, "description": "A step of training."}
_RHO = {"type": "number", "minimum": 0, "exclusiveMaximum": 1, "description": "Least size of Spearman's rho."}


def _assertion(measure: Measure) -> dict[str, Any]:
    low, high = measure.range
    number: dict[str, Any] = {"type": "number"}
    number |= {} if low is None else {"minimum": low}
    number |= {} if high is None else {"maximum": high}
    change: dict[str, Any] = {"type": "number"}
    if low is not None and high is not None:
        change |= {"exclusiveMinimum": low - high, "exclusiveMaximum": high - low}
    comparators: dict[str, Any] = {
        "at_most": number,
        "at_least": number,
        "between": {"type": "array", "items": number, "minItems": 2, "maxItems": 2},
    }
    if measure.kind == "discrete":
        comparators["equals"] = number
    comparators |= dict.fromkeys(CHANGES, change)
    rules = _rules(measure, number)
    return {
        "title": measure.title,
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "measure", "because"],
        "properties": {
            "id": {"type": "string", "pattern": "^" + ID.pattern.replace(r"\Z", "$")},
            "measure": {"const": measure.name, "description": measure.says},
            "with": _ref(f"with_{measure.name}"),
            **comparators,
            "against": {"enum": list(AGAINST), "description": "What a change is measured against."},
            "across": {"const": "trajectory", "description": "The line is about all checkpoints of a run."},
            **rules,
            "because": {"type": "string", "minLength": 1, "description": "One sentence with the source of the bound."},
            "checkpoints": {"type": "string", "description": "Glob over the names of the checkpoints concerned."},
            "steps": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
        },
        "oneOf": [{"required": [name]} for name in (*comparators, "across")],
        "dependentRequired": {name: ["across"] for name in rules},
        "dependentSchemas": {
            "across": {"oneOf": [{"required": [name]} for name in rules]},
            "against": {"oneOf": [{"required": [name]} for name in CHANGES]},
        },
    }


def _rules(measure: Measure, number: dict[str, Any]) -> dict[str, Any]:
    """Rule -> what its key takes, of those that can be said of the measure."""
    place: dict[str, Any] = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
    place = {"oneOf": [{"enum": list(PARTS)}, place]} if measure.name in IN_LAYERS else place
    of: dict[Rule, dict[str, Any]] = {
        "never_above": number,
        "never_below": number,
        "first_failing_step": _closed(
            {"above": number, "below": number, "not_before": _ref("step"), "by": _ref("step")},
            oneOf=[{"required": ["above"]}, {"required": ["below"]}],
            anyOf=[{"required": ["not_before"]}, {"required": ["by"]}],
        ),
        "monotone": _ref("monotone"),
        "trend": _ref("trend"),
        "change_point": _ref("change_point"),
        "relocates": _closed({"from": place, "to": place, "by": _ref("step")}, required=["from", "to"]),
        "goes_with": _ref("companion"),
    }
    return {
        name: {"description": ABOUT[name], **of[name]}
        for name in RULES
        if name != "relocates" or measure.kind == "discrete"
    }


def _directed(rule: Rule, options: dict[str, Any]) -> dict[str, Any]:
    """A direction by itself, or with options."""
    word = {"enum": list(DIRECTIONS[rule])}
    return {"oneOf": [word, _closed({"direction": word, **options}, required=["direction"])]}


def _companion(measure: Measure) -> dict[str, Any]:
    properties = {
        "measure": {"const": measure.name},
        "with": _ref(f"with_{measure.name}"),
        "direction": {"enum": list(DIRECTIONS["goes_with"])},
        "rho": _RHO,
    }
    return _closed(properties, required=["measure", "direction"])


def _with(measure: Measure) -> dict[str, Any]:
    return _closed({name: _parameter(one) for name, one in measure.parameters.items()})


def _closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


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
