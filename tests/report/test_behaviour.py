from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import behaviour


def test_rates_of_the_same_completions_share_a_table(record: dict[str, Any]):
    tables = behaviour.rate_tables(record)
    assert [table.source for table in tables] == ["harmful", "benign-utility", "safe-but-scary"]
    assert [table.over_refusal for table in tables] == [False, False, True]
    harmful = tables[0]
    assert list(harmful.columns) == ["smollm2-135m", "safety-tuned"]
    titles = [[reading.title for reading in readings] for readings in harmful.columns.values()]
    assert titles == [["Attack success rate", "Refusal rate"]] * 2


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
