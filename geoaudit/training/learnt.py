"""A training pass of the model that computes what a loss is taken on, and no more.

A few of a batch's tokens are learnt, and with a vocabulary of tens of thousands the output head, float32 copies of its
logits and their gradients cost as much as several blocks: the head runs at the positions that predict a learnt token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import modeling_utils

from geoaudit.model import architecture, attention
from geoaudit.training.rows import IGNORED


def logits(model: Any, inputs: Mapping[str, Tensor], wanted: Tensor) -> Tensor:
    """Logits at some positions of one forward pass.

    Args:
        model: as it is trained: its mode, precision and wrapping are the caller's.
        inputs: what it is called with, without labels.
        wanted: `[rows, width]` bool, on the model's device.

    Returns:
        `[n, vocab]`, row by row.
    """
    keep = {"logits_to_keep": wanted} if _TAKES_A_MASK else {}
    made: Tensor = model(**inputs, use_cache=False, **keep).logits
    return made if made.ndim == 2 else made[wanted]


def predicting(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Where learnt tokens are predicted, `[rows, width]` bool, and which they are, `[n]`, row by row.

    Args:
        labels: `[rows, width]`, token ids or `IGNORED`.
    """
    learnt = labels[:, 1:] != IGNORED
    return torch.nn.functional.pad(learnt, (0, 1)), labels[:, 1:][learnt]


@contextmanager
def short_rows(model: Any, *, recomputed: bool) -> Iterator[None]:
    """Forward passes inside the context attend as `model.attention` does where that is quicker.

    Args:
        model: unwrapped; on a CPU the gradients of short rows then take a third of the time.
        recomputed: whether the backward pass computes activations again (gradient checkpointing). It would do so
            outside the context and find others: nothing is changed.
    """
    lm = architecture.causal_lm(model)
    config: Any = lm.get_submodule(architecture.of(model).decoder).config
    on_cpu = next(lm.parameters()).device.type == "cpu"
    if recomputed or not on_cpu or config._attn_implementation != "sdpa":
        yield
        return
    config._attn_implementation = attention.NAME
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"


def _takes_a_mask() -> bool:
    """Whether this version of transformers can be told the positions of each row."""
    cut = getattr(modeling_utils, "slice_logits_to_keep", None)
    if cut is None:
        return False
    try:
        return tuple(cut(torch.zeros(1, 2, 3), torch.tensor([[False, True]])).shape) == (1, 3)
    except (IndexError, RuntimeError, TypeError):
        return False


_TAKES_A_MASK = _takes_a_mask()
