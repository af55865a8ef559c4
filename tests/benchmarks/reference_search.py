"""The refusal-direction pipeline's search as published, in plain form: what our search is timed against.

Written from the definitions (Arditi et al. 2406.11717 §2.3-2.4 and appendix; the defaults of its released code). One
full forward pass of the transformers model per batch, candidate and score; the logits of every position are made and
the last one kept, and where a refusal score is read all of them are cast to float64 first; prompts padded on the left
in batches of 32 in their own order; three hooks a layer; edits in the model's dtype, scores in float64; every position
with every layer. The time of that cast, which nothing needs, is told apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from geoaudit.model.loaded import LoadedModel

BATCH = 32
Ids = Sequence[Sequence[int]]
Edit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Reference:
    """What the reference found: scores [P, L], NaN where a candidate was left out to save time."""

    norm: np.ndarray
    kl: np.ndarray
    bypass: np.ndarray
    induce: np.ndarray
    seconds_directions: float
    seconds_scores: float
    """For the candidates that were scored."""
    seconds_cast: float
    """Of these: casting the logits of all positions."""
    filtered: tuple[int, int, int, int]
    """Prompts used: harmful and harmless to train, harmful and harmless to validate."""

    @property
    def scored(self) -> int:
        """Candidates that were scored."""
        return int(np.isfinite(self.kl).sum())

    @property
    def seconds(self) -> float:
        """Of the whole search: directions, and scores of all candidates at the time that the scored ones took."""
        return self.seconds_directions + self.seconds_scores * self.kl.size / max(self.scored, 1)

    @property
    def seconds_without_cast(self) -> float:
        """The same without the cast of positions that are not read."""
        return self.seconds - self.seconds_cast * self.kl.size / max(self.scored, 1)

    def winner(self, kl_budget: float = 0.1, prune: float = 0.2) -> tuple[int, int] | None:
        """(position, layer) of least bypass among what is not late, costly or not inducing; None: nothing is left."""
        positions, layers = self.kl.shape
        left = [
            (self.bypass[p, layer], p - positions, layer)
            for p in range(positions)
            for layer in range(int(layers * (1 - prune)))
            if self.kl[p, layer] <= kl_budget and self.induce[p, layer] >= 0 and np.isfinite(self.bypass[p, layer])
        ]
        return min(left)[1:] if left else None

    def save(self, path: Path, key: str) -> None:
        """Keep the scores, with what they are of."""
        arrays = {name: getattr(self, name) for name in ("norm", "kl", "bypass", "induce", "filtered")}
        np.savez(path, key=key, seconds=[self.seconds_directions, self.seconds_scores, self.seconds_cast], **arrays)

    @classmethod
    def load(cls, path: Path, key: str) -> Reference:
        """Scores kept by `save`; raises ValueError where they are of something else."""
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                raise ValueError(f"{path} holds reference scores of another model, other prompts or another dtype")
            used = tuple(int(n) for n in stored["filtered"])
            scores = {name: stored[name] for name in ("norm", "kl", "bypass", "induce")}
            directions, scored, cast = (float(each) for each in stored["seconds"])
            return cls(**scores, seconds_directions=directions, seconds_scores=scored, seconds_cast=cast, filtered=used)


def search(
    loaded: LoadedModel,
    train: tuple[Ids, Ids],
    validation: tuple[Ids, Ids],
    refusal_ids: Sequence[int],
    *,
    n_post: int,
    every: int = 1,
    filtered: bool = False,
    said: Callable[[int, int], None] = lambda done, total: None,
) -> Reference:
    """The whole search on token ids.

    Args:
        loaded: the model; called as it is, but for the hooks.
        train: harmful and harmless prompts whose difference in means is taken.
        validation: harmful and harmless prompts that candidates are scored on.
        refusal_ids: the refusal tokens.
        n_post: post-instruction tokens, which are the positions.
        every: score every k-th candidate only.
        filtered: keep harmful prompts with a refusal score above 0 and harmless ones below, as the reference does.
        said: called with (candidates done, in all); what it does is not timed.
    """
    if filtered:
        train, validation = (
            (_keep(loaded, a, refusal_ids, 1), _keep(loaded, b, refusal_ids, -1)) for a, b in (train, validation)
        )
    harmful, harmless = validation
    started = time.perf_counter()
    directions = mean_activations(loaded, train[0], n_post) - mean_activations(loaded, train[1], n_post)
    seconds_directions = time.perf_counter() - started

    positions, layers, _ = directions.shape
    kl, bypass, induce = np.full((3, positions, layers), np.nan)
    started = time.perf_counter()
    base = last_logits(loaded, harmless)
    seconds_scores = time.perf_counter() - started
    cast = Cast()
    places = [divmod(index, layers) for index in range(0, positions * layers, every)]
    for done, (position, layer) in enumerate(places):
        r = directions[position, layer]
        started = time.perf_counter()
        with ablated(loaded, r):
            kl[position, layer] = kl_divergence(base, last_logits(loaded, harmless)).mean()
        with ablated(loaded, r):
            bypass[position, layer] = refusal_score(last_logits(loaded, harmful, cast), refusal_ids).mean()
        with added(loaded, r, layer):
            induce[position, layer] = refusal_score(last_logits(loaded, harmless, cast), refusal_ids).mean()
        seconds_scores += time.perf_counter() - started
        said(done + 1, len(places))
    return Reference(
        directions.norm(dim=-1).numpy(),
        kl,
        bypass,
        induce,
        seconds_directions,
        seconds_scores,
        cast.seconds,
        (len(train[0]), len(train[1]), len(harmful), len(harmless)),
    )


def _keep(loaded: LoadedModel, prompts: Ids, refusal_ids: Sequence[int], sign: int) -> Ids:
    scores = refusal_score(last_logits(loaded, prompts), refusal_ids)
    kept = [one for one, score in zip(prompts, scores.tolist(), strict=True) if sign * score > 0]
    if not kept:
        raise ValueError("the reference's filter leaves no prompt: this model refuses everything or nothing")
    return kept


def refusal_score(logits: Tensor, refusal_ids: Sequence[int]) -> Tensor:
    """Log-odds of the refusal tokens, [n] float64."""
    p = torch.softmax(logits.double(), dim=-1)[:, list(refusal_ids)].sum(dim=-1)
    return torch.log(p + 1e-8) - torch.log(1 - p + 1e-8)


def kl_divergence(base: Tensor, edited: Tensor) -> Tensor:
    """KL(base || edited), [n] float64."""
    p, q = (torch.softmax(each.double(), dim=-1) for each in (base, edited))
    return (p * (torch.log(p + 1e-6) - torch.log(q + 1e-6))).sum(dim=-1)


def _batches(loaded: LoadedModel, prompts: Ids) -> Iterator[dict[str, Tensor]]:
    pad = loaded.tokenizer.pad_token_id or 0
    for start in range(0, len(prompts), BATCH):
        batch = prompts[start : start + BATCH]
        width = max(map(len, batch))
        ids = [[pad] * (width - len(one)) + list(one) for one in batch]
        mask = [[0] * (width - len(one)) + [1] * len(one) for one in batch]
        yield {
            "input_ids": torch.tensor(ids, device=loaded.device),
            "attention_mask": torch.tensor(mask, device=loaded.device),
        }


class Cast:
    """Casts logits of all positions to float64, and counts the seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, logits: Tensor) -> Tensor:
        """[n, length, vocabulary] in float64."""
        started = time.perf_counter()
        made = logits.to(torch.float64)
        self.seconds += time.perf_counter() - started
        return made


