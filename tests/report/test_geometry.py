from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geoaudit.report import geometry, html


def test_one_search_is_shown_once_for_each_checkpoint_and_rule(record: dict[str, Any]):
    found = geometry.carriers(record)
    assert [(one.checkpoint, one.rule, len(one.measurements)) for one in found] == [
        ("smollm2-135m", "cosmic", 2),
        ("smollm2-135m", "arditi", 1),
        ("safety-tuned", "cosmic", 2),
        ("safety-tuned", "arditi", 1),
    ]


def test_headlines_say_selected_nearest_or_none(record: dict[str, Any]):
    selected, _, nearest, _ = geometry.carriers(record)
    assert (
        selected.headline
        == "Selected: layer 14, position −5 (<|im_end|>), KL 0.0359 nats, within the KL budget of 0.1 nats."
    )
    assert nearest.headline.startswith("No candidate is admissible. Nearest, not admissible: layer ")
    assert "against the KL budget of 0.1 nats" in nearest.headline
    nothing = geometry.Carrier("m", {"rule": "cosmic"}, [], None, False)
    assert "none that induces refusal" in nothing.headline


def test_what_stops_the_verdict_stands_beside_the_figure(record: dict[str, Any]):
    sentence = "the refusal tokens do not tell this model's refusals from its answers"
    flag = {"name": "refusal-score-uncalibrated", "effect": "stops", "sentence": sentence}
    for one in record["measurements"]:
        if one["measure"].startswith("carrier"):
            one["flags"] = [flag]
    record["assertions"] = []
    assert html.render(record).count("refusal-score-uncalibrated") == len(geometry.carriers(record))


def test_every_candidate_is_counted_by_status(record: dict[str, Any]):
    for carrier in geometry.carriers(record):
        assert sum(n for _, _, n in carrier.statuses) == carrier.total == 150


def test_the_table_of_candidates_starts_with_the_chosen_one_then_by_status_and_kl(record: dict[str, Any]):
    for carrier in geometry.carriers(record):
        assert carrier.search is not None
        assert len(carrier.listed) == geometry.MOST_CANDIDATES
        assert carrier.search.is_chosen(carrier.listed[0])
    kls = [row["kl"] for row in geometry.carriers(record)[2].listed[1:]]
    assert kls == sorted(kls)


def test_budgets_that_differ_are_searches_that_differ(record: dict[str, Any]):
    changed = record["measurements"][4]
    assert changed["measure"] == "carrier_layer"
    changed["detail"] = {**changed["detail"], "kl_budget": 0.3}
    assert len(geometry.carriers(record)) == 5


def test_a_search_that_could_not_be_made_is_not_drawn(record: dict[str, Any]):
    for one in record["measurements"]:
        if one["measure"].startswith("carrier"):
            one.update(detail={}, estimate=None, why_missing="the model refuses none of the validation prompts")
    assert geometry.carriers(record) == []
    assert "not measured: the model refuses none" in html.render(record)


def test_large_searches_lose_the_figures_by_layer_and_say_so(make_record: Callable[..., dict[str, Any]]):
    record = make_record(checkpoints=5, layers=80)
    found = geometry.carriers(record)
    drawn = [one.by_layer for one in found]
    assert drawn == sorted(drawn, reverse=True)
    assert 0 < sum(drawn) < len(found)
    text = html.render(record)
    assert text.count("figures by layer are left out") == len(found) - sum(drawn)
    assert len(text.encode()) < 1_000_000


def test_one_spectrum_is_shown_once_with_all_that_was_read_from_it(record: dict[str, Any]):
    found = geometry.spectra(record)
    assert [(one.checkpoint, len(one.measurements)) for one in found] == [("smollm2-135m", 2), ("safety-tuned", 2)]
    names = [name for name, _, _ in found[0].readings]
    assert names == ["effective_rank, convention energy", "participation_ratio"]
    assert found[0].rows_text.startswith("146 rows")
    assert "4 rows without signal left out" in found[0].rows_text


def test_a_normalised_spectrum_is_not_drawn_twice(record: dict[str, Any]):
    one = next(row for row in record["measurements"] if row["measure"] == "effective_rank")
    one["parameters"] = {**one["parameters"], "normalise": True}
    found = geometry.spectra(record)
    assert len(found) == 3
    assert found[0].normalised
    assert found[0].normalised_energies == ()
