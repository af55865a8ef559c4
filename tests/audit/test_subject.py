"""Measurements in Python tests: nothing undecided, and no slip of the pen, can turn an assertion green."""

from __future__ import annotations

import contextlib
import math
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.audit.subject import AuditedCheckpoint, Measured
from geoaudit.audit.verdict import AuditOutcome, Verdict
from geoaudit.errors import RequestError, UnknownName
from geoaudit.measures.inputs import Source
from geoaudit.measures.table import MEASURES
from geoaudit.records import Flag, Measurement

COMPARISONS = (operator.le, operator.lt, operator.ge, operator.gt)


def measured(
    estimate=0.25,
    low=0.15,
    high=0.35,
    by="interval",
    measure="attack_success_rate",
    seen: list[Verdict] | None = None,
    **more,
) -> Measured:
    measurement = Measurement(measure, "c", {}, "share", estimate=estimate, low=low, high=high, n=64, **more)
    return Measured("key", measurement, by, (seen if seen is not None else []).append)


MISSING = {"estimate": None, "low": None, "high": None, "why_missing": "no chat template"}
STOPPED = {"flags": (Flag("train-eval-overlap", "stops", "trained on"),)}


@pytest.mark.parametrize(
    ("compare", "bound", "answer"),
    [
        (operator.le, 0.35, True),
        (operator.lt, 0.35, None),
        (operator.lt, 0.36, True),
        (operator.ge, 0.15, True),
        (operator.gt, 0.15, None),
        (operator.gt, 0.14, True),
        (operator.le, 0.14, False),
        (operator.lt, 0.15, False),
        (operator.le, 0.15, None),
        (operator.ge, 0.36, False),
        (operator.gt, 0.35, False),
        (operator.ge, 0.35, None),
        (operator.le, 1, True),
        (operator.lt, 0, False),
        (operator.gt, 1, False),
    ],
)
def test_the_interval_answers_or_raises(compare, bound, answer):
    if answer is None:
        with pytest.raises(AuditOutcome) as error:
            compare(measured(), bound)
        assert error.value.verdict.outcome == "inconclusive"
    else:
        assert compare(measured(), bound) is answer


@settings(deadline=None, max_examples=100, derandomize=True)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from(COMPARISONS))
def test_not_the_contrary_is_never_greener_than_the_comparison(a, b, bound, compare):
    """`not m > x` answers exactly where `m <= x` does, and as it does."""
    low, high = sorted((a, b))
    contrary = dict(zip(COMPARISONS, (operator.gt, operator.ge, operator.lt, operator.le), strict=True))[compare]

    def answer(function):
        try:
            return function(measured(low, low, high), bound)
        except AuditOutcome as error:
            return error.verdict.outcome

    straight, negated = answer(compare), answer(contrary)
    if isinstance(straight, bool):
        assert negated is (not straight)
    else:
        assert straight == negated == "inconclusive"


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("broken", [MISSING, STOPPED, {"low": None}, {"low": math.nan}, {"estimate": math.nan}])
def test_what_is_invalid_raises_whatever_the_bound_and_the_direction(compare, broken):
    for bound in (0, 0.5, 1):
        with pytest.raises(AuditOutcome) as error:
            not compare(measured(**broken), bound)
        assert error.value.verdict.outcome == "invalid"


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("bound", [5, 1.0001, -0.01, -5, 100])
def test_a_percentage_where_a_share_belongs_is_an_error(compare, bound):
    """`asr <= 5`, meant as 5 %, would hold for every model; `not asr > 5` as well."""
    with pytest.raises(RequestError, match=f"bound {bound:g} is impossible.*lies in \\[0, 1\\]"):
        compare(measured(), bound)


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("bound", [math.nan, math.inf, -math.inf, True, "0.5", None, [0.5], measured(), 0.5j])
def test_a_bound_is_a_finite_number(compare, bound):
    with pytest.raises(TypeError):
        compare(measured(), bound)


def test_the_bound_may_stand_on_the_left():
    assert 0.5 >= measured()  # noqa: SIM300 - that is the point
    assert 0.1 < measured()  # noqa: SIM300
    with pytest.raises(AuditOutcome):
        _ = 0.25 <= measured()  # noqa: SIM300


def test_a_chain_decides_both_ends():
    seen: list[Verdict] = []
    assert 0.1 <= measured(seen=seen) <= 0.5
    assert [one.comparator for one in seen] == ["at_least", "at_most"]
    assert not 0.1 <= measured() <= 0.12
    with pytest.raises(AuditOutcome):
        _ = 0.1 <= measured() <= 0.3


