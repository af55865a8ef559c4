"""Forward passes over the validation prompts under edits, many candidates at once: where a search spends its time.

Four things make them cheap; none changes what is computed, only the order of floating-point sums:

* The prefix that all prompts share (system prompt, template) is computed once a candidate and not once a prompt. A
  causal model's keys and values of the prefix do not depend on what follows.
* Logits are made at the last position only, and so is what the last block's MLP adds. Both act on each position alone.
* Several candidates share a pass, each with its own edit on its own rows of the batch. Rows do not see each other.
* An edit at one layer leaves everything before it as it was, so the pass starts at that layer from the stream that
  the unedited model has there. Kept for every layer: n · length · d_model · layers values.

An edit is a function on `[C, tokens, d_model]`, row c being the stream of candidate c.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geoaudit.interventions.edits import ablate, ablate_subspace, add, affine
from geoaudit.model.attention import short_rows
from geoaudit.model.batches import packed, shared_prefix
from geoaudit.model.chat import Rendered
from geoaudit.model.hooks import Edit, Place, captured, edited, skipped_below
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.prefix import last_index, prefill

MOST_STREAM_BYTES = 2 * 1024**3
"""Of the unedited stream; beyond it single-layer edits run from the first layer."""


@dataclass(frozen=True, eq=False)
class Read:
    """What is read of C candidates on m prompts."""

    logits: Tensor
    """[C, m, vocabulary] float32 at the last position, on the CPU."""
    low: Tensor
    """[C, m, d_model] float64: block outputs at the last position, averaged over COSMIC's layers."""


