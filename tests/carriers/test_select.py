from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.carriers import Row, select
from geoaudit.carriers.select import Selecting, choose, scaled
from geoaudit.errors import RequestError, UnknownName

quick = settings(deadline=None, derandomize=True, max_examples=80)

number = st.one_of(st.none(), st.just(math.nan), st.floats(-2, 2), st.sampled_from([-1.0, 0.0, 0.1, 1.0]))
rows = st.builds(
    Row,
    position=st.integers(-3, -1),
    layer=st.integers(0, 9),
    bypass=number,
    induce=number,
    s_refuse=number,
    s_comply=number,
    kl=st.one_of(number, st.floats(0, 0.2)),
    excluded=st.sampled_from(["", "", "", "null", "screened", "not-inducing"]),
)
tables = st.lists(rows, max_size=12, unique_by=lambda row: (row.position, row.layer))
rules = st.sampled_from(["arditi", "cosmic", "cosmic-affine"])


def candidate(position: int = -1, layer: int = 3, **changes: Any) -> dict[str, Any]:
    return {"position": position, "layer": layer, "bypass": -5.0, "induce": 1.0, "kl": 0.05} | changes


def cosines(layer: int, s_refuse: float, s_comply: float, kl: float) -> dict[str, Any]:
    return {"position": -1, "layer": layer, "s_refuse": s_refuse, "s_comply": s_comply, "kl": kl}


@pytest.mark.parametrize(
    ("model", "chosen"), [("gemma-2b-it", (-2, 10)), ("qwen-1_8b-chat", (-2, 15)), ("llama-2-7b-chat-hf", (-1, 14))]
)
def test_the_published_selections_and_filters_are_reproduced(
    benchmark_data: Path, model: str, chosen: tuple[int, int]
) -> None:
    folder = benchmark_data / "refusal_direction"
    summary = json.loads((folder / "golden_summary.json").read_text())
    published = defaultdict(list)
    with (folder / "golden_direction_evaluations.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            names = {"bypass": "refusal_score", "induce": "steering_score", "kl": "kl_div_score"}
            row = {name: line[column] for name, column in names.items()}
            published[line["model"]].append(row | {name: line[name] for name in ("position", "layer", "kept")})
    table = published[model]
    result = select(table, rule="arditi", n_layers=summary[model]["n_layers"])
    assert result.selected is not None
    assert (result.selected.position, result.selected.layer) == chosen
    assert chosen == (summary[model]["selected_position"], summary[model]["selected_layer"])
    assert [status == "admissible" for status in result.status] == [row["kept"] == "1" for row in table]
    assert result.nearest is None


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, "admissible"),
        ({"kl": 0.1}, "admissible"),
        ({"kl": 0.1001}, "kl"),
        ({"induce": 0.0}, "admissible"),
        ({"induce": -0.001}, "not-inducing"),
        ({"layer": 7}, "admissible"),
        ({"layer": 8}, "late-layer"),
        ({"bypass": math.nan}, "not-finite"),
        ({"kl": math.inf}, "not-finite"),
        ({"induce": None}, "not-finite"),
        ({"excluded": "null"}, "null"),
        ({"excluded": "screened", "bypass": None}, "screened"),
        ({"excluded": "not-inducing", "kl": math.nan}, "not-inducing"),
        ({"kl": math.nan, "layer": 9, "induce": -1.0}, "not-finite"),  # a KL that is no number is found first
        ({"kl": None, "layer": 9}, "not-finite"),
        ({"kl": 0.2, "bypass": None}, "kl"),  # ruled out before the others were measured
        ({"kl": 0.2, "bypass": math.nan, "induce": math.nan}, "kl"),
        ({"kl": 0.1, "bypass": None}, "not-finite"),
        ({"layer": 9, "bypass": None}, "late-layer"),
        ({"layer": 9, "kl": 5.0}, "late-layer"),
        ({"kl": 5.0, "induce": -1.0}, "kl"),
    ],
)
def test_the_first_reason_against_a_candidate_is_its_status(change: dict[str, Any], status: str) -> None:
    result = select([candidate(**change)], n_layers=10)
    assert result.status == [status]
    assert (result.selected is not None) == (status == "admissible")


