"""Which token stands in which column of a padded batch: for whoever treats some positions unlike others.

A pass over a batch only shows a stream `[rows, columns, d_model]`. Padding stands on the left, on the right, or between
what prompts share and what they do not, and a pass may begin anywhere in the prompt. So whoever runs the passes tells
an observer, before them, what their columns hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoaudit.model.chat import Rendered

PADDING = -1
"""In `Layout.index`: a column that holds no token of its row's prompt."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The columns of the passes to come, in the order in which they are run; columns behind them hold the answer."""

    prompts: tuple[Rendered, ...]
    """One a row."""
    index: Tensor
    """[n, columns] int64 on the CPU: the place of each column's token in its own prompt, from 0, or `PADDING`."""


Observer = Callable[[Layout], None]
"""Told the layout before the first pass over a batch."""


def padded_behind(rendered: Sequence[Rendered], shared: int) -> Layout:
    """Prompts padded behind the first `shared` tokens, so that all end in the last column (`generate.complete`)."""
    width = max(len(prompt.ids) for prompt in rendered)
    return Layout(
        tuple(rendered),
        torch.tensor(
            [
                [*range(shared), *[PADDING] * (width - len(prompt.ids)), *range(shared, len(prompt.ids))]
                for prompt in rendered
            ]
        ),
    )


def suffixes(rendered: Sequence[Rendered], shared: int) -> Layout:
    """What follows the first `shared` tokens of each prompt, padded on the right (`prefix.run_suffixes`)."""
    width = max(len(prompt.ids) for prompt in rendered)
    return Layout(
        tuple(rendered),
        torch.tensor(
            [[*range(shared, len(prompt.ids)), *[PADDING] * (width - len(prompt.ids))] for prompt in rendered]
        ),
    )


def prefix(rendered: Sequence[Rendered], shared: int) -> Layout:
    """The first `shared` tokens, which all prompts share, in one row (`prefix.prefill`)."""
    return Layout(tuple(rendered[:1]), torch.arange(shared)[None])
