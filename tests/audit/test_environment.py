from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from geoaudit.audit.environment import SETTINGS, UNKNOWN, Environment, check_names, minor, mismatches
from geoaudit.errors import UnknownName
from geoaudit.records import Measurement
from tests.audit.changed import plain, record, refusals

CONTRACT = {
    **{"device": "cpu", "dtype": "float32", "template_sha256": "", "system_sha256": "", "torch": "2.13"},
    **{"transformers": "5.23", "generation_batch": 64, "generation_tokens": 65536, "probe_blocks": 32, "numerics": 2},
}


def live(**changed: Any) -> Environment:
    contract = {**CONTRACT, **{name: value for name, value in changed.items() if name in CONTRACT}}
    found = Environment.live(contract, "cd" * 32, "ab" * 32, {"refusal_rate": 1, "effective_rank": 1})
    return replace(found, **{name: value for name, value in changed.items() if name not in CONTRACT})


def differ(here: Environment, there: Environment, one: Measurement, other: Measurement | None = None) -> list[str]:
    return [found.name for found in mismatches(here, one, there, other or one)]


def test_a_checkpoint_measured_now_and_the_same_in_a_record_differ_in_nothing() -> None:
    found = refusals("rra")
    data = record(found)
    there = Environment.of_record(data, data["checkpoints"][0])
    assert there == replace(live(), versions={"refusal_rate": 1})
    assert differ(live(), there, found) == []


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"template": "ef" * 32}, "template"),
        ({"system": "ef" * 32}, "system"),
        ({"dtype": "bfloat16"}, "dtype"),
        ({"device": "cuda"}, "device"),
        ({"torch": "2.12"}, "torch"),
        ({"transformers": "5.22"}, "transformers"),
        ({"geoaudit": "0.2"}, "geoaudit"),
        ({"numerics": 1}, "numerics"),
        ({"versions": {"refusal_rate": 2}}, "measure"),
    ],
)
def test_each_setting_that_differs_is_named_with_both_sides(changed: dict[str, Any], name: str) -> None:
    found = refusals("rra")
    (one,) = mismatches(live(), found, live(**changed), found)
    assert one.name == name
    assert one.here != one.there
    assert SETTINGS[name] in one.sentence
    (other,) = mismatches(live(**changed), found, live(), found)
    assert (other.here, other.there) == (one.there, one.here)


def test_what_a_record_does_not_say_is_different() -> None:
    found = refusals("rra")
    data = record(found)
    old = {name: value for name, value in data["checkpoints"][0].items() if name not in ("contract", "template")}
    bare = {**data, "environment": {"torch": "2.13.0+cpu", "device": "cpu"}, "measures": {}}
    there = Environment.of_record(bare, old)
    assert (there.torch, there.device, there.dtype) == ("2.13", "cpu", "float32")
    said = mismatches(live(), found, there, replace(found, detail={"rows": found.detail["rows"]}))
    assert [one.name for one in said] == ["template", "transformers", "judge", "measure", "numerics"]
    assert {one.there for one in said} == {UNKNOWN}
    # where neither side says it nobody knows either
    assert "template" in differ(live(template=None), live(template=None), found)


def test_batches_matter_below_float32_and_only_where_text_is_generated() -> None:
    found = refusals("rra" * 30)
    other = replace(found, detail={**found.detail, "batches": [45, 45]})
    assert differ(live(), live(), found, other) == []
    low = live(dtype="bfloat16")
    (one,) = mismatches(low, found, low, other)
    assert (one.name, one.here, one.there) == ("generation", "90", "45, 45")
    more = replace(found, detail={**found.detail, "batches": [90, 64]})  # the same prompts, and others behind them
    assert differ(low, low, found, more) == differ(low, low, more, found) == []
    for attack in ("worst", "gcg"):  # asked otherwise, so that the batches cannot be the same
        made = [replace(one, parameters={**one.parameters, "attack": attack}) for one in (found, other)]
        assert differ(low, low, *made) == []
        assert differ(low, live(dtype="bfloat16", batch=(32, 65536)), *made) == ["generation"]
    unsaid = replace(found, detail={"judge_id": found.detail["judge_id"]})
    assert differ(low, live(dtype="bfloat16", batch=(32, 65536)), unsaid) == ["generation"]
    assert differ(low, live(dtype="bfloat16", batch=(32, 65536)), plain(3, 2, 4)) == []


def test_the_judge_is_known_by_its_id_or_else_by_its_rules() -> None:
    found = refusals("rra")
    other = replace(found, detail={**found.detail, "judge_id": "refusal 4567"})
    assert differ(live(), live(), found, other) == ["judge"]
    assert differ(live(), live(rules="00" * 32), found) == []
    bare = replace(found, detail={"batches": [3]})
    assert differ(live(), live(rules="00" * 32), bare) == ["judge"]
    assert differ(live(), live(rules="00" * 32), plain(3, 2, 4)) == []


def test_names_that_may_differ_are_known_names() -> None:
    assert check_names(["dtype", "torch"]) == {"dtype", "torch"}
    with pytest.raises(UnknownName, match="did you mean 'transformers'"):
        check_names(["transfomers"])


def test_minor_versions() -> None:
    assert [minor(one) for one in ("2.13.0+cpu", "5.23", "1", None, "")] == ["2.13", "5.23", None, None, None]