def test_arditi_takes_the_lowest_bypass_and_cosmic_the_highest_total() -> None:
    lowest = select([candidate(layer=1, bypass=-4.0), candidate(layer=2, bypass=-6.0)], n_layers=10)
    assert lowest.selected is not None
    assert (lowest.selected.layer, lowest.score) == (2, -6.0)
    table = [cosines(1, 0.9, 0.5, 0.02), cosines(2, 0.7, 0.75, 0.09)]
    published = select(table, "cosmic", n_layers=10)
    assert published.selected is not None
    assert published.selected.layer == 1
    assert published.score == pytest.approx(0.9 + 0.5 - 0.02)
    without_kl = select(table, "cosmic", n_layers=10, beta=0.0)
    assert without_kl.selected is not None
    assert without_kl.selected.layer == 2


@pytest.mark.parametrize("rule", ["arditi", "cosmic"])
def test_ties_go_to_the_earliest_position_then_the_lowest_layer(rule: str) -> None:
    sites = [(-1, 0), (-3, 5), (-3, 2), (-2, 0)]
    table = [candidate(*site, s_refuse=0.5, s_comply=0.5) for site in sites]
    for turned in (table, table[::-1]):
        chosen = select(turned, rule, n_layers=10).selected  # type: ignore[arg-type]
        assert chosen is not None
        assert (chosen.position, chosen.layer) == (-3, 2)


def test_nearest_is_the_inducing_candidate_of_least_kl_where_nothing_is_admissible() -> None:
    table = [
        candidate(layer=1, kl=0.5),
        candidate(layer=2, kl=0.3),
        candidate(layer=3, kl=0.2, induce=-1.0),  # does not induce
        candidate(layer=8, kl=0.11),  # late
        candidate(layer=4, kl=0.12, excluded="null"),
        candidate(layer=5, kl=0.12, excluded="screened"),
        candidate(layer=6, kl=0.12, induce=math.nan),
    ]
    result = select(table, n_layers=10)
    assert result.selected is None
    assert result.score is None
    assert result.nearest is not None
    assert result.nearest.layer == 2
    assert select(table[2:], n_layers=10).nearest is None
    unmeasured = candidate(layer=7, kl=0.25, bypass=None)  # a search need not measure bypass out of reach
    found = select([*table, unmeasured], n_layers=10).nearest
    assert found is not None
    assert found.layer == 7
    assert select([*table, candidate(layer=7)], n_layers=10).nearest is None  # something is admissible


def test_a_candidate_that_does_nothing_scores_twice_c0_and_is_no_carrier() -> None:
    c0 = 0.8
    zero = cosines(1, c0, c0, 0.0)
    real = cosines(2, 0.9, 0.95, 0.3)
    by_the_papers = select([zero, real], "cosmic", n_layers=10)
    assert by_the_papers.selected is not None
    assert by_the_papers.selected.layer == 1  # the trap
    told_c0 = select([zero, real], "cosmic", n_layers=10, c0=c0)
    assert told_c0.status == ["not-inducing", "kl"]
    assert told_c0.selected is None
    assert told_c0.nearest is not None
    assert told_c0.nearest.layer == 2
    # without c0 nothing is known to induce
    assert select([real], "cosmic", n_layers=10).nearest is None


def test_the_affine_rule_is_the_cosmic_one_on_other_scores() -> None:
    table = [cosines(1, 0.9, 0.5, 0.02), cosines(2, 0.7, 0.75, 0.09), cosines(3, 0.99, 0.99, 0.2)]
    for c0 in (None, 0.8):
        one, other = (select(table, rule, n_layers=10, c0=c0) for rule in ("cosmic", "cosmic-affine"))  # type: ignore[arg-type]
        assert one == other


# --- COSMIC's peak filter ---------------------------------------------------------------------------


def scored(position: int, layer: int, s_refuse: float, s_comply: float, **more: Any) -> Row:
    return Row(position, layer, s_refuse=s_refuse, s_comply=s_comply, kl=more.pop("kl", 0.01), **more)


def peaked(peaks: dict[int, tuple[int, int]], layers: int = 10) -> list[Row]:
    """For each position before −1 the layers at which S_refuse and S_comply peak; −1 rises with the layer."""
    rows = [
        scored(position, layer, 0.5 + 0.4 * (layer == refuse), 0.5 + 0.4 * (layer == comply), kl=0.5)
        for position, (refuse, comply) in peaks.items()
        for layer in range(layers)
    ]
    return rows + [scored(-1, layer, 0.3 + 0.01 * layer, 0.3) for layer in range(layers)]