@torch.no_grad()
def last_logits(loaded: LoadedModel, prompts: Ids, cast: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """Next-token logits [n, vocabulary]; `cast` sees those of all positions."""
    return torch.cat([cast(loaded.model(**batch).logits)[:, -1] for batch in _batches(loaded, prompts)])


@torch.no_grad()
def mean_activations(loaded: LoadedModel, prompts: Ids, n_post: int) -> Tensor:
    """Mean input of every block at the last `n_post` positions, [P, L, d] float64."""
    sums = torch.zeros(n_post, loaded.n_layers, loaded.d_model, dtype=torch.float64)

    def keep(layer: int) -> Edit:
        def look(x: Tensor) -> Tensor:
            sums[:, layer] += x[:, -n_post:].double().sum(dim=0).cpu() / len(prompts)
            return x

        return look

    with _hooks([(block, keep(layer)) for layer, block in enumerate(loaded.blocks)], []):
        for batch in _batches(loaded, prompts):
            loaded.model(**batch)
    return sums


@contextmanager
def ablated(loaded: LoadedModel, direction: Tensor) -> Iterator[None]:
    """Directional ablation: every block's input, every attention output, every MLP output; all positions."""
    unit = direction / (direction.norm() + 1e-8)
    row = loaded.architecture

    def without(x: Tensor) -> Tensor:
        r = unit.to(x)
        return x - (x @ r)[..., None] * r

    writers = [block.get_submodule(name) for block in loaded.blocks for name in (row.attention, row.mlp)]
    with _hooks([(block, without) for block in loaded.blocks], [(module, without) for module in writers]):
        yield


@contextmanager
def added(loaded: LoadedModel, direction: Tensor, layer: int) -> Iterator[None]:
    """Activation addition at its raw norm: the input of one block; all positions."""
    with _hooks([(loaded.blocks[layer], lambda x: x + direction.to(x))], []):
        yield


@contextmanager
def _hooks(inputs: list[tuple[nn.Module, Edit]], outputs: list[tuple[nn.Module, Edit]]) -> Iterator[None]:
    """Change the first input of some modules and the (first) output of others."""

    def before(edit: Edit):
        return lambda module, args, kwargs: (
            ((edit(args[0]), *args[1:]), kwargs)
            if args
            else (args, {**kwargs, "hidden_states": edit(kwargs["hidden_states"])})
        )

    def after(edit: Edit):
        return lambda module, args, out: (edit(out[0]), *out[1:]) if isinstance(out, tuple) else edit(out)

    handles = [module.register_forward_pre_hook(before(edit), with_kwargs=True) for module, edit in inputs]
    handles += [module.register_forward_hook(after(edit)) for module, edit in outputs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
