"""Two records as one: checkpoints of a run become a trajectory, and what contradicts is said."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from geoaudit.audit import record
from geoaudit.audit.merge import merge, told_apart
from geoaudit.audit.provenance import sealed
from geoaudit.audit.record_schema import record_schema
from geoaudit.errors import RequestError
from tests.audit.test_migrate import FIRST


def one_of(name: str, model: str = "safety-tuned", **environment: Any) -> dict[str, Any]:
    """The record of one checkpoint under another name, as if it lay in a folder of a run."""
    whole = copy.deepcopy(record.read(FIRST))
    (checkpoint,) = [one for one in whole["checkpoints"] if one["name"] == model]
    checkpoint |= {"name": name, "spec": name, "kind": "directory"}
    whole["checkpoints"] = [checkpoint]
    folder, _, last = name.rpartition("/")
    step = {name: int(last.removeprefix("step"))} if last.startswith("step") else {}
    whole["trajectories"] = [{"name": folder or name, "checkpoints": [name], "steps": step, "reference": None}]
    whole["measurements"] = [
        {**one, "checkpoint": name, "key": one["key"].replace(model, name)}
        for one in whole["measurements"]
        if one["checkpoint"] == model
    ]
    whole["assertions"] = [
        {**one, "checkpoint": name, "measurement": one["measurement"].replace(model, name)}
        for one in whole["assertions"]
        if one["checkpoint"] == model
    ]
    whole["environment"] |= environment
    return sealed(whole)


def test_checkpoints_of_one_run_become_a_trajectory_in_order():
    merged = merge([("b.json", one_of("run/step100")), ("a.json", one_of("run/step50"))])
    jsonschema.validate(merged, record_schema(), jsonschema.Draft202012Validator)
    (trajectory,) = merged["trajectories"]
    assert trajectory["name"] == "run"
    assert trajectory["checkpoints"] == ["run/step50", "run/step100"]
    assert trajectory["reference"] == "run/step50"
    assert {one["checkpoint"] for one in merged["assertions"]} == {"run/step50", "run/step100"}
    assert [one["file"] for one in merged["merged"]] == ["b.json", "a.json"]
    assert not merged["warnings"]


def test_runs_of_other_names_or_kinds_stay_apart():
    other = one_of("run/step50")
    other["checkpoints"][0]["model_type"] = "gemma2"
    for first, second in ((one_of("one/step1"), one_of("two/step2")), (one_of("run/step100"), other)):
        merged = merge([("a", first), ("b", second)])
        assert [len(one["checkpoints"]) for one in merged["trajectories"]] == [1, 1]


def test_a_run_of_the_manifests_is_one_whatever_its_names():
    first, second = one_of("one/step1"), one_of("two/step2")
    for found in (first, second):
        found["checkpoints"][0]["training"] = {"run": "r2d2-7", "step": 1, "reference": None}
    (trajectory,) = merge([("a", first), ("b", second)])["trajectories"]
    assert set(trajectory["checkpoints"]) == {"one/step1", "two/step2"}


def test_the_same_record_twice_is_that_record():
    one = one_of("run/step50")
    merged = merge([("a", one), ("a", one)])
    assert merged["assertions"] == one["assertions"]
    assert merged["measurements"] == one["measurements"]
    assert merge([("a", one)]) == one


def _measurement(found: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in found["measurements"] if one["estimate"] is not None)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda one: _measurement(one).update(estimate=0.2468),
            r"measured twice with different results: .* in a, 0\.2468",
        ),
        (lambda one: _measurement(one).update(low=-1.0), "they differ in low"),
        (lambda one: one["checkpoints"][0].update(id="0" * 64), "run/step50 has other weights in b than in a"),
        (lambda one: one["checkpoints"][0].update(dtype="float16"), "other dtype in b"),
        (lambda one: one["assertions"][0].update(outcome="passed"), "is passed in b|passed in b"),
        (lambda one: next(iter(one["completions"].values()))["rows"][0].update(label="unjudged"), "other labels in b"),
        (lambda one: next(iter(one["measures"].values())).update(version=99), "of version 99 in b"),
    ],
    ids=["estimate", "interval", "weights", "dtype", "outcome", "label", "definition"],
)
def test_what_contradicts_is_said(edit, words):
    other = one_of("run/step50")
    assert other["assertions"][0]["outcome"] != "passed"
    edit(other)
    with pytest.raises(RequestError, match=words):
        merge([("a", one_of("run/step50")), ("b", other)])


def test_other_surroundings_are_noted():
    merged = merge([("a", one_of("run/step50", torch="2.12.0")), ("b", one_of("run/step100"))])
    (note,) = merged["warnings"]
    assert "not made in the same environment: torch is" in note
    assert "2.12.0 in a" in note


def test_a_line_across_a_trajectory_that_grew_is_left_out():
    records = []
    for name in ("run/step50", "run/step100"):
        found = one_of(name)
        across = {
            **found["assertions"][0],
            "id": "course",
            "kind": "across",
            "checkpoint": "run",
            "comparator": "trend",
        }
        found["assertions"].append(across)
        records.append((name, found))
    merged = merge(records)
    assert "course" not in {one["id"] for one in merged["assertions"]}
    assert merged["status"] == "incomplete"
    assert sum("course on run was decided" in line for line in merged["warnings"]) == 2


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["x/a.json", "y/b.json"], ["a.json", "b.json"]),
        (["x/a.json", "y/a.json", "y/b.json"], ["x/a.json", "y/a.json", "b.json"]),
        (["/r/x/1/a.json", "/r/y/1/a.json"], ["x/1/a.json", "y/1/a.json"]),
        (["a.json", "a.json"], ["a.json", "a.json"]),
    ],
)
def test_files_of_one_name_are_told_apart_by_no_more_than_it_takes(paths: list[str], told: list[str]):
    assert told_apart([Path(one) for one in paths]) == told


def test_no_record_at_all():
    with pytest.raises(RequestError, match="no record was named"):
        merge([])


def test_exit_and_profile_are_the_strictest():
    first, second = one_of("run/step50"), one_of("run/step100")
    first["exit"] = {"code": 0, "reason": ""}
    second["profile"] = {"name": "standard", "decide": "interval"}
    merged = merge([("a", first), ("b", second)])
    assert merged["exit"]["code"] == 1
    assert merged["profile"]["decide"] == "interval"
    assert any("the profile is" in line for line in merged["warnings"])
