from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from geoaudit.report import html, provenance
from geoaudit.report.clean import cleaned

Record = dict[str, Any]


def test_everything_that_the_record_names_by_hash_is_listed_once(trajectory: Record):
    found = provenance.hashes(cleaned(trajectory))
    assert [kind for kind, _, _ in found].count("checkpoint") == 10
    assert {kind for kind, _, _ in found} == {"package", "suite", "prompt set", "checkpoint"}
    assert len(found) == len(set(found))
    assert provenance.hashes({}) == []


def test_a_record_that_keeps_a_hash_of_itself_says_so(trajectory: Record):
    trajectory["provenance"]["content_sha256"] = "ab" * 32
    assert ("record", "its own content, this hash apart", "ab" * 32) in provenance.hashes(cleaned(trajectory))


def test_settings_at_their_default_are_not_listed(trajectory: Record):
    assert provenance.options(cleaned(trajectory)) == []
    trajectory["options"].update(dtype="float32", reference="r2d2/step0")
    assert provenance.options(cleaned(trajectory)) == [("dtype", "float32"), ("reference", "r2d2/step0")]


def test_the_baseline_is_described(trajectory: Record):
    found = dict(provenance.baseline(cleaned(trajectory)))
    assert found["given as"] == "old release.json"
    assert found["kind"] == "a record of an earlier audit"
    assert provenance.baseline({"baseline": None}) == []


def test_every_measurement_is_listed_with_its_key(trajectory: Record, read_page: Callable[[str], Any]):
    made = provenance.made(cleaned(trajectory))
    assert sum(len(one.cells) for one in made) == len(trajectory["measurements"])
    text = read_page(html.render(trajectory)).text
    for row in trajectory["measurements"]:
        assert provenance.key(row)[:16] in text
    assert trajectory["provenance"]["package"]["sha256"] in text


@pytest.mark.parametrize("odd", [None, 3, "x", [1], {"package": 1, "suites": {}, "checkpoints": [2, {"name": None}]}])
def test_odd_provenance_breaks_nothing(trajectory: Record, odd: Any):
    trajectory.update(provenance=odd, options=odd, baseline=odd)
    assert "Not met" in html.render(trajectory)


def test_a_replay_says_of_which_records_and_when():
    assert provenance.replayed({}) == ""
    found = {"created": "2026-11-22T08:35:13Z", "records": [{"file": f"{name}.json"} for name in "aabcde"]}
    assert provenance.replayed({"replayed": found}) == (
        "A replay: decided on 2026-11-22T08:35:13Z on the numbers of a.json, b.json, c.json and 2 more; "
        "nothing was measured for it."
    )
    for odd in ({"records": 3}, {"records": [1, {}]}, {"x": 1}):
        assert "nothing was measured" in provenance.replayed({"replayed": odd})
    assert provenance.replayed({"replayed": ["x"]}) == ""
