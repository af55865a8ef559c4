"""The plan: what a measurement is keyed by, what is planned once, and that profiles are prefixes of each other."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit import profiles
from geoaudit.audit.costs import Work, works
from geoaudit.audit.order import PHASES, ordered
from geoaudit.audit.plan import Planned, measurement_key, prompt_hashes, resolve
from geoaudit.errors import DataMissing, GeoauditError, UnknownName
from geoaudit.judges.setup import EndpointSetup, JudgeSetup
from geoaudit.measures.asking import KEYS, unread
from geoaudit.measures.bench import Contract
from geoaudit.measures.definition import Against, Parameter
from geoaudit.measures.inputs import ChatSetting, Source, load_source
from geoaudit.measures.needs import (
    PROBE_HARMFUL,
    CandidateSearch,
    Completions,
    Elsewhere,
    Examination,
    Probe,
)
from geoaudit.measures.table import MEASURES, get
from geoaudit.prompts.sources import load, names

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
SMOKE = profiles.get("smoke")
CONTRACT = Contract("cpu", "bfloat16", "", "", "2.13", "5.23")


def planned(measure: str, profile=SMOKE, **given) -> Planned:
    definition = get(measure)
    return Planned("c", measure, resolve(definition, given, profile), "")


def work_of(asked: list[Planned], n_layers: int = 30) -> list[Work]:
    return works(ordered([("c", need) for one in asked for need in one.needs]), lambda name: n_layers, None)


def needed(measure) -> dict:
    """What has no default and must be said."""
    return {name: int(one.low) for name, one in measure.parameters.items() if "Needed." in one.what}


def key(
    measure="attack_success_rate",
    contract=CONTRACT,
    checkpoint="a" * 64,
    trained_on=(),
    data=None,
    labels="",
    judging=None,
    others=(),
    **given,
) -> str:
    definition = get(measure) if isinstance(measure, str) else measure
    given = {**needed(definition), **given}
    judging = judging or JudgeSetup(data=data, endpoint=EndpointSetup("http://localhost:1/v1", "m"))
    return measurement_key(
        checkpoint, contract, definition, resolve(definition, given, SMOKE), trained_on, labels, judging, others
    )


# --- the key -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Contract)])
@pytest.mark.parametrize("measure", ["attack_success_rate", "carrier_layer", "effective_rank"])
def test_every_field_of_the_contract_is_in_the_key(measure, field):
    now = getattr(CONTRACT, field)
    other = dataclasses.replace(CONTRACT, **{field: now + 1 if isinstance(now, int) else now + "x"})
    assert key(measure, other) != key(measure)
    assert key(measure, dataclasses.replace(CONTRACT)) == key(measure)


def another(parameter: Parameter, now):
    """A valid value other than `now`, or None if there is none."""
    if now is None and parameter.type == "int" and not parameter.profile:
        return int(parameter.low)
    match parameter.type:
        case "choice":
            return next((choice for choice in parameter.choices if choice != now), None)
        case "bool":
            return not now
        case "int":
            return now + 1 if parameter.high is None or now + 1 <= parameter.high else now - 1
        case "float":
            return (now + parameter.low) / 2
        case "choices":  # the prompts of rubrics are in the benchmarks' folder
            return next((one for one in parameter.choices if one != now and not one.endswith("-rubric")), None)
        case "text":
            return now + "x"
        case "chat":
            return ChatSetting(system="Be brief.")
        case "position":
            return "t_inst" if now != "t_inst" else -1
        case "checkpoint":
            return Against("previous" if now.role == "reference" else "reference")
        case "source":
            return Source("safe-but-scary" if now.name != "safe-but-scary" else "harmful")  # both have twins


TOGETHER = {("field", "layer"): {"layer": 3}, ("layer", 0): {"field": "layer"}}
"""Values that ask for another beside them."""


@pytest.mark.parametrize("measure", MEASURES)
def test_every_parameter_is_in_the_key(measure):
    now = resolve(get(measure), needed(get(measure)), SMOKE)
    for name in now:
        value = another(get(measure).parameters[name], now[name])
        if value is not None and name != "attack":  # another attack reads other parameters
            beside = TOGETHER.get((name, value), {})
            assert key(measure, **{name: value}, **beside) != key(measure), name
    written = {name: value for name, value in now.items() if value is not None}
    assert key(measure, **written) == key(measure), "a default that is written out is the same measurement"


def test_what_only_outcomes_of_text_read_is_in_their_key_and_in_no_other():
    measure, text = "intervention_sensitivity", {"outcome": "refusal_rate"}
    keys = [key(measure), key(measure, **text)]
    keys += [key(measure, **text, **more) for more in ({"judge": "xstest-strings"}, {"max_new_tokens": 9})]
    keys += [key(measure, outcome="attack_success_rate"), key(measure, outcome="over_refusal_rate")]
    assert len(set(keys)) == len(keys)
    assert key(measure, **text, judge="refusal", max_new_tokens=64, source="harmful") == key(measure, **text)


def test_measure_version_and_checkpoints_are_in_the_key():
    assert len({key(measure) for measure in MEASURES}) == len(MEASURES)
    assert key(dataclasses.replace(get("refusal_rate"), version=99)) != key("refusal_rate")
    assert key(checkpoint="b" * 64) != key()
    assert key(others=[["b" * 64]]) != key()


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.lists(st.text("0123456789abcdef", min_size=4, max_size=4), max_size=5), st.randoms())
def test_the_training_manifest_is_in_the_key_as_a_set(hashes, random):
    shuffled = list(dict.fromkeys(hashes))
    random.shuffle(shuffled)
    assert key(trained_on=frozenset(hashes)) == key(trained_on=frozenset(shuffled))
    assert (key(trained_on=frozenset(hashes)) == key()) == (not hashes)


def test_the_prompts_that_a_carrier_is_searched_on_are_in_its_key():
    need, more = (
        next(need for need in planned("carrier_layer", **given).needs if isinstance(need, CandidateSearch))
        for given in ({}, {"n_validation": 17})
    )
    assert len(set(prompt_hashes(need, None))) == 4, "two probe sets, two validation sets"
    assert prompt_hashes(need, None)[:2] == prompt_hashes(more, None)[:2]
    assert not set(prompt_hashes(need, None)[2:]) & set(prompt_hashes(more, None)[2:])


@pytest.fixture
def prompts(tmp_path):
    def write(folder="a", name="mine.jsonl", **changed) -> Source:
        rows = [{"prompt": f"request {i}", "kind": "x"} for i in range(3)]
        rows[1] |= changed
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Source(name, str(path), category="kind")

    return write


def test_a_file_counts_by_its_content_and_not_by_its_folder(prompts):
    first = key(source=prompts("a"))
    assert key(source=prompts("b")) == first
    assert key(source=prompts("c", prompt="request one")) != first
    assert key(source=prompts("d", kind="y")) != first
    assert key(source=dataclasses.replace(prompts("a"), label="harmless")) != first
    moved = prompts("e")
    path = Path(moved.file)
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert key(source=moved) == first, "rows in another order are the same set"


def test_a_file_that_is_edited_while_the_program_runs_gets_another_key(prompts):
    source = prompts()
    before = key(source=source)
    assert key(source=prompts(prompt="request 9")) != before
    assert key(source=prompts(prompt="request 1")) == before


def test_a_file_that_has_gone_is_said(prompts):
    source = prompts()
    Path(source.file).unlink()
    with pytest.raises(DataMissing, match="no such prompt file"):
        key(source=source)


def test_an_unknown_source_is_found_while_planning():
    with pytest.raises(UnknownName, match="did you mean 'harmful'"):
        key(source="harmfull")


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", profiles.PROFILES)
@pytest.mark.parametrize("measure", MEASURES)
def test_every_profile_completes_every_measure(measure, profile):
    found = resolve(get(measure), {}, profiles.get(profile))
    idle = unread(found["attack"]) if "attack" in get(measure).parameters else frozenset()
    idle |= {"file", "layer"} if "target" in found else frozenset()
    idle |= {"judge", "max_new_tokens"} if "outcome" in found else frozenset()
    assert found.keys() == get(measure).parameters.keys() - idle
    for name in found:
        if found[name] is None:
            assert get(measure).parameters[name].profile == (name == "n")
            assert name != "n" or profile == "release", "all prompts of the source"
        else:
            assert resolve(get(measure), {name: found[name]}, profiles.get(profile)) == found, "defaults are valid"
        if (measure, name) != ("dose_response", "n_controls"):  # beside each of eight doses: fewer
            assert get(measure).parameters[name].profile == (name in profiles.get(profile).defaults)


@pytest.mark.parametrize("attack", KEYS)
def test_an_attack_keeps_the_parameters_that_it_reads_and_no_other(attack):
    found = resolve(get("attack_success_rate"), {"attack": attack}, SMOKE)
    special = {name for names in KEYS.values() for name in names}
    assert special & found.keys() == set(KEYS[attack])
    for name in special - set(KEYS[attack]):
        parameter = get("attack_success_rate").parameters[name]
        value = parameter.low if parameter.default is None else parameter.default
        with pytest.raises(GeoauditError, match=f"{name} is not read by attack '{attack}' but by "):
            resolve(get("attack_success_rate"), {"attack": attack, name: value}, SMOKE)


@pytest.mark.parametrize("attack", KEYS)
def test_another_attack_is_another_measurement(attack):
    if attack != "direct":
        data = SHARED if attack in ("fixed", "autodan") else None
        if data is not None and not data.is_dir():
            pytest.skip("the benchmark folder is not there")
        assert key(attack=attack, data=data) != key()


@pytest.mark.parametrize(
    ("judge", "tokens"),
    [("refusal", 64), ("harmbench", 512), (["refusal", "harmbench"], 512), (["refusal", "xstest-strings"], 64)],
)
def test_answers_are_as_long_as_the_judges_need_them(judge, tokens):
    assert resolve(get("attack_success_rate"), {"judge": judge}, SMOKE)["max_new_tokens"] == tokens
    assert resolve(get("attack_success_rate"), {"judge": judge, "max_new_tokens": 7}, SMOKE)["max_new_tokens"] == 7


def test_stored_attacks_are_for_their_own_behaviours_unless_a_source_is_named():
    assert resolve(get("attack_success_rate"), {"attack": "fixed"}, SMOKE)["source"] == Source("jailbreakbench")
    named = resolve(get("attack_success_rate"), {"attack": "fixed", "source": "harmbench"}, SMOKE)
    assert named["source"] == Source("harmbench")


def test_the_suite_wins_over_the_profile_and_the_profile_over_the_table():
    measure = get("attack_success_rate")
    assert resolve(measure, {}, profiles.get("standard"))["n"] == 128
    assert resolve(measure, {"n": 7}, profiles.get("standard"))["n"] == 7
    assert resolve(measure, {}, SMOKE)["source"] == Source("harmful")
    assert resolve(measure, {"source": "xstest"}, SMOKE)["source"] == Source("xstest")


@pytest.mark.parametrize("given", [{"sorce": "harmful"}, {"at_most": 1}, {"": 1}])
def test_a_parameter_that_a_measure_does_not_have(given):
    with pytest.raises(UnknownName, match="unknown parameter of attack_success_rate"):
        resolve(get("attack_success_rate"), given, SMOKE)


@pytest.mark.parametrize("given", [{"n": 0}, {"n": 1.0}, {"n": True}, {"n": None}, {"judge": "none"}, {"judge": None}])
def test_a_value_that_a_parameter_cannot_take(given):
    with pytest.raises(GeoauditError):
        resolve(get("attack_success_rate"), given, SMOKE)


# --- profiles --------------------------------------------------------------------------------------------------------

ORDER = ("smoke", "standard", "release")


@pytest.mark.parametrize("source", [one.name for one in names() if one.kind == "builtin"])
def test_profiles_take_prefixes_of_one_order(source):
    every = load(source)
    taken = [every.first(profiles.get(name).defaults["n"]).prompts for name in ORDER]
    for less, more in pairwise(taken):
        assert more[: len(less)] == less
    assert taken[-1] == every.prompts


@pytest.mark.parametrize("parameter", ["n_train", "n_validation"])
def test_probe_sets_are_large_enough_for_every_profile(parameter):
    source = PROBE_HARMFUL[0] if parameter == "n_train" else PROBE_HARMFUL[1]
    sizes = [profiles.get(name).defaults[parameter] for name in ORDER]
    assert sizes == sorted(sizes)
    definition = get("carrier_layer").parameters[parameter]
    assert all(definition.low <= size <= definition.high for size in sizes)
    assert len(load(source)) >= definition.high, "every n that may be asked for is there"


def test_only_the_smoke_profile_decides_by_the_estimate():
    assert {name for name in ORDER if profiles.get(name).decide == "estimate"} == {"smoke"}
    assert "not a gate" in SMOKE.what
    assert set(profiles.PROFILES) == set(ORDER)
    with pytest.raises(UnknownName, match="did you mean 'standard'"):
        profiles.get("standart")


# --- work ------------------------------------------------------------------------------------------------------------


def test_what_several_measures_need_is_planned_once_and_in_phases():
    asked = [planned(m) for m in ("carrier_layer", "carrier_kl", "effective_rank", "participation_ratio")]
    asked += [planned("carrier_layer", rule="arditi"), planned("attack_success_rate"), planned("degenerate_rate")]
    asked += [planned("refusal_rate", judge="xstest-strings"), planned("refusal_rate", source="harmful")]
    found = work_of(asked)
    needs = [work.need for work in found]
    assert len(set(needs)) == len(needs)
    kinds = [type(need) for need in needs]
    plain = [need for need in needs if isinstance(need, Completions)]
    twins = [need.source.name for need in plain if need.source.name.endswith("-paraphrases")]
    assert twins == ["harmful-paraphrases"]
    assert kinds == sorted(kinds, key=list(PHASES).index)
    assert kinds.count(Completions) == 5, "two of them for the search, and a twin"
    assert (kinds.count(Probe), kinds.count(CandidateSearch)) == (1, 1), "two rules choose from one search"
    assert kinds.count(Examination) == 2, "and each looks at the one that it chose"
    assert [work.phase for work in found if work.phase == "generate"] == ["generate"] * 5
    assert all(work.prompts > 0 and work.tokens > 0 and work.units > 0 for work in found)


def test_every_need_of_a_search_is_planned_even_where_a_measure_forgets_it():
    (search,) = (need for need in planned("carrier_layer").needs if isinstance(need, CandidateSearch))

    class Forgetful(Planned):
        needs = (search,)

    found = work_of([Forgetful("c", "carrier_layer", {}, "")])
    assert {work.need for work in found} == {search, search.probe, *search.answered}


def test_work_grows_with_prompts_tokens_and_layers():
    def units(n_layers=30, **given):
        (found,) = (
            work.units
            for work in work_of([planned("carrier_layer", **given)], n_layers)
            if isinstance(work.need, CandidateSearch)
        )
        return found

    assert units(n_validation=32) > units(n_validation=16)
    assert units(n_layers=60) > 1.9 * units(n_layers=30)
    assert units(max_layer_fraction=0.4) < 0.6 * units(max_layer_fraction=0.8)
    short, long = (work_of([planned("refusal_rate", max_new_tokens=n)])[0] for n in (8, 64))
    assert long.tokens - short.tokens == 56 * short.prompts == 56 * 64


def test_the_prompts_of_a_need_are_those_that_the_bench_will_take():
    (need,) = planned("refusal_rate", source="benign-utility").needs
    (work,) = work_of([planned("refusal_rate", source="benign-utility")])
    assert work.prompts == len(load_source(need.source, None).first(need.n)) == 60


def test_prompts_of_another_checkpoint_are_those_of_its_need():
    for measure in ("principal_angle", "carrier_transfer"):
        there = [need for need in planned(measure).needs if isinstance(need, Elsewhere)]
        assert there
        for need in there:
            assert prompt_hashes(need, None) == prompt_hashes(need.need, None) != ()


@pytest.mark.parametrize("measure", ["refusal_depth", "paraphrase_gap"])
def test_a_second_judge_is_refused_where_only_one_would_be_heard(measure):
    with pytest.raises(GeoauditError, match="judge cannot be"):
        resolve(get(measure), {"judge": ["refusal", "xstest-strings"]}, SMOKE)
