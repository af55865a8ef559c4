"""The one table of measures: every row can be asked for, is documented, and gives what the row says it gives."""

from __future__ import annotations

import inspect
import json
import math
from itertools import product

import pytest

from geoaudit import judges
from geoaudit.attacks.cases import ADAPTIVE
from geoaudit.audit import profiles
from geoaudit.audit.order import PHASES
from geoaudit.audit.plan import resolve
from geoaudit.errors import GeoauditError, NothingToMeasure, UnknownName
from geoaudit.measures.definition import Measure
from geoaudit.measures.evidence import Evidence, describe
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import (
    PROBE_HARMFUL,
    PROBE_HARMLESS,
    Judged,
    Need,
)
from geoaudit.measures.outcome_needs import OUTCOMES, SCORE
from geoaudit.measures.table import MEASURES, dotted, get
from geoaudit.prompts.sources import load, names
from geoaudit.records import Measurement
from tests.measures.benches import SHARED, evidence_of, open_bench

SMALL = {
    "n": 12,
    "n_train": 32,
    "n_validation": 8,
    "n_held_out": 8,
    "n_controls": 9,
    "beats_controls": 0.8,  # which nine controls can show
    "max_new_tokens": 3,
}
MOST_COMBINED = 40
"""Combinations of choices that are all tried; of more, each choice is changed alone."""
ELSEWHERE = {"beliefs", "coupling", "drift", "independence", "relocation", "reply_inversion", "transfer"}
"""Families whose numbers need more than one planted model that refuses exactly the harmful prompts: four filled cells,
or another checkpoint. `test_beliefs`, `test_coupling` and so on have them."""
MANY_EDITS = {"intervention_sensitivity", "dose_response", "causal_rank", "causal_matrix"}
"""Measures that compute every variant under many edits; `test_interventions` and so on ask them less, and always."""
HERE = [
    measure
    for measure in MEASURES.values()
    if measure.function.partition(":")[0].split(".")[-1] not in ELSEWHERE and measure.name != "transfer_asr"
]


def small(measure: Measure, **given) -> dict:
    """Every parameter of a measure, on few prompts."""
    few = {name: value for name, value in SMALL.items() if name in measure.parameters}
    if "outcome" in measure.parameters and not OUTCOMES[given.get("outcome", SCORE)].judges:
        del few["max_new_tokens"]  # no text is made
    few |= {name: 2 for name, one in measure.parameters.items() if one.what.endswith("Needed.")}
    return resolve(measure, {**few, **given}, profiles.get("smoke"))


def variants(measure: Measure) -> list[dict]:
    """All combinations of the measure's choices and switches, or each one changed alone where there are many."""
    free = {
        name: one.choices or (False, True)
        for name, one in measure.parameters.items()
        if one.type in ("choice", "choices", "bool") and name not in ("format", "judge", "grader")
    }
    if "judge" in measure.parameters and "outcome" not in measure.parameters:
        free["judge"] = tuple(name for name in measure.parameters["judge"].choices if name in judges.OFFLINE)
    if "attack" in free:  # stored attacks are for the benchmarks' behaviours; `test_optimising` has the adaptive ones
        free["attack"] = tuple(name for name in free["attack"] if name not in ("fixed", *ADAPTIVE))
    if math.prod(map(len, free.values())) <= MOST_COMBINED:
        given = [dict(zip(free, values, strict=True)) for values in product(*free.values())]
    else:
        given = [{}, *({name: value} for name, values in free.items() for value in values if value != "exhaustive")]
    given = [one for one in given if not needs_more(measure, one)]
    deaf = [one for one in given if one.get("refusal") == "partial" and one["judge"].endswith("-strings")]
    for one in deaf:
        with pytest.raises(GeoauditError, match="never says partial refusal"):
            small(measure, **one)
    return [small(measure, **one) for one in given if one not in deaf]