@pytest.mark.parametrize(
    ("peaks", "last"),
    [
        ({-2: (3, 5)}, 5),
        ({-2: (5, 3)}, 5),
        ({-2: (9, 2)}, 7),  # both medians must be passed, and the late layers are dropped all the same
        ({-2: (2, 2), -3: (4, 2), -4: (6, 2)}, 4),
        ({-2: (2, 2), -3: (4, 2), -4: (6, 2), -5: (7, 2)}, 4),  # of an even number the lower median
        ({-2: (2, 1), -3: (4, 3)}, 2),
        ({}, 7),  # one position alone: no peak to compare with
    ],
)
def test_at_the_last_position_layers_behind_both_median_peaks_are_dropped(
    peaks: dict[int, tuple[int, int]], last: int
) -> None:
    table = peaked(peaks)
    found = select(table, "cosmic", n_layers=10, peaks=True)
    assert found.selected is not None
    assert (found.selected.position, found.selected.layer) == (-1, last)
    behind = {row.layer for row, status in zip(table, found.status, strict=True) if status == "behind-peaks"}
    assert behind == set(range(last + 1, 8))
    without = select(table, "cosmic", n_layers=10)
    assert without.selected is not None
    assert without.selected.layer == 7


def test_a_peak_is_the_first_of_equals_and_what_has_no_score_has_none() -> None:
    flat = [scored(-2, layer, 0.5, 0.5, kl=0.5) for layer in range(10)]
    last = [scored(-1, layer, 0.3 + 0.01 * layer, 0.3) for layer in range(10)]
    assert select([*flat, *last], "cosmic", n_layers=10, peaks=True).selected == last[0]
    broken = [replace(row, s_refuse=math.nan if row.layer < 4 else 0.5, s_comply=None) for row in flat]
    assert select([*broken, *last], "cosmic", n_layers=10, peaks=True).selected == last[7], "no peak of S_comply"
    half = [replace(row, s_refuse=math.nan if row.layer < 4 else 0.5) for row in flat]
    assert select([*half, *last], "cosmic", n_layers=10, peaks=True).selected == last[4]
    null = [replace(row, excluded="null" if row.layer < 3 else "") for row in flat]
    assert select([*null, *last], "cosmic", n_layers=10, peaks=True).selected == last[3]


def test_the_peak_filter_is_no_part_of_the_other_rule() -> None:
    table = [candidate(layer=layer, bypass=-float(layer), s_refuse=0.5, s_comply=0.5) for layer in range(8)]
    table += [candidate(-2, layer, kl=0.5, s_refuse=-layer / 10, s_comply=-layer / 10) for layer in range(8)]
    by_rule = {rule: select(table, rule, n_layers=10, peaks=True).selected for rule in ("arditi", "cosmic")}  # type: ignore[arg-type]
    assert by_rule["arditi"] is not None
    assert by_rule["cosmic"] is not None
    assert (by_rule["arditi"].layer, by_rule["cosmic"].layer) == (7, 0)


# --- one noun for the knobs --------------------------------------------------------------------------

knobs = st.builds(
    Selecting,
    rule=rules,
    kl_budget=st.floats(0, 0.5),
    max_layer_fraction=st.floats(0.1, 1),
    induce_threshold=st.floats(-1, 1),
    beta=st.floats(0, 2),
    raw=st.booleans(),
    peaks=st.booleans(),
)


@quick
@given(tables, knobs, st.floats(-0.5, 0.9))
def test_choosing_by_the_noun_is_selecting_by_its_knobs(table: list[Row], how: Selecting, c0: float) -> None:
    found = choose(table, how, n_layers=10, c0=c0)
    told = None if how.raw or how.rule == "arditi" else c0
    plain = select(
        table,
        how.rule,
        n_layers=10,
        kl_budget=how.kl_budget,
        max_layer_fraction=how.max_layer_fraction,
        induce_threshold=how.induce_threshold,
        beta=how.beta,
        peaks=how.peaks,
        c0=told,
    )
    assert (repr(found.selected), found.status, repr(found.score)) == (
        repr(plain.selected),
        plain.status,
        repr(plain.score),
    )
    if how.raw and how.rule != "arditi":
        informed = choose(table, replace(how, raw=False), n_layers=10, c0=c0)
        assert found.selected is not None or repr(found.nearest) == repr(informed.nearest)
        assert found.selected is None or found.nearest is None
    else:
        assert repr(found.nearest) == repr(plain.nearest)


def test_the_raw_score_chooses_what_does_nothing_and_knows_the_nearest_all_the_same() -> None:
    zero, real = Row(-1, 1, s_refuse=0.8, s_comply=0.8, kl=0.0), Row(-1, 2, s_refuse=0.9, s_comply=0.6, kl=0.3)
    raw = Selecting("cosmic", raw=True)
    assert choose([zero, real], raw, n_layers=10, c0=0.8).selected == zero
    assert choose([real], raw, n_layers=10, c0=0.8).nearest == real
    assert choose([zero, real], Selecting("cosmic"), n_layers=10, c0=0.8).nearest == real


