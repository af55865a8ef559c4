"""An edit in effect under a scope, for whatever runs inside: single passes, shared prefixes, generation.

Which position a column holds is told by whoever runs the passes (`geoaudit.model.layout`); where a scope depends on it
and nobody has said so, the edit refuses to guess. Adapters run inside the blocks that are edited, and a cache holds
keys and values of the edited stream, so the edit must be in effect from the first pass of a prompt on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from geoaudit.errors import RequestError
from geoaudit.interventions.scopes import Scope
from geoaudit.model import layout
from geoaudit.model.batches import packed, shared_prefix
from geoaudit.model.chat import Chat, Rendered
from geoaudit.model.hooks import Edit, Place, edited
from geoaudit.model.layout import Layout, Observer
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.prefix import last_logits, prefill


@contextmanager
def applied(loaded: LoadedModel, edit: Edit, scope: Scope) -> Iterator[Observer]:
    """Every forward pass inside the context runs with the stream edited where and when the scope says.

    ::

        with applied(loaded, lambda x: ablate(x, r), Scope(positions="instruction")) as observer:
            completions = complete(loaded, rendered, ids, max_new_tokens=64, observer=observer)

    Yields:
        The observer that `complete` and `complete_halving` take. Whoever runs passes of their own calls it with the
        layout before each batch; for a scope of every position in prompt and answer it need not be called. Positions
        that the scope leaves out keep their stream bit for bit.

    Raises:
        RequestError: a layer that does not exist; a pass whose positions the scope depends on and nobody told, or that
            does not fit what was told.
        NothingToMeasure: the model ran and an edit was never applied.
    """
    chosen = _Chosen(loaded.chat, scope)

    def at(place: Place) -> Edit:
        return edit if scope.everything else lambda x: chosen.only(place, x, edit)

    with edited(loaded, {place: at(place) for place in scope.places(loaded.n_layers)}):
        yield chosen.lay_out


@torch.no_grad()
def logits_under(loaded: LoadedModel, rendered: Sequence[Rendered], edit: Edit, scope: Scope) -> Tensor:
    """Logits at the last token of each prompt under an edit, `[n, vocabulary]` float32 on the CPU.

    One edit for all prompts, in batches of like length behind their shared prefix. Non-finite values are passed on.

    Raises:
        RequestError: no prompts; else as `applied`.
    """
    if not rendered:
        raise RequestError("no prompts to read logits of")
    shared = shared_prefix(rendered)
    rows: list[Tensor | None] = [None] * len(rendered)
    with applied(loaded, edit, scope) as observer:
        observer(layout.prefix(rendered, shared))
        cache = prefill(loaded, rendered[0].ids[:shared])
        for part in packed([len(prompt.ids) - shared for prompt in rendered]):
            batch = [rendered[index] for index in part]
            observer(layout.suffixes(batch, shared))
            for index, row in zip(part, last_logits(loaded, batch, shared=shared, cache=cache), strict=True):
                rows[index] = row
    return torch.stack([row for row in rows if row is not None])


class _Chosen:
    """Which rows and columns of the passes over one batch are edited; counts the columns that have gone by."""

    def __init__(self, chat: Chat, scope: Scope) -> None:
        self._chat = chat
        self._scope = scope
        self._mask: Tensor | None = None
        """[n, columns of the prompts] bool on the CPU."""
        self._passed: dict[Place, int] = {}
        """Columns of this batch that each place has seen."""

    def lay_out(self, laid_out: Layout) -> None:
        """A new batch: its prompts, and what the columns to come hold."""
        self._passed = {}
        if self._scope.everything:
            return
        rows = []
        for prompt, places in zip(laid_out.prompts, laid_out.index.tolist(), strict=True):
            tokens = self._scope.tokens(self._chat, prompt)
            rows.append([place != layout.PADDING and tokens[place] for place in places])
        self._mask = torch.tensor(rows, dtype=torch.bool).reshape(laid_out.index.shape)

    def only(self, place: Place, x: Tensor, edit: Edit) -> Tensor:
        """`x [rows, columns, d_model]` with the edit where it applies, and as it was elsewhere."""
        mask = self._next(place, x)
        if not mask.any():
            return x
        new = edit(x)
        if mask.all() or new.shape != x.shape:  # a wrong shape is named by whoever put the edit into place
            return new
        return torch.where(mask.to(x.device)[:, :, None], new, x)

    def _next(self, place: Place, x: Tensor) -> Tensor:
        """Where the next columns of a place are edited, [rows, columns] bool."""
        if self._mask is None:
            raise RequestError(
                f"an edit at {self._scope.positions} positions during {self._scope.during} has to be told which "
                "columns of a batch they are: pass the observer of applied() to complete(), or call it with a layout"
            )
        n, width = self._mask.shape
        start = self._passed.get(place, 0)
        end = self._passed[place] = start + x.shape[1]
        mask = self._mask[:, start:end]
        if end > width:
            # an answer grows by a token a pass; anything longer is a batch that nobody told of
            if start < width or x.shape[1] != 1:
                raise RequestError(
                    f"a pass of {x.shape[1]} columns where {max(width - start, 0)} of {width} were left of the batch "
                    "that was laid out: call the observer of applied() with the layout of each batch"
                )
            if len(x) <= n:  # rows whose answer has ended leave the batch
                return torch.full((len(x), 1), self._scope.answer)
        if len(x) == n:
            return mask
        if len(x) == 1 and (mask == mask[:1]).all():  # what all prompts share, run once
            return mask[:1]
        raise RequestError(f"a pass of {len(x)} rows where a batch of {n} prompts was laid out")