def needs_more(measure: Measure, given: dict) -> bool:
    """Whether a variant asks for what this bench's few prompts, or its model of one direction, cannot give."""
    if measure.name == "causal_rank" and (given.get("raw") or given.get("peaks")):
        return True  # they choose a layer before the planted one here, where no subspace carries anything
    if measure.name == "dose_response" and given and given != {"operator": "add"}:
        return True  # eight interventions each: `intervention_sensitivity` tries every one of them
    if given.get("outcome") in ("over_refusal_rate", "strongreject"):
        return True  # the refusal rate of other prompts, and a judge with weights of its own: `test_text_outcomes`
    if given.get("target") == "stored" or given.get("controls") in ("norm_matched", "random"):
        return True  # a file, or another outcome: `test_stored_direction` and `test_intervention_controls`
    if given.get("outcome") == "harmless_kl":
        return True  # of its one direction no harmless prompt has any
    large = given.get("preset", "geoaudit") != "geoaudit" or given.get("filtered") or given.get("contrast") == "refused"
    # an edit of one layer, or one that spares the first token, leaves the tie between the layers behind to rounding
    of_a_carrier = measure.name.startswith(("carrier_", "causal_", "intervention_", "dose_"))
    return of_a_carrier and bool(large or given.get("rule") == "cosmic-affine")


@pytest.fixture(scope="module")
def evidence(planted):
    return evidence_of(open_bench(planted(layer=2, position=-1), SHARED))


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())
def test_a_row_says_what_a_reader_needs(measure):
    assert get(measure.name) is measure
    assert measure.name.isidentifier()
    assert measure.name == measure.name.lower()
    for text in (measure.title, measure.unit, measure.says, measure.says_not, measure.source):
        assert text.strip() == text != ""
    assert measure.says.endswith(".")
    assert measure.better in ("lower", "higher", "neither")
    assert measure.version >= 1
    low, high = measure.range
    assert low is None or high is None or low < high
    if measure.kind == "rate":
        assert measure.range == (0.0, 1.0)
        assert measure.unit in ("share of prompts", "score in [0, 1]")


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())
def test_function_and_needs_are_there(measure):
    function = dotted(measure.function)
    assert list(inspect.signature(function).parameters) == ["parameters", "evidence"]
    assert function.__name__ == measure.name
    assert inspect.getdoc(function)
    light = measure.needs.partition(":")[0]
    assert light.endswith(("_needs", ".needs", ".asking")), "planning imports nothing that computes (test_imports)"
    needs = dotted(measure.needs)(small(measure))
    assert needs
    assert all(isinstance(need, Need) for need in needs)
    assert {type(need) for need in needs} <= set(PHASES)
    assert dotted(measure.needs)(small(measure)) == needs
    assert hash(needs) == hash(dotted(measure.needs)(small(measure)))


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())
def test_every_parameter_is_documented_and_its_default_is_valid(measure):
    for name, parameter in measure.parameters.items():
        assert name.isidentifier()
        assert parameter.what.strip().endswith(".")
        assert len(parameter.what) > 8
        if parameter.type in ("choice", "choices"):
            assert parameter.default in parameter.choices
            assert len(set(parameter.choices)) == len(parameter.choices)
        if parameter.type in ("int", "float"):
            assert parameter.low is not None, "error messages name it"
        by_profile = parameter.profile or name == "budget"
        if by_profile or parameter.type == "chat" or name == "max_new_tokens" or "Needed." in parameter.what:
            assert parameter.default is None
        else:
            assert parameter.default is not None
        if name == "judge":
            assert set(parameter.choices) <= set(judges.JUDGES)
        if parameter.type == "source":
            assert parameter.default in [source.name for source in names()]


def test_names_that_do_not_exist():
    with pytest.raises(UnknownName, match="unknown measure 'asr'"):
        get("asr")
    with pytest.raises(UnknownName, match="did you mean 'effective_rank'"):
        get("effectiv_rank")


def test_every_kind_of_need_has_a_phase():
    needs = [need for measure in MEASURES.values() for need in dotted(measure.needs)(small(measure))]
    sensitivity = get("intervention_sensitivity")
    needs += dotted(sensitivity.needs)(small(sensitivity, outcome="refusal_rate"))
    assert {type(need) for need in needs} == set(PHASES)


