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
    excluded=st.sampled_from(["", "", "", "null", "screened"]),
)
tables = st.lists(rows, max_size=12, unique_by=lambda row: (row.position, row.layer))
rules = st.sampled_from(["arditi", "cosmic"])


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
        ({"kl": math.nan, "layer": 9, "induce": -1.0}, "not-finite"),  # NaN is found first
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
        candidate(layer=6, kl=0.12, bypass=math.nan),
    ]
    result = select(table, n_layers=10)
    assert result.selected is None
    assert result.score is None
    assert result.nearest is not None
    assert result.nearest.layer == 2
    assert select(table[2:], n_layers=10).nearest is None
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
        needed = (row.bypass, row.induce) if rule == "arditi" else (row.s_refuse, row.s_comply)
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
        ([candidate(excluded="boring")], "excluded is 'null' or 'screened', got 'boring'"),
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
    heavy = f"import geoaudit.carriers.scores; {code}"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 1
