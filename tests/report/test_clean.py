from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoaudit.errors import RequestError
from geoaudit.report.clean import LONGEST, cleaned, visible

HIDDEN = {
    "\x00": "\\x00",
    "\u202e": "\\u202e",
    "\u2066": "\\u2066",
    "\u200b": "\\u200b",
    "\ud800": "\\ud800",
    "\r": "\\x0d",
}


@pytest.mark.parametrize("character", HIDDEN)
def test_hidden_characters_become_visible_escapes(character: str):
    assert visible(f"a{character}b") == f"a{HIDDEN[character]}b"


def test_a_non_character_and_a_tag_character_are_escaped():
    assert visible("\uffff\U000e0041") == "\\uffff\\U000e0041"


def test_ordinary_text_of_any_script_stays():
    text = "naïve — 拒否 Ġtoken ‘quoted’\n\tindented é"
    assert visible(text) == text


def test_a_long_string_keeps_both_ends_and_says_what_is_gone():
    shown = visible("a" * 4000 + "b" * 1000)
    assert shown.startswith("aaa")
    assert shown.endswith("bbb")
    assert len(shown) < LONGEST
    assert "4,475 characters left out" in shown


def test_templates_and_system_prompts_keep_more():
    record = cleaned({"geoaudit_record": 1, "template": {"rendered": "x" * 5000}, "name": "x" * 5000})
    assert len(record["template"]["rendered"]) == 5000
    assert len(record["name"]) < LONGEST


def test_numbers_that_are_none_become_none_and_the_rest_stays():
    record = cleaned({"geoaudit_record": 1, "a": [math.nan, math.inf, 0.5, 0, True, None], "b": (1, "x")})
    assert record == {"geoaudit_record": 1, "a": [None, None, 0.5, 0, True, None], "b": [1, "x"]}


def test_the_given_record_is_left_as_it_was(record: dict[str, Any]):
    before = json.dumps(record)
    cleaned(record)
    assert json.dumps(record) == before


@pytest.mark.parametrize("bad", [{}, {"geoaudit_record": 3}, {"geoaudit_record": "1"}, [], None])
def test_what_is_no_record_of_this_version_is_refused(bad: Any):
    with pytest.raises(RequestError, match="not a geoaudit record of version"):
        cleaned(bad)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=30),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
def test_nothing_hidden_survives_anywhere(value: Any):
    def strings(part: Any) -> list[str]:
        if isinstance(part, str):
            return [part]
        if isinstance(part, dict):
            return [text for name, inner in part.items() for text in (name, *strings(inner))]
        return [text for inner in part for text in strings(inner)] if isinstance(part, list) else []

    shown = cleaned({"geoaudit_record": 1, "value": value})
    for text in strings(shown):
        text.encode("utf-8")
        assert not {unicodedata.category(c) for c in text if c not in "\n\t"} & {
            "Cc",
            "Cf",
            "Cn",
            "Co",
            "Cs",
            "Zl",
            "Zp",
        }
    json.dumps(shown, allow_nan=False)


def test_what_is_no_mapping_or_no_list_where_one_belongs_is_nothing():
    found = cleaned(
        {
            "geoaudit_record": 1,
            "exit": "x",
            "profile": [1],
            "assertions": {"a": 1},
            "measurements": [{"detail": 3, "flags": "x"}],
        }
    )
    assert (found["exit"], found["profile"], found["assertions"]) == (None, None, None)
    assert found["measurements"] == [{"detail": None, "flags": None}]


def test_names_that_others_chose_are_no_fields():
    found = cleaned({"geoaudit_record": 1, "timings": {"detail": 3.5, "flags": 1.0}, "environment": {"exit": "x"}})
    assert found["timings"] == {"detail": 3.5, "flags": 1.0}
    assert found["environment"] == {"exit": "x"}


def test_a_detail_may_call_its_numbers_as_the_record_calls_its_mappings():
    """The score without an edit is a `base`; the names of lists, which figures go through, stay reserved."""
    detail = {"causal": {"layer": 3, "base": 6.2, "by_k": [{"k": 1, "template": "x"}]}, "completions": "abc-rules"}
    record = {"geoaudit_record": 1, "base": 6.2, "checkpoints": [{"base": "x"}], "measurements": [{"detail": detail}]}
    found = cleaned(record)
    assert found["measurements"] == [{"detail": detail}]
    assert (found["base"], found["checkpoints"]) == (None, [{"base": None}])
    nested = cleaned({"geoaudit_record": 1, "measurements": [{"detail": {"a": {"candidates": 1}, "energies": "x"}}]})
    assert nested["measurements"] == [{"detail": {"a": {"candidates": None}, "energies": None}}]
    timings = cleaned({"geoaudit_record": 1, "timings": {"detail": {"exit": 3.5}}})["timings"]
    assert timings == {"detail": {"exit": None}}, "a phase of that name is no detail"
