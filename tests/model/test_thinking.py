from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.model.thinking import MARKERS, closing, without_thinking


@pytest.mark.parametrize(("opening", "close"), MARKERS)
def test_an_open_block_is_closed(opening, close):
    for tail in ("", "\n", "\n\n"):
        end = f"<|assistant|>\n{opening}{tail}"
        assert end + closing(end, "") == f"<|assistant|>\n{opening}\n\n{close}\n\n"


def test_a_prefilled_thought_is_closed_where_it_stands():
    assert closing("<think>\nOkay, so", "") == "\n</think>\n\n"


def test_nothing_is_added_where_no_block_is_open():
    assert closing("<|assistant|>\n", "") == ""
    assert closing("<|assistant|>\n<think>\n\n</think>\n\n", "") == ""
    assert closing("<think>a</think><think>", "") != ""


def test_the_templates_own_empty_block_sets_the_style():
    assert closing("<think>\n", r"{{ '<think>\n</think>\n' }}") == "</think>\n"
    assert closing("<think>", "<think></think>") == "</think>"


@pytest.mark.parametrize(("opening", "close"), MARKERS)
def test_blocks_are_taken_out_and_truncated_ones_leave_nothing(opening, close):
    assert without_thinking(f"{opening}\nhm\n{close}\n\nSure.") == "Sure."
    assert without_thinking(f"hm\n{close}\n\nSure.") == "Sure."  # the prompt had opened it
    assert without_thinking(f"{opening}a{close} Sure. {opening}b{close} Bye.") == "Sure. Bye."
    assert without_thinking(f"{opening}\nhm") is None
    assert without_thinking(f"{opening}a{close}Sure. {opening}b") is None
    assert without_thinking(f"{opening}{close}") == ""


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="<[")))
def test_other_text_is_left_as_it_is(text):
    assert without_thinking(text) == text
