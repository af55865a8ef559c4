from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from geoaudit.audit.baseline import Against, RecordBaseline, described
from geoaudit.audit.environment import Environment
from geoaudit.audit.noise import Noise, Spread
from geoaudit.audit.trajectory import Place, Trajectories
from geoaudit.errors import RequestError
from geoaudit.records import Measurement
from tests.audit.changed import line, opened, record, refusals

OLD = refusals("rrra", checkpoint="old")


class Around:
    """Two checkpoints of one run, measured as a record of them says."""

    def __init__(self) -> None:
        self.trajectories = Trajectories([Place("run/step0", "/run/step0"), Place("run/step50", "/run/step50")])

    def environment(self, name: str) -> Environment:
        data = record(OLD)
        return Environment.of_record(data, data["checkpoints"][0])

    def identity(self, name: str) -> str:
        return f"id of {name}"


def against(baseline: RecordBaseline | str | None, **more: Any) -> Against:
    return Against(Around(), baseline, **more)


def on_reference(**more: Any) -> Any:
    return replace(line("change_at_least", -0.1), against="reference", **more)


def test_the_checkpoint_of_a_record_is_the_only_one_or_the_one_of_the_same_name() -> None:
    one, two = opened(record(OLD)), opened(record(OLD, replace(OLD, checkpoint="older")))
    assert one.entry("anything")["name"] == "old"
    assert two.entry("older")["name"] == "older"
    with pytest.raises(
        RequestError, match=r"none called other: say which one is the baseline, for example 'old\.json#old'$"
    ):
        two.entry("other")
    assert opened(two.record, "older").entry("old")["name"] == "older"  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no checkpoint 'gone': old, older"):
        opened(two.record, "gone")  # type: ignore[arg-type]


def test_a_measurement_is_found_by_its_measure_and_its_parameters() -> None:
    longer = replace(OLD, parameters={**OLD.parameters, "max_new_tokens": 512})
    found = opened(record(longer, OLD))
    here = replace(OLD, checkpoint="new")
    assert found.find(here).parameters == OLD.parameters
    assert found.find(here).detail["rows"] == OLD.detail["rows"]
    for name, value in (("n", 128), ("paraphrases", True), ("max_unparsed", 0.5)):
        assert found.find(replace(here, parameters={**here.parameters, name: value})).parameters == OLD.parameters
    with pytest.raises(RequestError, match=r"max_new_tokens 9 here and (512|64) there"):
        found.find(replace(here, parameters={**here.parameters, "max_new_tokens": 9}))
    with pytest.raises(RequestError, match="k 3 here and not set there"):
        found.find(replace(here, parameters={**here.parameters, "k": 3}))
    with pytest.raises(RequestError, match="has no degenerate_rate of old"):
        found.find(replace(here, measure="degenerate_rate"))


def test_of_several_sizes_the_largest_serves() -> None:
    few = refusals("rr", checkpoint="old")
    assert opened(record(few, OLD)).find(replace(OLD, checkpoint="new")).n == 4
    gone = replace(OLD, estimate=None, n=9, why_missing="it broke")
    assert opened(record(gone, few)).find(replace(OLD, checkpoint="new")).n == 2


def test_a_reference_is_the_trajectorys() -> None:
    found = against(None)
    other = found.other(on_reference(), "run/step50")
    assert (other.role, other.checkpoint, other.why_not) == ("reference", "run/step0", "")
    assert "itself the reference" in found.other(on_reference(), "run/step0").why_not
    candidate = replace(OLD, checkpoint="run/step50")
    given = found.input(on_reference(), candidate, other, replace(OLD, checkpoint="run/step0"))
    assert given.against == {"role": "reference", "name": "run/step0", "id": "id of run/step0"}
    assert given.mismatches == ()