@given(st.floats(-1, 1), st.floats(-1, 0.99))
def test_scaled_scores_are_zero_at_c0_and_one_at_one(cosine: float, c0: float) -> None:
    assert scaled(c0, c0) == 0
    assert scaled(1.0, c0) == pytest.approx(1)
    assert (scaled(cosine, c0) > 0) == (cosine > c0)


@quick
@given(tables, rules, st.randoms(use_true_random=False))
def test_the_order_of_the_table_does_not_matter(table: list[Row], rule: Any, random: Any) -> None:
    result = select(table, rule, n_layers=10, c0=0.2)
    order = list(range(len(table)))
    random.shuffle(order)
    shuffled = select([table[i] for i in order], rule, n_layers=10, c0=0.2)
    assert shuffled.status == [result.status[i] for i in order]
    assert repr(shuffled.selected) == repr(result.selected)  # repr: NaN in an unused score equals itself
    assert repr(shuffled.nearest) == repr(result.nearest)


@quick
@given(tables, rules, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_larger_budget_admits_more_and_never_chooses_worse(table: list[Row], rule: Any, a: float, b: float) -> None:
    tight, wide = (select(table, rule, n_layers=10, kl_budget=budget) for budget in sorted((a, b)))
    for before, after in zip(tight.status, wide.status, strict=True):
        assert before != "admissible" or after == "admissible"
    if tight.score is not None:
        assert wide.score is not None
        assert wide.score <= tight.score if rule == "arditi" else wide.score >= tight.score


@quick
@given(tables, rules)
def test_what_is_chosen_is_complete_and_within_every_limit(table: list[Row], rule: Any) -> None:
    result = select(table, rule, n_layers=10, c0=0.2)
    assert (result.selected is not None) == ("admissible" in result.status)
    assert result.selected is None or result.nearest is None
    for row in filter(None, (result.selected, result.nearest)):
        needed = (row.bypass, row.induce) if rule == "arditi" else (row.s_comply, row.s_refuse)
        if result.selected is None:  # the nearest is known by its KL and its inducing score
            needed = needed[1:]
        assert all(value is not None and math.isfinite(value) for value in (*needed, row.kl))
        assert not row.excluded
        assert row.layer < 8
    if result.selected is not None:
        assert result.selected.kl is not None
        assert result.selected.kl <= 0.1
        # blanking the winner's KL must cost it the place
        without = [replace(row, kl=None) if row is result.selected else row for row in table]
        assert select(without, rule, n_layers=10, c0=0.2).selected != result.selected


def test_an_empty_table_has_no_carrier() -> None:
    result = select([], n_layers=10)
    assert (result.selected, result.nearest, result.status, result.score) == (None, None, [], None)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([candidate(), {"position": -1, "layer": 4, "bypass": 1.0}], "row 1 of the scores lacks induce, kl"),
        ([candidate(kl="low")], "row 0 of the scores: kl is 'low', not a number"),
        ([candidate(layer=2.5)], "layer is 2.5, not a whole number"),
        ([candidate(position=None)], "position is None, not a whole number"),
        ([candidate(layer=10)], "layer 10 does not exist in 10 layers"),
        ([candidate(), candidate()], "rows 0 and 1 of the scores are both for position -1, layer 3"),
        ([candidate(excluded="boring")], "excluded is 'null', 'screened' or 'not-inducing', got 'boring'"),
        ([("position", -1)], "row 0 of the scores is a tuple"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused_by_row(table: list[Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        select(table, n_layers=10)


def test_arguments_that_cannot_be_right_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cosmic'"):
        select([], "cosmik", n_layers=10)  # type: ignore[arg-type]
    for rule in ("arditi", "cosmic"):
        with pytest.raises(RequestError, match="needs n_layers"):
            select([], rule)  # type: ignore[arg-type]
    assert select([candidate(layer=99)], max_layer_fraction=1.0).status == ["admissible"]
    with pytest.raises(RequestError, match="c0"):
        select([], "cosmic", n_layers=10, c0=1.0)


def test_the_public_rule_is_light_to_import() -> None:
    code = (
        "import sys; from geoaudit.carriers import select; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    heavy = f"import sys; sys.modules['torch'] = sys; {code}"  # the real one takes seconds
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 1
