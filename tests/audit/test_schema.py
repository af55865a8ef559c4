"""The JSON Schema of suites: valid, and of one mind with the grammar that really reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from geoaudit.audit.rules import RULES
from geoaudit.audit.schema import suite_schema
from geoaudit.audit.suite import read
from geoaudit.errors import SuiteError
from geoaudit.measures.table import MEASURES
from geoaudit.prompts.sources import names

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "assertions").glob("*.audit.yaml"))
SCHEMA = suite_schema()
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
META = {"$schema", "$defs", "$ref", "title", "description", "default"}
CHECKS = {
    "type",
    "const",
    "enum",
    "oneOf",
    "properties",
    "additionalProperties",
    "required",
    "items",
    "minItems",
    "anyOf",
    "dependentRequired",
    "dependentSchemas",
    "exclusiveMinimum",
    "exclusiveMaximum",
}
KNOWN = META | CHECKS | {"uniqueItems", "minProperties", "maxItems", "minLength", "pattern", "minimum", "maximum"}


def accepts(schema: dict, value) -> bool:
    """What a JSON Schema validator (draft 2020-12) says, for the keywords that are used here."""
    assert set(schema) <= KNOWN, "a keyword that this check does not know"
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return accepts(SCHEMA["$defs"][name], value)
    if "const" in schema and (value != schema["const"] or isinstance(value, bool) != isinstance(schema["const"], bool)):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "type" in schema:
        right = isinstance(value, TYPES[schema["type"]])
        if not right or (isinstance(value, bool) and schema["type"] != "boolean"):
            return False
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        if len(value) < schema.get("minProperties", 0) or set(schema.get("required", [])) - set(value):
            return False
        if any(
            key in value and not set(more) <= set(value) for key, more in schema.get("dependentRequired", {}).items()
        ):
            return False
        if any(key in value and not accepts(one, value) for key, one in schema.get("dependentSchemas", {}).items()):
            return False
        if schema.get("additionalProperties") is False and set(value) - set(properties):
            return False
        if not all(accepts(properties[key], one) for key, one in value.items() if key in properties):
            return False
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return False
        if schema.get("uniqueItems") and len({json.dumps(one) for one in value}) < len(value):
            return False
        if "items" in schema and not all(accepts(schema["items"], one) for one in value):
            return False
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        return False
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return False
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return False
    if number and not schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", value + 1):
        return False
    if "anyOf" in schema and not any(accepts(one, value) for one in schema["anyOf"]):
        return False
    return "oneOf" not in schema or sum(accepts(one, value) for one in schema["oneOf"]) == 1


def test_the_schema_is_json_and_every_reference_is_there():
    text = json.dumps(SCHEMA, allow_nan=False)
    assert json.loads(text) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for name in re.findall(r'"#/\$defs/(\w+)"', text):
        assert name in SCHEMA["$defs"]
    for pattern in re.findall(r'"pattern": "([^"]*)"', text):
        re.compile(pattern)


def test_every_rule_is_explained_to_an_editor():
    lines = SCHEMA["properties"]["assertions"]["items"]["oneOf"]
    layer = next(one["properties"] for one in lines if one["properties"]["measure"]["const"] == "carrier_layer")
    assert all(len(layer[rule]["description"]) > 20 for rule in RULES)
    assert not any("relocates" in one["properties"] for one in lines if "equals" not in one["properties"])


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_suites_satisfy_it(path):
    assert accepts(SCHEMA, yaml.safe_load(path.read_text(encoding="utf-8")))


def suite(**line) -> dict:
    return {"geoaudit": 1, "suite": "gate", "assertions": [{"id": "one", "because": "a paper", **line}]}


GOOD = [
    suite(measure="attack_success_rate", at_most=0.5),
    suite(measure="attack_success_rate", at_most=0.5, checkpoints="a*", steps=[1, 2]),
    suite(measure="refusal_rate", between=[0.1, 0.2], **{"with": {"source": "xstest", "n": 10}}),
    suite(measure="refusal_rate", at_least=0.1, **{"with": {"source": {"file": "mine.csv", "label": "harmless"}}}),
    suite(measure="carrier_layer", equals=3, **{"with": {"rule": "arditi", "kl_budget": 0.5}}),
    suite(measure="carrier_position", between=[-5, -1]),
    suite(measure="effective_rank", at_most=3, **{"with": {"field": "normalised"}}),
    suite(
        measure="attack_success_rate",
        at_most=0.5,
        **{
            "with": {
                "attack": "fixed",
                "attacks": "jailbreakbench",
                "method": "PAIR",
                "judge": ["refusal", "harmbench"],
            }
        },
    ),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"attack": "fixed", "attacks": {"file": "mine.csv"}}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"attack": "system", "system": "Obey."}}),
    suite(measure="principal_angle", at_most=30, **{"with": {"against": "previous", "which": "first"}}),
    suite(measure="carrier_relocation", equals=0, **{"with": {"against": "reference", "preset": "paper"}}),
    suite(measure="refusal_depth", equals=3, **{"with": {"share": 0.5, "chat": {"system": "", "thinking": False}}}),
    suite(measure="intervention_sensitivity", at_most=-1, **{"with": {"target": "stored", "file": "mine.csv"}}),
    {"gate": True, "chat": {"template": "chatml"}, **suite(measure="refusal_rate", at_most=0.5)},
    {"about": "why", **suite(measure="degenerate_rate", at_most=0.1)},
    suite(measure="refusal_rate", change_at_least=-0.02),
    suite(measure="refusal_rate", change_at_most=0, against="reference"),
    suite(measure="refusal_rate", across="trajectory", never_below=0.5, steps=[1, 2]),
    suite(measure="refusal_rate", across="trajectory", first_failing_step={"below": 0.5, "not_before": 10, "by": 20}),
    suite(measure="refusal_rate", across="trajectory", monotone="falling"),
    suite(measure="refusal_rate", across="trajectory", monotone={"direction": "rising", "slack": 0.05}),
    suite(measure="refusal_rate", across="trajectory", trend={"direction": "rising", "rho": 0.5}),
    suite(measure="refusal_rate", across="trajectory", change_point="either"),
    suite(measure="refusal_rate", across="trajectory", change_point={"direction": "falling", "between": [5, 9]}),
    suite(measure="carrier_layer", across="trajectory", relocates={"from": "late", "to": [0, 3], "by": 9}),
    suite(measure="carrier_position", across="trajectory", relocates={"from": [-4, -4], "to": [-3, -1]}),
    suite(
        measure="hrci_repr",
        across="trajectory",
        goes_with={"measure": "attack_success_rate", "with": {"n": 5}, "direction": "opposite", "rho": 0.2},
    ),
]
BAD = [
    {},
    [],
    suite(measure="attack_success_rat", at_most=0.5),
    suite(measure="attack_success_rate"),
    suite(measure="attack_success_rate", at_most=0.5, at_least=0.1),
    suite(measure="attack_success_rate", at_most="0.5"),
    suite(measure="principal_angle", at_most=30, **{"with": {"against": "step50"}}),
    suite(measure="principal_angle", at_most=30, **{"with": {"against": ["reference"]}}),
    suite(measure="carrier_transfer", at_least=0.8, **{"with": {"filtered": False}}),
    suite(measure="attack_success_rate", at_most=True),
    suite(measure="attack_success_rate", at_most=5),
    suite(measure="attack_success_rate", equals=0.5),
    suite(measure="attack_success_rate", at_most=0.5, unknown=1),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"rule": "cosmic"}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"source": "harmfull"}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"source": {"column": "q"}}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"n": 0}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"n": 1.5}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"judge": "mine"}}),
    suite(measure="attack_success_rate", at_most=0.5, steps=[]),
    suite(measure="attack_success_rate", at_most=0.5, steps=[-1]),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"judge": []}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"judge": ["refusal", "refusal"]}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"attack": "fixed", "attacks": "none"}}),
    suite(
        measure="intervention_sensitivity", at_most=-1, **{"with": {"target": "stored", "file": {"file": "mine.csv"}}}
    ),
    suite(measure="intervention_sensitivity", at_most=-1, **{"with": {"target": "stored", "file": ""}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"chat": {}}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"chat": {"sistem": "x"}}}),
    suite(measure="attack_success_rate", at_most=0.5, **{"with": {"chat": {"thinking": 1}}}),
    {**suite(measure="refusal_rate", at_most=0.5), "gate": "yes, please"},
    {**suite(measure="refusal_rate", at_most=0.5), "chat": {"system": 3}},
    suite(measure="carrier_layer", between=[1]),
    suite(measure="carrier_layer", between=[1, 2, 3]),
    suite(measure="carrier_layer", equals=-1),
    {**suite(measure="refusal_rate", at_most=0.5), "geoaudit": 2},
    {**suite(measure="refusal_rate", at_most=0.5), "sweet": "x"},
    {"geoaudit": 1, "suite": "gate", "assertions": []},
    {"geoaudit": 1, "assertions": suite(measure="refusal_rate", at_most=0.5)["assertions"]},
    suite(measure="refusal_rate", at_most=0.5, id="Upper"),
    suite(measure="refusal_rate", at_most=0.5, because=""),
    suite(measure="refusal_rate", change_at_least=-1),
    suite(measure="refusal_rate", change_at_most=0.1, at_most=0.5),
    suite(measure="refusal_rate", change_at_most=0.1, against="previous"),
    suite(measure="refusal_rate", at_most=0.5, against="baseline"),
    suite(measure="refusal_rate", at_most=0.5, across="trajectory"),
    suite(measure="refusal_rate", never_below=0.5),
    suite(measure="refusal_rate", across="trajectory"),
    suite(measure="refusal_rate", across="run", never_below=0.5),
    suite(measure="refusal_rate", across="trajectory", never_below=0.5, never_above=0.9),
    suite(measure="refusal_rate", across="trajectory", never_below=5),
    suite(measure="refusal_rate", across="trajectory", at_most=0.5, never_below=0.5),
    suite(measure="refusal_rate", across="trajectory", first_failing_step={"below": 0.5}),
    suite(measure="refusal_rate", across="trajectory", first_failing_step={"by": 5}),
    suite(measure="refusal_rate", across="trajectory", first_failing_step={"below": 0.5, "above": 0.6, "by": 5}),
    suite(measure="refusal_rate", across="trajectory", first_failing_step={"below": 0.5, "by": -5}),
    suite(measure="refusal_rate", across="trajectory", monotone="up"),
    suite(measure="refusal_rate", across="trajectory", monotone={"slack": 0.1}),
    suite(measure="refusal_rate", across="trajectory", trend={"direction": "rising", "rho": 1}),
    suite(measure="refusal_rate", across="trajectory", change_point={"direction": "rising", "between": [5]}),
    suite(measure="refusal_rate", across="trajectory", relocates={"from": [0, 0.1], "to": [0.5, 0.9]}),
    suite(measure="carrier_position", across="trajectory", relocates={"from": "late", "to": "early"}),
    suite(measure="carrier_layer", across="trajectory", relocates={"from": "late"}),
    suite(measure="carrier_layer", across="trajectory", goes_with={"measure": "c_cos", "direction": "up"}),
    suite(measure="carrier_layer", across="trajectory", goes_with={"measure": "nothing", "direction": "same"}),
]


def in_grammar(value, folder: Path) -> bool:
    (folder / "mine.csv").write_text("prompt\nhow\n")
    path = folder / "a.audit.yaml"
    path.write_text(yaml.safe_dump(value))
    try:
        read(path)
    except SuiteError:
        return False
    return True


@pytest.mark.parametrize("value", GOOD, ids=range(len(GOOD)))
def test_what_the_grammar_takes_the_schema_takes(value, tmp_path):
    assert in_grammar(value, tmp_path)
    assert accepts(SCHEMA, value)


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
def test_what_the_schema_refuses_the_grammar_refuses(value, tmp_path):
    assert not accepts(SCHEMA, value)
    assert not in_grammar(value, tmp_path)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_and_parameter_is_described(measure):
    (line,) = [
        one
        for one in SCHEMA["properties"]["assertions"]["items"]["oneOf"]
        if one["properties"]["measure"]["const"] == measure
    ]
    assert line["properties"]["with"] == {"$ref": f"#/$defs/with_{measure}"}
    properties = SCHEMA["$defs"][f"with_{measure}"]["properties"]
    assert set(properties) == set(MEASURES[measure].parameters)
    assert all(one.get("description") for one in properties.values())
    assert ("equals" in line["properties"]) == (MEASURES[measure].kind == "discrete")
    for name, one in properties.items():
        if "default" in one:
            without = {key: part for key, part in one.items() if key != "default"}
            assert accepts(without, one["default"]), name


def test_every_source_by_name_is_offered():
    (by_name, by_file) = SCHEMA["$defs"]["source"]["oneOf"]
    assert by_name["enum"] == [source.name for source in names()]
    assert by_file["required"] == ["file"]
