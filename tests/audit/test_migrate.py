"""Records of earlier versions: read as this one, nothing invented, and the same whether migrated once or twice."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.audit import record, record_parts
from geoaudit.audit.decide import decide
from geoaudit.audit.migrate import VERSION, migrate
from geoaudit.audit.numbers import NotInRecord, Written
from geoaudit.audit.record_schema import record_schema
from geoaudit.audit.replay import Replay
from geoaudit.errors import RequestError, UnknownName

FIRST = Path(__file__).with_name("record-1.json")
"""What geoaudit 0.1.0 wrote of two checkpoints, cut down to six assertions."""


@pytest.fixture
def first() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FIRST.read_bytes())
    return found


def test_the_stored_record_is_of_version_1_and_holds_no_text(first):
    assert first["geoaudit_record"] == 1
    assert FIRST.stat().st_size < 60_000
    for one in first["completions"].values():
        assert {key for row in one["rows"] for key in row} == {
            *("id", "sha256", "category", "label", "reason", "score", "tokens", "exchange")
        }


def test_version_1_is_read_as_this_one(first):
    found = record.read(FIRST)
    jsonschema.validate(found, record_schema(), jsonschema.Draft202012Validator)
    assert found["geoaudit_record"] == VERSION
    assert {one["kind"] for one in found["assertions"]} == {"bound"}
    assert found["baseline"] is None
    assert found["provenance"]["package"] == {"version": "0.1.0", "sha256": None}, "nobody noted it"
    assert "content_sha256" not in found["provenance"]
    assert [one["checkpoints"] for one in found["trajectories"]] == [["smollm2-135m"], ["safety-tuned"]]
    kept = ("created", "checkpoints", "measurements", "completions", "timings", "command", "environment")
    assert {key: found[key] for key in kept} == {key: first[key] for key in kept}


def test_its_outcomes_follow_from_its_numbers_still():
    found = record.read(FIRST)
    measurements = record_parts.measurements_of(found)
    for entry in found["assertions"]:
        bound = entry["bound"] if isinstance(entry["bound"], list) else [entry["bound"]]
        again = decide(entry["comparator"], tuple(bound), measurements[entry["measurement"]], by=entry["by"])
        assert (again.outcome, again.sentence) == (entry["outcome"], entry["sentence"])


def test_it_can_be_replayed():
    replay = Replay([FIRST])
    assert replay.names == ["smollm2-135m", "safety-tuned"]
    assert replay.profile.name == "smoke"
    planned = replay.plan("safety-tuned", "effective_rank", {})
    assert replay.measured(planned)[1].estimate is not None


def test_what_a_record_says_of_a_measure_that_is_not_known_here_stays(first, tmp_path):
    """The record of a later geoaudit, or of one with a measure less."""
    spoken = json.dumps(first).replace('"effective_rank"', '"rank_of_tomorrow"')
    path = tmp_path / "later.json"
    path.write_text(spoken)
    replay = Replay([path])
    again = replay.record(
        Written(
            verdicts=[],
            suites=[],
            profile=replay.profile,
            command=["pytest"],
            exit_code=0,
            exit_reason="",
            complete=True,
            warnings=[],
            timings={},
        )
    )
    assert again["measures"]["rank_of_tomorrow"]["title"] == first["measures"]["effective_rank"]["title"]
    assert again["measures"].keys() == json.loads(spoken)["measures"].keys()


def test_a_source_that_is_misspelt_is_no_gap_of_the_record():
    with pytest.raises(UnknownName, match=r"unknown source 'harmfull' \(did you mean 'harmful'\?\)"):
        Replay([FIRST]).plan("safety-tuned", "refusal_rate", {"source": "harmfull"})
    with pytest.raises(NotInRecord):
        Replay([FIRST]).plan("safety-tuned", "refusal_rate", {"source": "strongreject"})


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["r/step100", "r/step50"], [("r", ["r/step50", "r/step100"], {"r/step50": 50, "r/step100": 100}, "r/step50")]),
        (["r/base", "r/step50"], [("r", ["r/base", "r/step50"], {"r/step50": 50}, "r/base")]),
        (["a", "b/step1"], [("a", ["a"], {}, None), ("b", ["b/step1"], {"b/step1": 1}, None)]),
    ],
)
def test_trajectories_are_found_by_name(first, names, wanted):
    first["checkpoints"] = [{**first["checkpoints"][0], "name": name, "kind": "directory"} for name in names]
    found = migrate(first)["trajectories"]
    assert [(one["name"], one["checkpoints"], one["steps"], one["reference"]) for one in found] == wanted


@given(st.integers(0, 2**31), st.sampled_from(["measurements", "assertions", "completions", "warnings"]))
def test_migrating_is_idempotent_and_touches_nothing_it_was_given(seed, emptied):
    before = json.loads(FIRST.read_bytes())
    before[emptied] = type(before[emptied])()
    before["created"] = str(seed)
    untouched = copy.deepcopy(before)
    once = migrate(before)
    assert before == untouched
    assert migrate(once) == once
    assert migrate(json.loads(json.dumps(once))) == once


@pytest.mark.parametrize(
    ("version", "words"), [(VERSION + 1, "or a newer one"), (0, "no geoaudit wrote that"), (None, "got None")]
)
def test_versions_that_are_not_known(first, version, words):
    with pytest.raises(RequestError, match=words):
        migrate({**first, "geoaudit_record": version})


def test_a_record_that_is_not_whole(first, tmp_path):
    del first["assertions"]
    (tmp_path / "a.json").write_text(json.dumps(first))
    with pytest.raises(RequestError, match="is not a whole record: KeyError: 'assertions'"):
        record.read(tmp_path / "a.json")
