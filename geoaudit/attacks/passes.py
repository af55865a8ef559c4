"""Forward passes of rows that begin like a row that was run before: only what differs is computed.

An optimised attack puts hundreds of texts to a model that differ from one known text in a single token. `run` keeps the
keys and values of the rows it ran, and a later row names one of them and how many of its tokens it begins with: it is
run from there on. Rows of one pass may begin like different rows, at different lengths, so that the candidates of
several behaviours share a pass. What a row begins with is put right-aligned beside its new tokens, so that distances
between tokens (positions, sliding windows) are those of the row alone. Where the model allows it, rows of different
lengths are not padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from geoaudit.model.attention import can_pack, packed_rows, short_rows, spread
from geoaudit.model.loaded import LoadedModel


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a pass."""

    new: tuple[int, ...]
    """Token ids to run, at least one."""
    begins: int = 0
    """How many tokens of a kept row it begins with."""
    like: int = 0
    """Index of that row among those kept."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Keys and values of rows that were run, with what those rows began with."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    """Of each block: keys and values, `[rows, columns, heads, head_dim]`."""
    first: tuple[int, ...]
    """Column of each row's first token."""

    def take(self, rows: Sequence[int]) -> Kept:
        """Copies of some rows, so that the memory of the others can go."""
        if not self.layers:
            return Kept((), tuple(self.first[r] for r in rows))
        index = torch.tensor(list(rows), dtype=torch.long, device=self.layers[0][0].device)
        return Kept(tuple((k[index], v[index]) for k, v in self.layers), tuple(self.first[r] for r in rows))

    def to(self, dtype: torch.dtype) -> Kept:
        """The same in another precision."""
        return Kept(tuple((k.to(dtype), v.to(dtype)) for k, v in self.layers), self.first)


def joined(parts: Sequence[Kept]) -> Kept:
    """The rows of several, in order; columns behind a shorter one's last are zeros that nothing reads."""
    columns = max(part.layers[0][0].shape[1] for part in parts)

    def padded(values: Tensor) -> Tensor:
        return torch.nn.functional.pad(values, (0, 0, 0, 0, 0, columns - values.shape[1]))

    layers = tuple(
        (torch.cat([padded(k) for k, _ in same]), torch.cat([padded(v) for _, v in same]))
        for same in zip(*(part.layers for part in parts), strict=True)
    )
    return Kept(layers, tuple(column for part in parts for column in part.first))


class _Layer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one block: what the rows begin with, then what is new, which is kept if asked."""

    def __init__(
        self,
        before: tuple[Tensor, Tensor] | None,
        like: Tensor,
        columns: Tensor,
        keep: bool,
        spread_out: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.is_initialized = True
        self._before, self._like, self._columns, self._keep = before, like, columns, keep
        self._spread_out = spread_out
        self.whole: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        key_states, value_states = self._spread_out(key_states), self._spread_out(value_states)
        if self._before is not None:
            # only here, block by block: all blocks' copies at once would be the largest thing in memory
            keys, values = (part[self._like, self._columns].transpose(1, 2) for part in self._before)
            key_states = torch.cat([keys, key_states], dim=-2)
            value_states = torch.cat([values, value_states], dim=-2)
        if self._keep:
            self.whole = key_states.detach().transpose(1, 2), value_states.detach().transpose(1, 2)
        return key_states, value_states

    def get_seq_length(self, *args: Any, **kwargs: Any) -> int:
        return self._columns.shape[1]


def run(
    loaded: LoadedModel, rows: Sequence[Row], before: Kept | None = None, *, keep: bool = False
) -> tuple[Tensor, Kept]:
    """One pass of the decoder over the new tokens of each row.

    Args:
        loaded: the model. Gradients are recorded if they are switched on, but not into what is kept.
        rows: the batch.
        before: what `Row.like` points into; None where no row begins with anything.
        keep: whether to keep the rows' keys and values.

    Returns:
        Normed decoder outputs `[rows, longest new, d_model]`, meaningless behind a row's last token, and what was kept
        (no layers without `keep`).
    """
    device = loaded.device
    begins = torch.tensor([row.begins for row in rows])
    lengths = torch.tensor([len(row.new) for row in rows])
    columns, width = int(begins.max()), int(lengths.max())
    missing = columns - begins  # empty columns in front of a row
    held = torch.arange(columns)[None] - missing[:, None]
    like, source = torch.zeros(len(rows), 1, dtype=torch.long), torch.zeros_like(held)
    if before is not None and columns:
        like = torch.tensor([[row.like] for row in rows])
        source = (held + torch.tensor(before.first)[like]).clamp(min=0)
    like, source = like.to(device), source.to(device)
    # behind a row's last token any id does: nothing before it attends to it
    tokens = torch.tensor([[*row.new, *[row.new[-1]] * (width - len(row.new))] for row in rows])
    new = torch.arange(width)[None] < lengths[:, None]
    mask = torch.cat([held >= 0, new], dim=1)
    positions = begins[:, None] + torch.arange(width)
    places: Tensor | None = None
    if not torch.is_grad_enabled() and not bool(new.all()) and can_pack(loaded):
        places = new.flatten().nonzero()[:, 0].to(device)
    layers = [
        _Layer(
            before.layers[index] if before is not None and columns else None,
            like,
            source,
            keep,
            partial(spread, places=places, n=len(rows), length=width) if places is not None else _as_it_is,
        )
        for index in range(loaded.n_layers)
    ]
    cache = Cache(layers=list(layers))
    if places is None:
        with short_rows(loaded):
            outputs = loaded.decoder(
                input_ids=tokens.to(device),
                attention_mask=mask.to(device),
                position_ids=positions.to(device),
                past_key_values=cache,
                use_cache=True,
            )
        hidden: Tensor = outputs.last_hidden_state
    else:
        seen = torch.arange(columns + width)[None] <= columns + torch.arange(width)[:, None]
        with packed_rows(loaded):
            outputs = loaded.decoder(
                input_ids=tokens[new][None].to(device),
                attention_mask=(mask[:, None, None] & seen).to(device),
                position_ids=positions[new][None].to(device),
                past_key_values=cache,
                use_cache=True,
                places=places,
            )
        hidden = spread(outputs.last_hidden_state[:, None], places, len(rows), width)[:, 0]
    whole = tuple(layer.whole for layer in layers if layer.whole is not None)
    return hidden, Kept(whole, tuple(missing.tolist()))


def _as_it_is(states: Tensor) -> Tensor:
    return states
