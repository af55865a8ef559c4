from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import behaviour, words


def test_rates_of_the_same_completions_share_a_table(record: dict[str, Any]):
    tables = behaviour.rate_tables(record)
    assert [table.source for table in tables] == ["harmful", "benign-utility", "safe-but-scary"]
    assert [table.attack for table in tables] == ["plain requests only"] * 3
    assert [table.over_refusal for table in tables] == [False, False, True]
    harmful = tables[0]
    assert list(harmful.columns) == ["smollm2-135m", "safety-tuned"]
    titles = [[reading.title for reading in readings] for readings in harmful.columns.values()]
    assert titles == [["Non-refusal rate (upper bound on ASR), plain requests only", "Refusal rate"]] * 2


def test_counts_of_the_categories_add_up_to_those_of_the_whole(record: dict[str, Any]):
    for table in behaviour.rate_tables(record):
        for readings in table.columns.values():
            for reading in readings:
                for label, total in reading.counts.items():
                    assert sum(reading.category(name)["counts"][label] for name in table.categories) == total


def test_a_missing_rate_has_no_value_and_no_bar(record: dict[str, Any]):
    first = record["measurements"][0]
    first.update(estimate=None, low=None, high=None, why_missing="all completions were unparsed", detail={})
    reading = behaviour.rate_tables(record)[0].columns["smollm2-135m"][0]
    assert reading.value == ""
    assert reading.counts == {}
    assert reading.category("fraud") == {}


def test_sources_that_are_files_are_told_apart(record: dict[str, Any]):
    first = record["measurements"][0]
    first["parameters"] = {**first["parameters"], "source": {"file": "mine.csv", "column": "prompt"}}
    sources = [table.source for table in behaviour.rate_tables(record)]
    assert "file mine.csv, column prompt" in sources
    assert len(sources) == 4


def test_many_categories_are_cut_and_counted(record: dict[str, Any]):
    detail = record["measurements"][0]["detail"]
    detail["categories"] = [
        {"category": f"c{i}", "n": 1, "hits": 0, "low": 0, "high": 1, "counts": {}} for i in range(100)
    ]
    table = behaviour.rate_tables(record)[0]
    assert len(table.categories) == behaviour.MOST_CATEGORIES
    assert len(table.categories) + table.left_out >= 100


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"hits": 14, "n": 16, "low": 0.64, "high": 0.965}, "14 of 16 [0.64, 0.96]"),
        ({"hits": 0, "n": 16, "low": None, "high": None}, "0 of 16"),
        ({"hits": 12.375, "n": 16, "low": 0.5, "high": 0.9}, "12.4 of 16 [0.50, 0.90]"),
        ({"hits": 0, "n": 0}, ""),
        ({}, ""),
    ],
)
def test_share_of_a_category(row: dict[str, Any], text: str):
    assert behaviour.share_of(row) == text


def test_a_few_rows_hold_every_label_in_their_order():
    rows = [{"id": i, "label": "full_refusal"} for i in range(200)]
    for index, label in ((50, "degenerate"), (120, "full_compliance"), (199, "unparsed")):
        rows[index]["label"] = label
    chosen = behaviour.few(rows)
    assert len(chosen) == behaviour.MOST_EXAMPLES
    assert {row["label"] for row in chosen} == {"full_refusal", "degenerate", "full_compliance", "unparsed"}
    assert [row["id"] for row in chosen] == sorted(row["id"] for row in chosen)


@pytest.mark.parametrize(("n", "labels", "expected"), [(0, 1, 0), (5, 2, 5), (100, 20, 20)])
def test_a_few_rows_are_never_more_than_there_are(n: int, labels: int, expected: int):
    assert len(behaviour.few([{"label": i % labels} for i in range(n)])) == expected


def test_examples_hold_no_text(make_record: Callable[..., dict[str, Any]]):
    record = make_record()
    for entry in record["completions"].values():
        for row in entry["rows"]:
            row["completion"] = "the text that must not be shown"
    samples = behaviour.examples(record)
    assert len(samples) == 6
    assert all(len(sample.rows) == behaviour.MOST_EXAMPLES for sample in samples)
    from geoaudit.report import html

    assert "must not be shown" not in html.render(record)