def test_without_a_baseline_the_command_stands_in_the_reason() -> None:
    other = against(None, profile="release", settings=("--geoaudit-system=be kind",)).other(
        line("change_at_most", 0.1), "new"
    )
    assert (
        "`pytest --geoaudit-model=OLD-MODEL --geoaudit-baseline=OLD-MODEL --geoaudit-suite=gate.audit.yaml "
        "--geoaudit-profile=release '--geoaudit-system=be kind' --geoaudit-report=baseline.html`" in other.why_not
    )


def test_a_record_is_compared_under_what_it_was_measured_with() -> None:
    data = record(OLD)
    data["checkpoints"][0]["contract"] = {**data["checkpoints"][0]["contract"], "dtype": "bfloat16"}
    found = against(opened(data), allowed=frozenset({"dtype"}))
    candidate = replace(OLD, checkpoint="new")
    asked = line("change_at_least", -0.1)
    given = found.input(asked, candidate, found.other(asked, "new"))
    assert given.other is not None
    assert given.other.checkpoint == "baseline:old"
    assert [one.name for one in given.mismatches] == ["dtype"]
    assert given.allowed == {"dtype"}
    assert given.against["id"] == data["checkpoints"][0]["id"]
    missing = found.input(asked, replace(candidate, measure="degenerate_rate"), found.other(asked, "new"))
    assert missing.other is None
    assert "`pytest --geoaudit-model=models/old " in missing.why_not
    assert "--geoaudit-report=old.html`" in missing.why_not


def test_what_a_record_lacks_is_known_before_anything_is_measured() -> None:
    gone = replace(OLD, measure="degenerate_rate", estimate=None, why_missing="it broke")
    found, asked = against(opened(record(OLD, gone))), line("change_at_least", -0.1)
    assert found.lacks(asked, "new", OLD.parameters) == ""
    other = found.lacks(asked, "new", {**OLD.parameters, "max_new_tokens": 9})
    assert "max_new_tokens 9 here and 64 there: measure it with `pytest --geoaudit-model=models/old " in other
    unnumbered = replace(asked, measure="degenerate_rate")
    assert found.lacks(unnumbered, "new", OLD.parameters) == "the baseline has no number: it broke"
    assert found.lacks(replace(unnumbered, against="reference"), "new", OLD.parameters) == ""
    assert against("baseline:m").lacks(unnumbered, "new", OLD.parameters) == "", "a model is measured"


def test_nothing_measured_here_asks_nothing_of_the_baseline() -> None:
    found = against(opened(record(OLD)))
    asked = line("change_at_least", -0.1)
    bare = Measurement("refusal_rate", "new", {}, "x", why_missing="broken")
    assert found.input(asked, bare, found.other(asked, "new")).other is None


def test_what_the_record_says_of_a_baseline() -> None:
    assert described(against(None), lambda name: {}) is None
    found = described(against(opened(record(OLD))), lambda name: {})
    assert found is not None
    assert (found["record"], found["name"], found["spec"]) == (True, "old", "old.json")
    assert [one["name"] for one in found["checkpoints"]] == ["old"]
    model = described(against("baseline:m"), lambda name: {"name": name, "id": "i", "spec": "models/m"})
    assert model is not None
    assert (model["record"], model["name"], model["spec"], model["id"]) == (False, "m", "models/m", "i")


def test_noise_is_found_by_measure_and_parameters() -> None:
    spreads = (Spread("dtype", (0.5, 0.58, 0.47), ("a", "b", "c"), 64), Spread("prompts", (-0.2, 0.1), ("d",), 64))
    known = Noise("n.json", "c", (("refusal_rate", {**OLD.parameters, "n": 64}, spreads),))
    found = known.of(OLD)
    assert found["floor"] == pytest.approx(0.11)
    assert found["unpaired_floor"] == pytest.approx(0.2)
    assert found["sources"]["dtype"] == {"largest": pytest.approx(0.11), "repeats": 3}
    for other in (
        replace(OLD, measure="degenerate_rate"),
        replace(OLD, parameters={**OLD.parameters, "attack": "prefill"}),
    ):
        assert (known.of(other)["floor"], known.of(other)["sources"]) == (0.0, {})
