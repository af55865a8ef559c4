from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geoaudit.errors import RequestError
from geoaudit.model.batches import MOST_TOKENS, TOKENS_OF_A_PASS, packed, plan, token_budget

LENGTHS = st.lists(st.integers(1, 60), max_size=150)


@given(LENGTHS, st.integers(1, 40), st.integers(1, 80), st.integers(1, 3000))
@example([50, 3, 3], 5, 64, 20)  # a prompt that is longer than the budget
def test_every_prompt_is_in_one_batch_and_batches_keep_their_bounds(lengths, new, rows, tokens):
    made = plan(lengths, new, rows=rows, tokens=tokens)
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    for batch in made:
        assert 1 <= len(batch) <= rows
        assert len(batch) == 1 or len(batch) * (max(lengths[index] for index in batch) + new) <= tokens
        assert list(batch) == sorted(batch, key=lambda index: (lengths[index], index))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 60), min_size=65, max_size=280), st.integers(1, 40), st.integers(1, 80))
def test_the_rows_of_a_smaller_profile_are_found_by_a_larger_one(lengths, new, rows):
    whole = plan(lengths, new, rows=rows, tokens=1500)
    for n in (64, 128, 256):
        part = plan(lengths[:n], new, rows=rows, tokens=1500)
        if n <= len(lengths):
            assert whole[: len(part)] == part


@given(st.lists(st.integers(1, 60), max_size=64), st.integers(1, 40), st.integers(1, 80), st.integers(1, 3000))
def test_within_a_chunk_no_batch_could_take_the_next_prompt_too(lengths, new, rows, tokens):
    for batch, following in pairwise(plan(lengths, new, rows=rows, tokens=tokens)):
        assert len(batch) == rows or (len(batch) + 1) * (lengths[following[0]] + new) > tokens


def test_chunks_end_at_64_and_its_doublings():
    made = plan(list(range(600, 0, -1)), 1, rows=1000, tokens=10**9)
    assert [len(batch) for batch in made] == [64, 64, 128, 256, 88]
    assert made[0] == tuple(range(63, -1, -1))  # sorted inside a chunk
    assert [min(batch) for batch in made] == [0, 64, 128, 256, 512]


def test_ties_keep_the_order_of_the_prompts():
    assert plan([5, 4, 5, 4], 1, rows=3) == ((1, 3, 0), (2,))


def test_a_prompt_longer_than_the_budget_is_completed_alone():
    assert plan([10, 900, 10, 800], 32, tokens=100) == ((0, 2), (3,), (1,))


def test_no_prompts_no_batches():
    assert plan([], 32) == ()


@pytest.mark.parametrize("wrong", [{"rows": 0}, {"tokens": 0}, {"max_new_tokens": 0}])
def test_a_plan_without_room_is_an_error(wrong):
    with pytest.raises(RequestError, match="at least 1"):
        plan([3], **{"max_new_tokens": 8, **wrong})


@given(st.integers(1, 10**7), st.integers(0, 10**13))
def test_a_budget_is_a_power_of_two_that_fits_in_half_of_the_memory(kv, available):
    budget = token_budget(kv, available)
    assert budget & (budget - 1) == 0
    assert 1 <= budget <= MOST_TOKENS
    assert budget == 1 or 2 * budget * kv <= available
    assert budget == MOST_TOKENS or 4 * budget * kv > available  # the next power of two would not fit


def test_machines_with_about_the_same_memory_plan_alike():
    kv = 23_040  # SmolLM2-135M in bfloat16
    assert {token_budget(kv, gigabytes * 10**9) for gigabytes in (4, 8, 24, 80)} == {MOST_TOKENS}
    assert token_budget(2**17, 15 * 2**30) == token_budget(2**17, 8 * 2**30) == 2**15  # an 8B model's cache


def test_a_token_without_bytes_is_an_error():
    with pytest.raises(RequestError, match="at least one byte"):
        token_budget(0, 10**9)


def test_a_plan_needs_nothing_heavy():
    code = "import sys, geoaudit.model.batches; print({'torch', 'numpy', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@given(LENGTHS, st.integers(1, 30), st.integers(1, 3000))
def test_passes_hold_every_prompt_once_by_length_and_keep_their_bounds(lengths, copies, tokens):
    made = list(packed(lengths, copies, tokens))
    assert sorted(index for batch in made for index in batch) == list(range(len(lengths)))
    assert [lengths[index] for batch in made for index in batch] == sorted(lengths)
    for batch in made:
        padded = max(lengths[index] for index in batch) * len(batch)
        assert len(batch) == 1 or padded * copies <= tokens
        assert (padded - sum(lengths[index] for index in batch)) * copies <= TOKENS_OF_A_PASS


@given(LENGTHS, st.integers(1, 30), st.integers(1, 3000))
def test_no_pass_could_take_the_next_prompt_too(lengths, copies, tokens):
    for batch, following in pairwise(packed(lengths, copies, tokens)):
        padded = lengths[following[0]] * (len(batch) + 1)
        wasted = padded - sum(lengths[index] for index in (*batch, following[0]))
        assert padded * copies > tokens or wasted * copies > TOKENS_OF_A_PASS