class Passes:
    """One model and one list of prompts."""

    def __init__(self, loaded: LoadedModel, rendered: Sequence[Rendered], low_layers: Sequence[int]) -> None:
        self.loaded = loaded
        self.rendered = list(rendered)
        self.low_layers = tuple(low_layers)
        self.shared = shared_prefix(rendered)
        self._streams: dict[int, Tensor] = {}
        """Layer -> [n, longest suffix, d_model] of the unedited model."""
        self._prefix_streams: dict[int, Tensor] = {}
        """Layer -> [1, shared, d_model]."""
        self._prefix_cache: Any = None
        self._plain_low: dict[int, Tensor] = {}
        """Low layer -> [n, d_model] float64 of the unedited model."""
        self.plain = self._plain()

    @property
    def n(self) -> int:
        """Prompts."""
        return len(self.rendered)

    # --- edits ------------------------------------------------------------------------------------------------------

    def ablated(
        self, directions: Tensor, prompts: Sequence[int], *, spare_first: bool = False, prefix: Any = None
    ) -> Read:
        """Directional ablation wherever the stream is written: [C, d] directions on m of the prompts.

        The embedding and every attention and MLP output are edited; the input of a block is their sum and needs no
        edit of its own (rounding aside).

        Args:
            directions: [C, d_model], any norm but zero.
            prompts: indices of the prompts.
            spare_first: leave token 0, the attention sink, as it is (scope `every_site_but_first_token`).
            prefix: of `prefix`, where the same candidates are asked again.
        """
        r = directions[:, None, :].to(self.loaded.device)
        return self._everywhere(lambda x: ablate(x, r), len(r), prompts, spare_first, prefix)

    @torch.no_grad()
    def prefix(self, directions: Tensor, *, spare_first: bool = False) -> Any:
        """Keys and values of the shared prefix under `ablated`, for passes to come; None where nothing is shared."""
        r = directions[:, None, :].to(self.loaded.device)
        edit = by_candidate(lambda x: ablate(x, r), len(r), spare_first=spare_first)
        with edited(self.loaded, dict.fromkeys(self._written(), edit)):
            return self._prefill(len(r))

    def ablated_subspaces(self, bases: Tensor, doses: Tensor, prompts: Sequence[int]) -> Read:
        """Subspace ablation wherever the stream is written: orthonormal [C, k, d] with doses [C]."""
        rows, dose = bases.to(self.loaded.device), doses[:, None, None].to(self.loaded.device)
        return self._everywhere(lambda x: ablate_subspace(x, rows, dose), len(rows), prompts)

    def added(self, vectors: Tensor, layer: int, prompts: Sequence[int], *, spare_first: bool = False) -> Read:
        """Activation addition at resid_pre of one layer, all positions: [C, d] vectors at the norm they have."""
        r = vectors[:, None, :].to(self.loaded.device)
        return self._from_layer(lambda x: add(x, r), layer, len(r), prompts, spare_first)

    def ablated_at_layer(self, directions: Tensor, layer: int, prompts: Sequence[int]) -> Read:
        """Directional ablation at resid_pre of one layer only (paper 1's hook): [C, d] directions."""
        r = directions[:, None, :].to(self.loaded.device)
        return self._from_layer(lambda x: ablate(x, r), layer, len(r), prompts)

    def affine(
        self,
        directions: Tensor,
        means: Tensor,
        coefficient: float,
        layer: int,
        prompts: Sequence[int],
        *,
        spare_first: bool = False,
    ) -> Read:
        """COSMIC's affine edit at resid_pre of one layer: [C, d] directions and harmless means [C, d]."""
        r, mu = (each[:, None, :].to(self.loaded.device) for each in (directions, means))
        return self._from_layer(lambda x: affine(x, r, mu, coefficient), layer, len(r), prompts, spare_first)

    def under(self, edit: Edit, copies: int, prompts: Sequence[int], *, layer: int | None, spare_first: bool) -> Read:
        """Any edit on [C, tokens, d], wherever the stream is written (`layer` None) or at resid_pre of one layer."""
        if layer is None:
            return self._everywhere(edit, copies, prompts, spare_first)
        return self._from_layer(edit, layer, copies, prompts, spare_first)

    # --- passes -----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _plain(self) -> Read:
        """No edit, all prompts; keeps what later passes start from."""
        loaded = self.loaded
        width = max(len(prompt.ids) for prompt in self.rendered) - self.shared
        places: list[Place] = [("resid_pre", layer) for layer in range(loaded.n_layers)]
        size = len(places) * self.n * width * loaded.d_model * torch.finfo(loaded.dtype).bits // 8
        if size > MOST_STREAM_BYTES:
            places = []
        with captured(loaded, places) as seen:
            self._prefix_cache = prefill(loaded, self.rendered[0].ids[: self.shared])
            self._prefix_streams = {layer: seen[(site, layer)] for site, layer in places} if self.shared else {}
        for _, layer in places:
            self._streams[layer] = torch.zeros(self.n, width, loaded.d_model, dtype=loaded.dtype, device=loaded.device)

        for layer in self.low_layers:
            self._plain_low[layer] = torch.zeros(self.n, loaded.d_model, dtype=torch.float64)

        def keep(rows: Sequence[int], found: Mapping[Place, Tensor], low: Mapping[int, Tensor]) -> None:
            for place in places:
                self._streams[place[1]][rows, : found[place].shape[1]] = found[place]
            for layer, values in low.items():
                self._plain_low[layer][rows] = values

        return self._run(1, range(self.n), lambda rows: captured(loaded, places), self._prefix_cache, keep=keep)

    def _written(self) -> list[Place]:
        """Where the stream is written: the embedding, and what attention and MLP add."""
        places: list[Place] = [("resid_pre", 0)]
        for layer in range(self.loaded.n_layers):
            places += [("attn_out", layer), ("mlp_out", layer)]
        return places

    @torch.no_grad()
    def _everywhere(
        self, edit: Edit, copies: int, prompts: Sequence[int], spare_first: bool = False, prefix: Any = None
    ) -> Read:
        places = self._written()
        if prefix is None and self.shared:
            in_prefix = by_candidate(edit, copies, spare_first=spare_first)
            with edited(self.loaded, dict.fromkeys(places, in_prefix)):
                prefix = self._prefill(copies)
        sparing = spare_first and not self.shared
        behind = by_candidate(edit, copies, spare_first=sparing)
        return self._run(
            copies, prompts, lambda rows: edited(self.loaded, dict.fromkeys(places, behind)), prefix, sparing=sparing
        )

    @torch.no_grad()
    def _from_layer(
        self, edit: Edit, layer: int, copies: int, prompts: Sequence[int], spare_first: bool = False
    ) -> Read:
        loaded = self.loaded
        place: Place = ("resid_pre", layer)
        in_prefix = by_candidate(edit, copies, spare_first=spare_first)
        behind = by_candidate(edit, copies, spare_first=spare_first and not self.shared)
        if not self._streams:
            with edited(loaded, {place: in_prefix}):
                cache = self._prefill(copies)
            return self._run(copies, prompts, lambda rows: edited(loaded, {place: behind}), cache)

        def known(stream: Tensor, change: Edit) -> Edit:
            """In place of whatever arrives at the layer: the unedited stream there, once a candidate, and the edit."""
            return lambda arrived: change(stream.repeat(copies, 1, 1)[:, : arrived.shape[1]])

        with skipped_below(loaded, layer):
            cache = None
            if self.shared:
                with edited(loaded, {place: known(self._prefix_streams[layer], in_prefix)}):
                    cache = self._prefill(copies)
                plain = _rows(self._prefix_cache, copies)
                cache.layers[:layer] = plain.layers[:layer]
            return self._run(
                copies,
                prompts,
                lambda rows: edited(loaded, {place: known(self._streams[layer][rows], behind)}),
                cache,
                start=layer,
            )

    def _prefill(self, copies: int) -> Any:
        """Keys and values of the prefix under the active edits, one row a candidate; None where nothing is shared."""
        if not self.shared:
            return None
        ids = torch.tensor([self.rendered[0].ids[: self.shared]] * copies, device=self.loaded.device)
        return self.loaded.decoder(input_ids=ids, use_cache=True).past_key_values

    def _run(
        self,
        copies: int,
        prompts: Sequence[int],
        context: Callable[[Sequence[int]], AbstractContextManager[Any]],
        cache: Any,
        *,
        start: int = 0,
        sparing: bool = False,
        keep: Callable[[Sequence[int], Mapping[Place, Tensor], Mapping[int, Tensor]], None] | None = None,
    ) -> Read:
        """The suffixes of m prompts for each candidate, in batches of like length; `context` is entered around each.

        Blocks before `start` are skipped: their outputs are those of the unedited model. `sparing`: the edit tells
        tokens apart by their place, so every block has to run on all of them.
        """
        loaded = self.loaded
        places: list[Place] = [("resid_post", layer) for layer in self.low_layers]
        logits: list[Tensor | None] = [None] * len(prompts)
        low: list[Tensor | None] = [None] * len(prompts)
        for where in packed([len(self.rendered[i].ids) - self.shared for i in prompts], copies):
            part = [prompts[column] for column in where]
            batch = [self.rendered[i] for i in part]
            last = last_index(batch, self.shared).repeat(copies).to(loaded.device)
            rows = torch.arange(len(last), device=loaded.device)
            past = None if cache is None else _rows(cache, len(batch) * (copies // _batch_of(cache)))
            tokens = self._suffixes(batch).repeat(copies, 1)
            reading = captured(loaded, places, keep=_at(rows, last))
            ending = nullcontext() if sparing else self._ends_at(rows, last)
            with context(part) as seen, reading as at_last, short_rows(loaded), ending:
                outputs = loaded.decoder(
                    input_ids=tokens.to(loaded.device), past_key_values=past, use_cache=past is not None
                )
            at_low = {
                layer: self._plain_low[layer][part].repeat(copies, 1)
                if layer < start
                else at_last[("resid_post", layer)].double().cpu()
                for layer in self.low_layers
            }
            if keep is not None:
                keep(part, seen, at_low)
            made = loaded.logits(outputs.last_hidden_state[rows, last]).float().cpu().reshape(copies, len(batch), -1)
            read = torch.stack(list(at_low.values())).mean(dim=0).reshape(copies, len(batch), -1)
            for row, column in enumerate(where):
                logits[column], low[column] = made[:, row], read[:, row]
        return Read(
            torch.stack([one for one in logits if one is not None], dim=1),
            torch.stack([one for one in low if one is not None], dim=1),
        )

    @contextmanager
    def _ends_at(self, rows: Tensor, last: Tensor) -> Iterator[None]:
        """The last block's MLP runs at the last token of each row only: nothing behind it looks at the others.

        What it adds to them is the last token's, and means nothing.
        """
        mlp = self.loaded.blocks[-1].get_submodule(self.loaded.architecture.mlp)
        handle = mlp.register_forward_pre_hook(lambda module, given: (given[0][rows, last][:, None], *given[1:]))
        try:
            yield
        finally:
            handle.remove()

    def _suffixes(self, batch: Sequence[Rendered]) -> Tensor:
        suffixes = [prompt.ids[self.shared :] for prompt in batch]
        width = max(map(len, suffixes))
        return torch.tensor([[*suffix, *[suffix[-1]] * (width - len(suffix))] for suffix in suffixes])


def by_candidate(edit: Edit, copies: int, *, spare_first: bool = False) -> Edit:
    """An edit on [C, tokens, d] for a stream [C · m, length, d]; the rows of a candidate are neighbours."""

    def apply(x: Tensor) -> Tensor:
        new = edit(x.reshape(copies, -1, x.shape[-1])).reshape(x.shape)
        return torch.cat([x[:, :1], new[:, 1:]], dim=1) if spare_first else new

    return apply


def _at(rows: Tensor, columns: Tensor) -> Callable[[Tensor], Tensor]:
    """Pick one position of each row of `[n, length, d_model]`."""
    return lambda stream: stream[rows, columns]


def narrowed(prefix: Any, kept: Sequence[int]) -> Any:
    """A prefix (`Passes.prefix`) for some of its candidates only."""
    if prefix is None:
        return None
    new = _view(prefix)
    new.batch_select_indices(torch.tensor(list(kept), device=new.layers[0].keys.device))
    return new


def _rows(cache: Any, copies: int) -> Any:
    """A cache with each of its rows `copies` times, to be written on."""
    new = _view(cache)
    if copies > 1:
        new.batch_repeat_interleave(copies)
    return new


def _view(cache: Any) -> Any:
    """A cache of its own on the same keys and values, which a cache that grows never writes into but replaces."""
    new = copy.copy(cache)
    new.layers = [copy.copy(layer) for layer in cache.layers]
    return new


def _batch_of(cache: Any) -> int:
    """Rows that a cache holds."""
    return int(next(layer.keys.shape[0] for layer in cache.layers if layer.is_initialized))
