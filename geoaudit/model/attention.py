"""Attention for passes over many short rows on a CPU: the heads that share keys and values run as one matrix product.

torch's kernel for the CPU works head by head in blocks, and transformers first repeats the keys and values for every
head of a group. With a few dozen tokens a row both cost more than the products themselves: on two cores this takes
half the time. The result is the same softmax attention, in float32 but for what goes in and comes out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from geoaudit.model.loaded import LoadedModel

NAME = "geoaudit_short_rows"
LONGEST = 256
"""Keys a row: beyond it scores no longer fit a core's cache, and torch's kernel is the faster one."""


@contextmanager
def short_rows(loaded: LoadedModel) -> Iterator[None]:
    """Passes inside the context take the attention of this file where it is faster, else the model's own.

    It stands in for `sdpa` only: a model that asks for another implementation (soft caps, sinks) keeps it.
    """
    config: Any = loaded.decoder.config
    if loaded.device.type != "cpu" or config._attn_implementation != "sdpa":
        yield
        return
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"


def grouped(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """What transformers asks of an attention function; anything out of the ordinary goes to `sdpa`.

    Args:
        module: the attention layer.
        query: [n, heads, T, d].
        key: [n, groups, S, d], and value [n, groups, S, e]: a group of heads shares them.
        value: as `key`.
        attention_mask: bool [n or 1, 1, T, S], True where a token is seen.
        dropout: 0 in evaluation.
        scaling: of the scores; 1/√d where None.
        is_causal: for `sdpa`.
        more: for `sdpa`.

    Returns:
        [n, T, heads, e], and no weights.
    """
    n, heads, length, width = query.shape
    groups, seen = key.shape[1:3]
    ordinary = not dropout and not any(more.get(name) is not None for name in ("position_bias", "cache", "softcap"))
    masked = attention_mask is not None and attention_mask.dtype == torch.bool
    if not (ordinary and masked and length > 1 and seen <= LONGEST and attention_mask.shape[1:] == (1, length, seen)):  # type: ignore[union-attr]
        return sdpa_attention_forward(  # type: ignore[no-any-return]
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **more
        )
    assert attention_mask is not None
    share = heads // groups
    scale = width**-0.5 if scaling is None else scaling
    with torch.autocast(query.device.type, enabled=False):  # which would make the scores of what it likes
        q = query.reshape(n, groups, share * length, width).float() * scale
        scores = torch.matmul(q, key.float().transpose(2, 3))
        # a finite number: padding that sees nothing would be NaN, and NaN times a weight of zero is NaN everywhere
        scores.masked_fill_(~attention_mask.repeat(1, 1, share, 1), torch.finfo(torch.float32).min)
        # with weights rounded to bfloat16 the KL of an ablation came out up to 7 % too low (smollm2-135m)
        made = torch.matmul(torch.softmax(scores, dim=-1), value.float()).to(value.dtype)
    return made.reshape(n, heads, length, -1).transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, grouped)
AttentionMaskInterface.register(NAME, sdpa_mask)
