"""Lines about a whole trajectory and about a change, as a suite writes them: what is read, and what is refused."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geoaudit.audit.rules import KEYS, RULES, Across, Companion
from geoaudit.audit.suite import ASSERTION_KEYS, Assertion, read
from geoaudit.errors import SuiteError
from geoaudit.measures.inputs import ChatSetting, Source

HEAD = "geoaudit: 1\nsuite: run\nassertions:\n  - id: one\n    because: a paper\n"


@pytest.fixture
def line(tmp_path):
    def line(text: str, measure: str = "attack_success_rate", head: str = HEAD) -> Assertion:
        """The assertion; `text` begins in line 7, column 5."""
        path = tmp_path / "run.audit.yaml"
        path.write_text(f"{head}    measure: {measure}\n    {text}\n")
        (one,) = read(path).assertions
        return one

    return line


@pytest.fixture
def wrong(line, tmp_path):
    def wrong(text: str, measure: str = "attack_success_rate") -> str:
        with pytest.raises(SuiteError) as error:
            line(text, measure)
        return str(error.value).removeprefix(f"{tmp_path / 'run.audit.yaml'}:")

    return wrong


ACROSS = "across: trajectory\n    "
READ = {
    "never_above: 0.05": Across("never_above", limit=0.05, fails="above"),
    "never_below: 0.5": Across("never_below", limit=0.5, fails="below"),
    "first_failing_step: {above: 0.05, not_before: 250}": Across(
        "first_failing_step", limit=0.05, fails="above", not_before=250
    ),
    "first_failing_step: {below: 0.2, not_before: 100, by: 500}": Across(
        "first_failing_step", limit=0.2, fails="below", not_before=100, by=500
    ),
    "monotone: rising": Across("monotone", direction="rising"),
    "monotone: {direction: falling, slack: 0.05}": Across("monotone", direction="falling", slack=0.05),
    "trend: falling": Across("trend", direction="falling"),
    "trend: {direction: rising, rho: 0.5}": Across("trend", direction="rising", rho=0.5),
    "change_point: either": Across("change_point", direction="either"),
    "change_point: {direction: falling, between: [100, 250], size: 0.2}": Across(
        "change_point", direction="falling", between=(100, 250), size=0.2
    ),
    "goes_with: {measure: over_refusal_rate, direction: opposite, rho: 0.3}": Across(
        "goes_with", direction="opposite", rho=0.3, other=Companion("over_refusal_rate", {})
    ),
}
LAYERS = {
    "relocates: {from: late, to: early, by: 250}": Across("relocates", start="late", end="early", by=250),
    "relocates: {from: middle, to: [0, 3]}": Across("relocates", start="middle", end=(0, 3)),
    "relocates: {from: [20, 31], to: [0, 3]}": Across("relocates", start=(20, 31), end=(0, 3)),
}


@pytest.mark.parametrize("text", READ)
def test_a_rule_is_read_as_it_is_written(line, text):
    found = line(ACROSS + text)
    assert found.across == READ[text]
    assert found.comparator == found.across.rule
    assert found.against is None
    assert found.bound
    assert text.partition(":")[0] in RULES


@pytest.mark.parametrize("text", LAYERS)
def test_a_place_is_a_part_of_the_depth_or_a_range(line, text):
    assert line(ACROSS + text, "carrier_layer").across == LAYERS[text]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("never_above: 0.05", "is never above 0.05"),
        ("first_failing_step: {above: 0.05, not_before: 250}", "is not above 0.05 before step 250"),
        (
            "first_failing_step: {below: 0.2, not_before: 100, by: 500}",
            "is not below 0.2 before step 100 and below 0.2 by step 500",
        ),
        ("monotone: rising", "never falls"),
        ("monotone: {direction: falling, slack: 0.05}", "never rises by more than 0.05"),
        ("trend: {direction: rising, rho: 0.5}", "has a rising trend of ρ 0.5 or more"),
        (
            "change_point: {direction: falling, between: [100, 250], size: 0.2}",
            "jumps down by 0.2 or more between steps 100 and 250",
        ),
        ("goes_with: {measure: c_cos, direction: same}", "goes with c_cos in the same direction"),
    ],
)
def test_a_rule_says_what_it_is(line, text, says):
    assert line(ACROSS + text).across.says == says


def test_what_a_relocation_says(line):
    found = line(ACROSS + "relocates: {from: late, to: [0, 3], by: 250}", "carrier_layer").across
    assert found.says == "moves from the late layers to [0, 3] (from step 250 on)"
    assert found.to_json() == {"from": "late", "to": [0, 3], "by": 250}


def test_the_other_measure_takes_the_chat_of_the_suite(line):
    head = HEAD.replace("assertions", "chat: {template: chatml}\nassertions")
    text = "goes_with: {measure: attack_success_rate, with: {source: harmful, n: 8}, direction: same}"
    other = line(ACROSS + text, "hrci_repr", head).across.other
    assert other.parameters == {"chat": ChatSetting(template="chatml"), "source": Source("harmful"), "n": 8}


def test_steps_and_checkpoints_go_with_a_rule(line):
    found = line(ACROSS + "trend: falling\n    checkpoints: 'r2d2/*'\n    steps: [50, 100]")
    assert found.concerns("r2d2/step50")
    assert not found.concerns("r2d2/step75")
    assert not found.concerns("sft/step50")


WRONG = {
    "a rule without across": ("never_above: 0.05", "7:5", "write `across: trajectory` beside it"),
    "across without a rule": (ACROSS.strip(), "4:5", "needs exactly one of never_above, never_below"),
    "a bound across": (ACROSS + "at_most: 0.05", "8:5", "at_most is said of each checkpoint by itself"),
    "a change across": (ACROSS + "change_at_most: 0.05", "8:5", "change_at_most is said of each checkpoint"),
    "two rules": (ACROSS + "never_above: 0.05\n    trend: falling", "4:5", "got never_above and trend"),
    "across another thing": ("across: trajectories\n    never_above: 0.05", "7:13", "(did you mean 'trajectory'?)"),
    "a rule that there is not": (ACROSS + "never_abov: 0.05", "8:5", "(did you mean 'never_above'?)"),
    "an impossible limit": (ACROSS + "never_above: 5", "8:18", "bound 5 is impossible"),
    "a limit that says nothing": (ACROSS + "never_above: 1", "8:18", "no value of attack_success_rate is above 1"),
    "a floor that says nothing": (ACROSS + "never_below: 0", "8:18", "no value of attack_success_rate is below 0"),
    "a limit that is a word": (ACROSS + "never_above: low", "8:18", "must be a number, got 'low'"),
    "no side": (
        ACROSS + "first_failing_step: {by: 5}",
        "8:25",
        "exactly one of above, below (what failing is), got none",
    ),
    "both sides": (ACROSS + "first_failing_step: {above: 0.5, below: 0.1, by: 5}", "8:25", "got above and below"),
    "no step": (ACROSS + "first_failing_step: {above: 0.5}", "8:25", "needs not_before (up to which step"),
    "a bare limit": (ACROSS + "first_failing_step: 0.5", "8:25", "must be a mapping of keys to values, got '0.5'"),
    "before step 0": (ACROSS + "first_failing_step: {above: 0.5, not_before: 0}", "8:50", "no step is before step 0"),
    "by before not_before": (
        ACROSS + "first_failing_step: {above: 0.5, not_before: 100, by: 50}",
        "8:59",
        "by is before not_before",
    ),
    "half a step": (ACROSS + "first_failing_step: {above: 0.5, by: 0.5}", "8:42", "by is a step, a whole number"),
    "a step below 0": (ACROSS + "first_failing_step: {above: 0.5, by: -1}", "8:42", "by is a step, a whole number"),
    "a direction that there is not": (ACROSS + "monotone: risng", "8:15", "(did you mean 'rising'?); one of rising"),
    "either way": (ACROSS + "trend: either", "8:12", "trend cannot be 'either'; one of rising, falling"),
    "no direction": (ACROSS + "trend: {rho: 0.5}", "8:12", "trend has no key 'direction', one of rising, falling"),
    "an option that there is not": (
        ACROSS + "trend: {direction: rising, slack: 1}",
        "8:32",
        "unknown key 'slack' in trend",
    ),
    "rho of one": (ACROSS + "trend: {direction: rising, rho: 1}", "8:37", "from 0 to below 1, got 1"),
    "rho below 0": (ACROSS + "trend: {direction: falling, rho: -0.5}", "8:38", "from 0 to below 1, got -0.5"),
    "slack below 0": (ACROSS + "monotone: {direction: rising, slack: -0.1}", "8:42", "from 0 on and below 1, got -0.1"),
    "slack of the whole range": (ACROSS + "monotone: {direction: rising, slack: 1}", "8:42", "below 1, got 1"),
    "a size of the whole range": (ACROSS + "change_point: {direction: rising, size: 1}", "8:45", "below 1, got 1"),
    "no room for a jump": (
        ACROSS + "change_point: {direction: rising, between: [50, 50]}",
        "8:48",
        "no room for a jump",
    ),
    "one step": (ACROSS + "change_point: {direction: rising, between: 50}", "8:48", "between takes two steps"),
    "a rate that relocates": (ACROSS + "relocates: {from: [0, 0.1], to: [0.5, 1]}", "8:16", "use change_point"),
    "goes with nothing": (ACROSS + "goes_with: {direction: same}", "8:16", "goes_with has no key 'measure'"),
    "goes with a word": (ACROSS + "goes_with: c_cos", "8:16", "goes_with must be a mapping"),
    "goes with an unknown measure": (
        ACROSS + "goes_with: {measure: c_cosine, direction: same}",
        "8:26",
        "unknown measure 'c_cosine' (did you mean 'c_cos'?)",
    ),
    "goes with no direction": (
        ACROSS + "goes_with: {measure: c_cos}",
        "8:16",
        "no key 'direction', one of same, opposite",
    ),
    "goes with a wrong parameter": (
        ACROSS + "goes_with: {measure: c_cos, with: {n: 5}, direction: same}",
        "8:40",
        "unknown key 'n' in with (the parameters of c_cos)",
    ),
    "a rule with tags": (ACROSS + "trend: !!str falling", "8:12", "tags and aliases are not part of the grammar"),
}
WRONG_LAYERS = {
    "no from": ("relocates: {to: early}", "8:16", "relocates has no key 'from': early, middle, late (thirds"),
    "a part that there is not": ("relocates: {from: lat, to: early}", "8:23", "(did you mean 'late'?)"),
    "from and to": ("relocates: {from: late, to: late}", "8:33", "have places in common"),
    "ranges that meet": ("relocates: {from: [3, 5], to: [0, 3]}", "8:35", "have places in common"),
    "three numbers": ("relocates: {from: [1, 2, 3], to: [0, 3]}", "8:23", "from takes [low, high]"),
    "a range the wrong way": ("relocates: {from: [5, 3], to: [0, 1]}", "8:23", "from [5, 3] is empty"),
    "below the first layer": ("relocates: {from: [5, 9], to: [-1, 1]}", "8:36", "bound -1 is impossible"),
    "by step 0": ("relocates: {from: late, to: early, by: 0}", "8:44", "by is a step after the first one"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_named_with_its_line_and_column(wrong, case):
    text, place, words = case
    said = wrong(text)
    assert said.startswith(f"{place}: ")
    assert words in said


@pytest.mark.parametrize("case", WRONG_LAYERS.values(), ids=WRONG_LAYERS.keys())
def test_a_mistake_in_a_relocation_is_named(wrong, case):
    text, place, words = case
    said = wrong(ACROSS + text, "carrier_layer")
    assert said.startswith(f"{place}: ")
    assert words in said


def test_parts_of_the_depth_are_said_of_layers_only(wrong):
    assert "from cannot be 'late'; [low, high]" in wrong(
        ACROSS + "relocates: {from: late, to: early}", "carrier_position"
    )


# --- changes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "measure", "bound", "against"),
    [
        ("change_at_most: 0.02", "attack_success_rate", (0.02,), "baseline"),
        ("change_at_most: 0", "attack_success_rate", (0,), "baseline"),
        ("change_at_least: -0.05\n    against: reference", "refusal_rate", (-0.05,), "reference"),
        ("change_at_least: -3\n    against: baseline", "carrier_layer", (-3,), "baseline"),
        ("change_at_most: 12.5", "direction_norm", (12.5,), "baseline"),
    ],
)
def test_a_change_has_a_margin_and_something_to_be_against(line, text, measure, bound, against):
    found = line(text, measure)
    assert (found.comparator, found.bound, found.against, found.across) == (
        text.partition(":")[0],
        bound,
        against,
        None,
    )


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (
            "change_at_most: 1",
            "7:21",
            "a change of attack_success_rate lies in [-1, 1] (share of prompts): a margin of 1",
        ),
        ("change_at_least: -1", "7:22", "a margin of -1 is never broken or never kept"),
        ("change_at_most: 1.5", "7:21", "a margin of 1.5"),
        ("change_at_most: .nan", "7:21", "must be a number in plain decimals"),
        ("change_at_most: 0.1\n    against: basline", "8:14", "against cannot be 'basline' (did you mean 'baseline'?)"),
        ("change_at_most: 0.1\n    against: r2d2/step50", "8:14", "one of baseline, reference"),
        ("at_most: 0.1\n    against: baseline", "8:5", "against belongs to change_at_most and change_at_least"),
        ("at_most: 0.1\n    change_at_most: 0.1", "4:5", "got at_most and change_at_most"),
        ("change_at_mots: 0.1", "7:5", "(did you mean 'change_at_most'?)"),
    ],
)
def test_a_mistake_in_a_change_is_named(wrong, text, place, words):
    said = wrong(text)
    assert said.startswith(f"{place}: ")
    assert words in said


def test_against_with_a_rule_is_refused(wrong):
    assert wrong(ACROSS + "trend: falling\n    against: reference").startswith("9:5: against belongs to change_at_most")


def test_against_in_with_stays_the_measures_own(line):
    found = line("at_most: 30\n    with: {against: previous}", "principal_angle")
    assert found.against is None
    assert found.parameters["against"].role == "previous"


def test_every_rule_is_a_key_of_an_assertion():
    assert {*RULES, "across", "against", "change_at_most", "change_at_least"} <= set(ASSERTION_KEYS)
    assert len(set(ASSERTION_KEYS)) == len(ASSERTION_KEYS)


def test_the_module_shows_only_what_the_grammar_takes(line):
    """The examples at the top of the module are a reader's first sight of the rules."""
    from geoaudit.audit import rules

    text = rules.__doc__.partition("::\n")[2]
    examples = [re.split(" {3,}", row.strip())[0] for row in text.splitlines() if row.startswith("    ")]
    assert {one.partition(":")[0] for one in examples} == set(RULES)
    for one in examples:
        measure = "carrier_layer" if "relocates" in one or "size" in one else "attack_success_rate"
        assert line(ACROSS + one, measure).across is not None


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 600) | st.floats(-2, 2) | st.sampled_from(["rising", "late", "", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted({key for keys in KEYS.values() for key in keys} | {"x"})), inner, max_size=4
        )
    ),
    max_leaves=6,
)


@given(st.sampled_from(RULES), JUNK, st.sampled_from(["carrier_layer", "refusal_rate", "effective_rank"]))
@example("relocates", {"from": ["late"], "to": "early"}, "carrier_layer")
@example("first_failing_step", {"above": 0.5, "by": [5]}, "refusal_rate")
@example("goes_with", {"measure": ["c_cos"], "direction": "same"}, "refusal_rate")
@example("change_point", {"direction": {}, "between": [1, "x"]}, "refusal_rate")
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_a_rule_is_read_or_refused_with_its_place(rule, value, measure):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.audit.yaml"
        one = {"id": "one", "because": "a paper", "measure": measure, "across": "trajectory", rule: value}
        path.write_text(yaml.safe_dump({"geoaudit": 1, "suite": "run", "assertions": [one]}))
        found, said = None, ""
        try:
            (found,) = read(path).assertions
        except SuiteError as error:
            said = str(error)
        if found is None:
            assert re.match(rf"{re.escape(str(path))}:\d+:\d+: \S", said)
        else:
            assert found.across.rule == rule
            assert found.across.says
            assert json.dumps(found.across.to_json())