def test_probe_pairs_are_aligned_for_every_n():
    for harmful, harmless in zip(PROBE_HARMFUL, PROBE_HARMLESS, strict=True):
        one, other = load(harmful), load(harmless)
        assert [prompt.pair for prompt in one.prompts] == [prompt.pair for prompt in other.prompts]
        assert {prompt.label for prompt in one.prompts} == {"harmful"}
        assert {prompt.label for prompt in other.prompts} == {"harmless"}


# --- on a real bench -------------------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module",
    params=[pytest.param(one, id=one.name, marks=[pytest.mark.slow] if one.name in MANY_EDITS else []) for one in HERE],
)
def measured(request, evidence):
    """A measure, and of each variant its parameters, what it asked for and what it gave. Made once for the tests."""

    def of_variant(parameters: dict) -> tuple[dict, list[Need], Measurement]:
        asked: list[Need] = []

        def of(need):
            asked.append(need)
            return evidence.of(need)

        return parameters, asked, dotted(request.param.function)(parameters, Evidence("ckpt", of))

    return request.param, [of_variant(parameters) for parameters in variants(request.param)]


def test_every_variant_gives_a_value_in_range_with_its_interval(measured):
    measure, tried = measured
    for parameters, _, found in tried:
        outcome = OUTCOMES[parameters.get("outcome", SCORE)]
        unit = outcome.unit if "outcome" in parameters else measure.unit
        assert (found.measure, found.unit, found.checkpoint) == (measure.name, unit, "ckpt")
        assert found.why_missing == ""
        assert found.n > 0
        assert found.inputs
        assert all(len(sha) == 64 for sha in found.inputs.values())
        assert found.interval
        assert found.parameters == Evidence.described(parameters)
        low, high = measure.range
        values = [value for value in (found.estimate, found.low, found.high) if value is not None]
        bare = parameters.get("convention") == "singular_values"
        place = measure.name in ("carrier_layer", "carrier_position")
        bare |= parameters.get("search") == "winner" and place  # its rivals were not scored
        assert len(values) == (1 if bare else 3)
        slack = 1e-4 if measure.name == "carrier_kl" else 1e-9  # the reference's epsilon inside the logarithm
        assert low is None or min(values) >= low - slack
        assert high is None or max(values) <= high + 1e-9
        if len(values) == 3:
            assert found.low <= found.high
        if measure.kind in ("rate", "discrete") and not bare:  # the others are reflected around the estimate
            assert found.low <= found.estimate <= found.high
        of_text = measure.kind == "rate" or measure.name == "paraphrase_gap" or bool(outcome.judges)
        assert (found.worst is not None) == of_text
        drawn = measure.kind != "rate" and measure.name not in ("paraphrase_gap", "refusal_depth")
        assert (found.seed is not None) == drawn
        assert Measurement.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_a_measure_asks_for_no_more_than_its_needs(measured):
    measure, tried = measured
    for parameters, asked, _ in tried:
        assert asked
        planned = set(dotted(measure.needs)(parameters))
        rules = {need for need in asked if isinstance(need, Judged) and need.judge in judges.OFFLINE}
        assert {need.completions for need in rules} <= planned, "rules cost nothing and are not planned"
        assert set(asked) - rules <= planned


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())
def test_missing_evidence_is_no_value(measure):
    def of(need):
        raise NothingToMeasure("activations are NaN")

    with pytest.raises(NothingToMeasure, match=r"activations are NaN|no other checkpoint"):
        dotted(measure.function)(small(measure), Evidence("ckpt", of))


# --- parameters as the record shows them -----------------------------------------------------------------------------


def test_a_file_is_shown_without_its_folder():
    source = Source("mine.csv", "/home/someone/secret/mine.csv", "q", "kind", "harmless")
    shown = describe(source)
    assert shown == {"name": "mine.csv", "file": "mine.csv", "column": "q", "category": "kind", "label": "harmless"}
    assert "someone" not in json.dumps(shown)
    assert describe(Source("harmful")) == "harmful"
    assert describe(0.5) == 0.5
    assert Evidence.described({"a": source, "n": None})["n"] is None
