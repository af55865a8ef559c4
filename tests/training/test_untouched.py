"""A model that is read in the middle of its training is left as it was, whatever happens inside."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from geoaudit.model.hooks import skipped_below
from geoaudit.training.untouched import untouched
from tests.model.families import tiny_loaded


class _Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(3))
        self.max_seq_len_cached = 16


def test_inside_everything_is_in_eval_mode_and_without_gradients() -> None:
    part = _Part().train()
    with untouched(part):
        assert not any(module.training for module in part.modules())
        assert not torch.is_grad_enabled()
        assert not part.linear(torch.ones(2)).requires_grad
    assert torch.is_grad_enabled()


def test_each_module_gets_its_own_mode_back() -> None:
    part = _Part().train()
    part.drop.eval()
    with untouched(part):
        part.drop.train()
    assert part.training
    assert part.linear.training
    assert not part.drop.training


@pytest.mark.parametrize("draw", [random.random, np.random.rand, lambda: float(torch.rand(()))])
def test_random_numbers_go_on_where_they_were(draw: Any) -> None:
    part = _Part()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = draw()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    with untouched(part):
        draw()
    assert draw() == expected


def test_buffers_and_lengths_are_put_back() -> None:
    part = _Part()
    buffer = part.seen
    with untouched(part):
        part.seen += 1
        part.seen = torch.ones(5)
        part.max_seq_len_cached = 99
    assert part.seen is buffer
    assert part.seen.tolist() == [0, 0, 0]
    assert part.max_seq_len_cached == 16


def test_all_of_it_also_when_the_reading_fails() -> None:
    part = _Part().train()
    state = torch.get_rng_state()

    def reading() -> None:
        with untouched(part):
            part.seen += 1
            torch.rand(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        reading()
    assert part.drop.training
    assert part.seen.sum() == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_a_forward_that_was_put_on_a_block_survives_skipping_it() -> None:
    """As accelerate does with a module that it moves between devices."""
    loaded = tiny_loaded()
    blocks = list(loaded.blocks)

    def own(*args: Any, **kwargs: Any) -> Any:
        return type(blocks[0]).forward(blocks[0], *args, **kwargs)

    blocks[0].forward = own
    with skipped_below(loaded, 2):
        assert blocks[0].forward is not own
    assert blocks[0].forward is own
    assert "forward" not in blocks[1].__dict__


def test_gradients_and_what_needs_them_are_not_looked_at() -> None:
    part = _Part()
    part.linear.bias.requires_grad_(False)
    part.linear(torch.ones(2)).sum().backward()
    gradient = part.linear.weight.grad
    with untouched(part):
        part.linear(torch.zeros(2))
    assert part.linear.weight.grad is gradient
    assert part.linear.weight.requires_grad
    assert not part.linear.bias.requires_grad