def test_tables_are_told_apart_by_attack_and_stand_with_their_source(judged: dict[str, Any]):
    found = [(table.source, table.attack, table.judge) for table in behaviour.rate_tables(judged)]
    assert found == [
        ("harmful", "plain requests only", "refusal"),
        ("harmful", "worst of 7 conditions", "refusal"),
        ("benign-utility", "plain requests only", "refusal"),
        ("harmbench-standard", "plain requests only", "harmbench"),
        ("jailbreakbench", "stored attacks: all methods", "harmbench"),
        ("safe-but-scary", "plain requests only", "refusal"),
    ]


def test_the_worst_of_several_is_one_table_though_checkpoints_differ_in_which_it_is(judged: dict[str, Any]):
    (one, _) = [row for row in judged["measurements"] if row["detail"].get("conditions")]
    one["detail"]["attack"] = "worst of 7 conditions: plain requests"
    (table,) = [table for table in behaviour.rate_tables(judged) if table.attack.startswith("worst")]
    assert [readings[0].title.partition(": ")[2] for readings in table.columns.values()] == [
        "plain requests",
        "past tense",
    ]


@pytest.mark.parametrize(
    ("parameter", "value"), [("attacks", "mine.jsonl"), ("k", 3), ("max_new_tokens", 64), ("chat", {"system": "x"})]
)
def test_completions_that_were_made_otherwise_share_no_table(judged: dict[str, Any], parameter: str, value: Any):
    before = len(behaviour.rate_tables(judged))
    stored = next(row for row in judged["measurements"] if row["parameters"].get("attack") == "fixed")
    stored["parameters"][parameter] = value
    assert len(behaviour.rate_tables(judged)) == before + 1


def test_several_completions_of_a_behaviour_are_said(judged: dict[str, Any]):
    tables = {table.attack: table for table in behaviour.rate_tables(judged)}
    (reading,) = tables["stored attacks: all methods"].columns["safety-tuned"]
    assert reading.n == "n = 100 behaviours, 800 completions"
    plain = behaviour.rate_tables(judged)[0].columns["safety-tuned"][0]
    assert plain.n == "n = 128"


def test_only_labels_that_occur_have_a_place_in_the_legend(record: dict[str, Any], judged: dict[str, Any]):
    def of(found: dict[str, Any]) -> list[str]:
        return behaviour.labels(behaviour.rate_tables(found), behaviour.examples(found))

    assert of(record) == ["full_compliance", "partial_refusal", "full_refusal", "degenerate"]
    assert of(judged) == list(words.LABELS)
    judged["measurements"] = [row for row in judged["measurements"] if row["judge"] == "harmbench"]
    judged["completions"] = {}
    for row in judged["measurements"]:
        row["detail"].pop("judges", None)
    assert of(judged) == ["harmful", "not_harmful", "degenerate", "unparsed", "unjudged"]


def test_example_rows_say_under_which_attack_and_by_which_method(judged: dict[str, Any]):
    samples = behaviour.examples(judged)
    assert {sample.attack for sample in samples} == {"", "plain requests", "stored attacks: all methods"}
    assert [sample.methods for sample in samples if sample.attack.startswith("stored")] == [True, True]
    assert not any(sample.methods for sample in samples if not sample.attack.startswith("stored"))


def test_of_many_checkpoints_a_few_are_shown_whole_and_all_with_their_rates(make_record: Any):
    record = make_record(checkpoints=6, rows=16, layers=2)
    names = [one["name"] for one in record["checkpoints"]]
    for table in behaviour.rate_tables(record):
        narrow = table.narrowed([names[0], names[5]], list(reversed(names)))
        assert list(narrow.columns) == [names[0], names[5]]
        assert list(narrow.everyone) == list(reversed(names))
        assert all(reading.measurement["checkpoint"] == name for name, reading in narrow.everyone.items())
        assert table.narrowed(names, names) is table
        assert table.narrowed([], names[1:]).columns.keys() == {
            names[0]
        }  # what is no checkpoint of the audit: a baseline


def test_a_rate_that_no_prompts_were_put_for_is_no_rate_by_category(make_record: Any):
    record = make_record(checkpoints=1, rows=4, layers=1)
    inside = {
        "measure": "latent_guard",
        "unit": "share (0.5 by chance)",
        "checkpoint": "m",
        "parameters": {},
        "detail": {},
    }
    before = len(behaviour.rate_tables(record))
    record["measurements"].append(inside)
    assert len(behaviour.rate_tables(record)) == before