@pytest.mark.parametrize(
    "slip",
    [
        bool,
        float,
        int,
        hash,
        abs,
        round,
        math.isnan,
        lambda m: m == 0.25,
        lambda m: m != 0.25,
        lambda m: m == m,
        lambda m: m == pytest.approx(0.25),
        lambda m: not m,
        lambda m: m or True,
        lambda m: m and True,
        lambda m: m in [0.25],
        lambda m: m + 0.1,
        lambda m: 1 - m,
        lambda m: {m},
        lambda m: f"{m:.2f}",
        lambda m: max(m, m),
        lambda m: sorted([m, m]),
        lambda m: math.isclose(m, 0.25),
        lambda m: [1, 2][m],
        lambda m: any([m]),
    ],
)
def test_a_measurement_is_no_number(slip):
    with pytest.raises(TypeError):
        slip(measured())


def test_the_bare_numbers_are_there_to_be_asked_for():
    found = measured()
    assert (found.estimate, found.low, found.high, found.n) == (0.25, 0.15, 0.35, 64)
    assert repr(found) == "<attack_success_rate 0.25 [0.15, 0.35], n=64>"
    assert repr(measured(**MISSING)) == "<attack_success_rate: not measured: no chat template>"
    assert repr(measured(high=None)) == "<attack_success_rate 0.25, n=64>"
    assert measured(**MISSING).estimate is None


def test_the_estimate_answers_in_the_smoke_profile():
    assert measured(by="estimate") <= 0.25
    assert not measured(by="estimate") < 0.25
    seen: list[Verdict] = []
    assert measured(by="estimate", low=None, high=None, seen=seen) <= 0.3
    assert seen[0].by == "estimate"
    with pytest.raises(AuditOutcome):
        _ = measured(by="estimate", **MISSING) <= 0.3
    with pytest.raises(AuditOutcome):
        _ = measured(by="estimate", **STOPPED) <= 0.3


@pytest.mark.parametrize("bound", [0.5, 0.3, 0.1])
def test_every_comparison_is_recorded_whatever_comes_of_it(bound):
    seen: list[Verdict] = []
    found = measured(seen=seen)
    with contextlib.suppress(AuditOutcome):
        _ = found <= bound
    assert len(seen) == 1
    assert found.verdict is seen[0]
    assert seen[0].suite == "python"
    assert seen[0].id == "test_every_comparison_is_recorded_whatever_comes_of_it: attack_success_rate"
    assert seen[0].file == __file__
    assert seen[0].bound == (bound,)
    assert seen[0].key == "key"


def test_strict_comparisons_record_the_bound_next_to_theirs():
    seen: list[Verdict] = []
    _ = measured(seen=seen) < 0.5
    assert seen[0].bound == (math.nextafter(0.5, 0),)


# --- the fixture's object --------------------------------------------------------------------------------------------


@pytest.fixture
def asked():
    return []


@pytest.fixture
def audit(asked):
    def measure(name, parameters):
        asked.append((name, parameters))
        return "key", Measurement(name, "c", {}, "share", estimate=0.5, low=0.4, high=0.6, n=10)

    return AuditedCheckpoint("ckpt", measure, "interval", lambda verdict: None)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_is_a_method(audit, asked, measure):
    found = getattr(audit, measure)(n=5)
    assert isinstance(found, Measured)
    assert asked == [(measure, {"n": 5})]


def test_the_first_argument_is_the_source(audit, asked):
    audit.attack_success_rate("harmbench", judge="refusal")
    audit.refusal_rate(Source("mine.csv", "/mine.csv"))
    audit.refusal_rate()
    assert asked == [
        ("attack_success_rate", {"judge": "refusal", "source": "harmbench"}),
        ("refusal_rate", {"source": Source("mine.csv", "/mine.csv")}),
        ("refusal_rate", {}),
    ]


def test_a_measure_without_a_source_takes_none(audit, asked):
    with pytest.raises(TypeError, match="carrier_layer takes no source; its parameters: preset"):
        audit.carrier_layer("harmbench")
    with pytest.raises(TypeError):
        audit.carrier_layer("harmbench", "arditi")
    assert asked == []


def test_a_measure_that_does_not_exist_is_no_attribute(audit):
    with pytest.raises(UnknownName, match="did you mean 'refusal_rate'"):
        _ = audit.refusal_rte
    assert not hasattr(audit, "_repr_html_")
    assert not hasattr(audit, "__float__")
    assert audit.name == "ckpt"
