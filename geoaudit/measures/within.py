"""Activation addition at some tokens of each prompt only, such as those of a request inside a longer question.

`carriers.passes` edits every position. Here a vector is added at one layer where a prompt's own span is; what all
prompts begin with before the earliest span is computed once, and so is everything below the layer, because an addition
leaves both as they were. Keys and values behind the span change as they would in a plain forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from geoaudit.errors import RequestError
from geoaudit.interventions.edits import add
from geoaudit.model.batches import packed, shared_prefix
from geoaudit.model.chat import Chat, Rendered
from geoaudit.model.hooks import Place, captured, edited, skipped_below
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.prefix import last_logits, prefill

Span = tuple[int, int]
"""First token, and the one behind the last."""
Reduce = Callable[[Tensor, list[int]], Tensor]
"""Logits [C, m, vocabulary] at the last position, with which m prompts, to [C, m, …]."""


class Within:
    """One model, n prompts with a span each, and a layer.

    Raises:
        RequestError: no prompt, or a span that is empty or outside its prompt.
    """

    def __init__(self, loaded: LoadedModel, rendered: Sequence[Rendered], spans: Sequence[Span], layer: int) -> None:
        if not rendered or len(rendered) != len(spans):
            raise RequestError(f"each of {len(rendered)} prompts needs a span, got {len(spans)}")
        for prompt, (start, end) in zip(rendered, spans, strict=True):
            if not 0 <= start < end <= len(prompt.ids):
                raise RequestError(f"no span {start} to {end} in a prompt of {len(prompt.ids)} tokens")
        self.loaded = loaded
        self.rendered = list(rendered)
        self.spans = list(spans)
        self.place: Place = ("resid_pre", layer)
        self.shared = min(shared_prefix(rendered), *(start for start, _ in spans))
        self._cache: Any = None
        self._streams: list[Tensor] = []
        """What arrives at the layer behind the shared prefix, [length, d_model] of each prompt."""

    @torch.no_grad()
    def plain(self, reduce: Reduce) -> Tensor:
        """Without an edit: what `reduce` makes of the logits, [1, n, …]; keeps what edited passes start from."""
        self._cache = prefill(self.loaded, self.rendered[0].ids[: self.shared])
        streams: dict[int, Tensor] = {}
        found: dict[int, Tensor] = {}
        for part, batch in self._batches(1):
            with captured(self.loaded, [self.place]) as seen:
                logits = last_logits(self.loaded, batch, shared=self.shared, cache=self._cache)
            for row, index in enumerate(part):
                streams[index] = seen[self.place][row, : len(batch[row].ids) - self.shared].clone()
            self._keep(found, part, reduce(logits[None], part))
        self._streams = [streams[index] for index in range(len(self.rendered))]
        return torch.stack([found[index] for index in range(len(self.rendered))], dim=1)

    @torch.no_grad()
    def added(self, vectors: Tensor, reduce: Reduce) -> Tensor:
        """With each of C vectors [C, d_model] added, at the norm it has, to every token of the spans: [C, n, …]."""
        if not self._streams:
            raise RequestError("the unedited pass comes first: call plain()")
        copies, found = len(vectors), dict[int, Tensor]()
        for part, batch in self._batches(copies):
            stream, mask = self._known(part)
            with (
                skipped_below(self.loaded, self.place[1]),
                edited(self.loaded, {self.place: _addition(stream, mask, vectors)}),
            ):
                logits = last_logits(self.loaded, batch * copies, shared=self.shared, cache=self._cache)
            self._keep(found, part, reduce(logits.reshape(copies, len(part), -1), part))
        return torch.stack([found[index] for index in range(len(self.rendered))], dim=1)

    def _batches(self, copies: int) -> Iterator[tuple[list[int], list[Rendered]]]:
        for part in packed([len(prompt.ids) - self.shared for prompt in self.rendered], copies):
            yield part, [self.rendered[index] for index in part]

    def _known(self, part: list[int]) -> tuple[Tensor, Tensor]:
        """The unedited stream [m, length, d_model] of some prompts, and their spans in it, bool [m, length, 1]."""
        width = max(len(self._streams[index]) for index in part)
        like = self._streams[part[0]]
        stream = torch.zeros(len(part), width, like.shape[-1], dtype=like.dtype, device=like.device)
        mask = torch.zeros(len(part), width, 1, dtype=torch.bool, device=like.device)
        for row, index in enumerate(part):
            stream[row, : len(self._streams[index])] = self._streams[index]
            start, end = self.spans[index]
            mask[row, start - self.shared : end - self.shared] = True
        return stream, mask

    @staticmethod
    def _keep(found: dict[int, Tensor], part: list[int], values: Tensor) -> None:
        for column, index in enumerate(part):
            found[index] = values[:, column]


def _addition(stream: Tensor, mask: Tensor, vectors: Tensor) -> Callable[[Tensor], Tensor]:
    """In place of what arrives: the known stream once a vector, with the vector added where the mask is set."""
    copies = len(vectors)
    rows = vectors.to(stream.device).repeat_interleave(len(stream), dim=0)[:, None, :]
    known, where = stream.repeat(copies, 1, 1), mask.repeat(copies, 1, 1)
    return lambda arrived: torch.where(where, add(known, rows), known)


def span_of(chat: Chat, rendered: Rendered, turn: str, start: int, end: int) -> Span:
    """The tokens that hold characters `start` to `end` of a user's turn.

    Raises:
        RequestError: the template does not leave the turn in one piece, or no token holds these characters.
    """
    before = rendered.text.find(turn)
    if before < 0:
        raise RequestError("the chat template changes the instruction, so that a part of it cannot be found again")
    encoding = chat.tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)
    if tuple(encoding["input_ids"]) != rendered.ids:
        raise RequestError("the rendered text does not give the prompt's own tokens: no part of it can be found again")
    first, last = before + start, before + end
    held = [i for i, (a, b) in enumerate(encoding["offset_mapping"]) if a < last and b > first]
    if not held:
        raise RequestError("no token holds this part of the instruction")
    return held[0], held[-1] + 1
