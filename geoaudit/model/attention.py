"""Attention for passes over many short rows on a CPU: the heads that share keys and values run as one matrix product.

torch's kernel for the CPU works head by head in blocks, and transformers first repeats the keys and values for every
head of a group. With a few dozen tokens a row both cost more than the products themselves: on two cores this takes
half the time. The result is the same softmax attention, in float32 but for what goes in and comes out, with other
roundings than torch's: a change here raises `numerics.VERSION`.

Nor need rows of different lengths be padded (`packed_rows`): their tokens lie one behind another in one long row for
everything that looks at one token, and beside each other for the attention alone.
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
PACKED = "geoaudit_packed_rows"
PACKING = frozenset({"gemma", "llama", "mistral", "mixtral", "olmo2", "phi3", "qwen2", "qwen3"})
"""Model types whose rows may be packed: only the attention looks at more than one token, it takes a mask as it is given
and any further arguments, and positions are told by `position_ids`."""
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


def can_pack(loaded: LoadedModel) -> bool:
    """Whether `packed_rows` gives what the model's own passes give."""
    config: Any = loaded.decoder.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = kinds != {"full_attention"} or getattr(config, "sliding_window", None) is not None
    return (
        loaded.device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and config.model_type in PACKING
        and not windowed
    )


@contextmanager
def packed_rows(loaded: LoadedModel) -> Iterator[None]:
    """Passes inside the context run rows that lie one behind another; `packed` says what they have to be given."""
    config: Any = loaded.decoder.config
    config._attn_implementation = PACKED
    try:
        yield
    finally:
        config._attn_implementation = "sdpa"


def packed(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    places: Tensor,
    **more: Any,
) -> tuple[Tensor, None]:
    """Attention of n rows whose N tokens lie one behind another.

    Args:
        module: the attention layer.
        query: [1, heads, N, d].
        key: [n, groups, S, d], row by row: the cache was told `places`.
        value: [n, groups, S, e], the same.
        attention_mask: bool [n, 1, T, S].
        dropout: 0 in evaluation.
        scaling: of the scores; 1/√d where None.
        places: [N], where each token lies in n rows of T: row times T plus column. Passed through the decoder.
        more: as for `grouped`.

    Returns:
        [1, N, heads, e], and no weights.
    """
    rows = spread(query, places, len(attention_mask), attention_mask.shape[2])
    made, _ = grouped(module, rows, key, value, attention_mask, dropout, scaling, **more)
    return made.flatten(0, 1)[places][None], None


def spread(tokens: Tensor, places: Tensor, n: int, length: int) -> Tensor:
    """N tokens that lie one behind another as n rows, with zeros behind the shorter ones.

    Args:
        tokens: [1, heads, N, d].
        places: [N], as for `packed`.
        n: rows.
        length: of a row.

    Returns:
        [n, heads, length, d].
    """
    _, heads, _, width = tokens.shape
    grid = tokens.new_zeros(n * length, heads, width).index_copy(0, places, tokens[0].transpose(0, 1))
    return grid.reshape(n, length, heads, width).transpose(1, 2)


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
AttentionInterface.register(PACKED, packed)
AttentionMaskInterface.register(PACKED, sdpa_mask)
