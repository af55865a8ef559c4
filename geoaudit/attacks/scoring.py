"""How likely targets are behind prompts, for many rows at once: sums of their tokens' cross-entropies.

Rows are run in passes of about equal length, and only the positions that predict a target's tokens get logits. Where
the lowest of many losses is wanted (`lowest`), the targets are read in two stages: the first tokens, in which
candidates differ most, for all of them, and the rest for those that did best so far.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geoaudit.attacks.passes import Kept, Row, joined, run
from geoaudit.model.attention import can_pack
from geoaudit.model.loaded import LoadedModel

TOKENS_ON_CPU = 2048
"""Tokens in a pass, about: enough to keep the cores busy, and little enough for their caches."""
TOKENS_ON_ACCELERATOR = 32 * 1024
POSITIONS_ON_CPU = 512
"""Positions whose logits are made at once."""
POSITIONS_ON_ACCELERATOR = 2048
POSITIONS_IN_CACHE = 32
"""Positions whose logits are turned into losses at once on a CPU: a copy in float32 that stays in its cache."""
SURE = 0.6
"""The first stage ends with the token at which the known text's cross-entropies add up to this share of all. With a
quarter of 64 candidates read on, what was chosen in 36 steps (six behaviours, SmolLM2-135M) was the best of all in 32,
within 0.002 nats of it in 35, and 0.04 worse in one; reading all to the end takes 1.4 times as long."""
DRAFTED = 1 / 8
"""Of the candidates that a draft ranks, the share whose losses the model itself computes. Bfloat16 moves a loss by
about a hundredth, which is less than what lies between the best candidate and the best eighth's last."""
LEAST_SAVED = 64
"""Tokens that two stages must save in a group: its share, about, of what the further pass costs. Each group decides for
itself, so that what is found for it does not depend on the others."""


@dataclass(frozen=True, slots=True)
class Put:
    """A prompt with a target behind it, and how far a pass goes."""

    prompt: tuple[int, ...]
    """Ids of the rendered prompt."""
    target: tuple[int, ...]
    """Ids of the target."""
    begins: int = 0
    """How many of the leading ids a kept row holds; less than the prompt's and the first `since` of the target's."""
    like: int = 0
    """Index of that row."""
    since: int = 0
    """First token of the target that is scored."""
    until: int | None = None
    """The one behind the last that is scored; None for the end."""

    @property
    def end(self) -> int:
        """`until`, as a number."""
        return len(self.target) if self.until is None else self.until

    @property
    def row(self) -> Row:
        """The tokens that have to be run: up to the one that predicts the last scored."""
        ids = (*self.prompt, *self.target[: self.end - 1])
        return Row(ids[self.begins :], self.begins, self.like)

    @property
    def length(self) -> int:
        """Number of those tokens."""
        return len(self.prompt) + self.end - 1 - self.begins


@dataclass(frozen=True, slots=True)
class Scores:
    """Of n rows, on the CPU."""

    sums: Tensor
    """Cross-entropies of the scored tokens, added up, nats, `[n]` float32."""
    hits: Tensor
    """How many of them are the likeliest token at their place, `[n]` float32."""
    tokens: tuple[int, ...]
    """Tokens of each row that the model read."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Of n rows, on the CPU."""

    losses: Tensor
    """Mean cross-entropy of the target's tokens, nats, `[n]` float32; infinite for a row that was given up."""
    matched: Tensor
    """Whether every token of the target is the likeliest at its place, `[n]` bool."""
    tokens: tuple[int, ...]
    """Tokens of each row that the model read."""


def scored(hidden: Tensor, puts: Sequence[Put]) -> tuple[Tensor, Tensor, Tensor]:
    """The outputs that predict the scored tokens.

    Args:
        hidden: `[n, length, d_model]`, of `run` over each put's `row`.
        puts: n rows.

    Returns:
        Outputs `[positions, d_model]`, the tokens' ids `[positions]` and the row of each `[positions]`.
    """
    places = [
        (r, len(put.prompt) - 1 + t - put.begins, put.target[t])
        for r, put in enumerate(puts)
        for t in range(put.since, put.end)
    ]
    rows, columns, ids = torch.tensor(places, device=hidden.device).T
    return hidden[rows, columns], ids, rows


@torch.no_grad()
def scores(
    loaded: LoadedModel,
    puts: Sequence[Put],
    kept: Kept | None,
    harvest: Callable[[list[int], Tensor, Kept], None] | None = None,
) -> Scores:
    """Scores of n rows, in passes of about equally long ones; a pass that does not fit into memory is halved.

    Args:
        loaded: the model.
        puts: the rows, in any order.
        kept: what they begin with.
        harvest: given the indices, sums and keys and values of the rows of each pass.
    """
    sums, hits = torch.empty(len(puts)), torch.empty(len(puts))
    most = len(puts)
    waiting = list(_packed(loaded, puts))[::-1]
    while waiting:
        batch = waiting.pop()
        if len(batch) > most:
            waiting += [batch[most:], batch[:most]]
            continue
        try:
            sums[batch], hits[batch], held = _pass(loaded, [puts[i] for i in batch], kept, harvest is not None)
        except RuntimeError as error:
            if len(batch) == 1 or not out_of_memory(error):
                raise
            most = len(batch) // 2  # the half of what did not fit, from here on
            waiting.append(batch)
            continue
        if harvest is not None:
            harvest(batch, sums[batch], held)
    return Scores(sums, hits, tuple(put.length for put in puts))


def losses(loaded: LoadedModel, puts: Sequence[Put], kept: Kept | None) -> Losses:
    """Losses of n prompts and their whole targets."""
    found = scores(loaded, puts, kept)
    counts = torch.tensor([float(len(put.target)) for put in puts])
    return Losses(found.sums / counts, found.hits == counts, found.tokens)


def lowest(
    loaded: LoadedModel, groups: Sequence[Sequence[Put]], known: Sequence[Sequence[float]], kept: Kept, share: float
) -> list[Losses]:
    """Losses of the rows of each group that may have its lowest one.

    Args:
        loaded: the model.
        groups: of each behaviour, candidates with one target.
        known: of each behaviour, the cross-entropies of the target's tokens behind the text they were made from. They
            say where the first stage ends: in its first `SURE` of them, candidates' sums differ most.
        kept: what the rows begin with.
        share: of a group's rows, how many reach the second stage; 1 reads all targets to their ends.

    Returns:
        Of each group, in its order.
    """
    rows = [put for group in groups for put in group]
    owner = [g for g, group in enumerate(groups) for _ in group]
    lengths = torch.tensor([float(len(put.target)) for put in rows])
    most = [max(1, math.ceil(share * len(group))) for group in groups]
    cuts = [_cut(entropies, len(group) - n) for entropies, group, n in zip(known, groups, most, strict=True)]
    first = [replace(put, until=cuts[g]) for put, g in zip(rows, owner, strict=True)]
    best: list[Tensor] = [torch.empty(0)] * len(groups)
    pool: list[tuple[list[int], Kept]] = []

    def harvest(batch: list[int], sums: Tensor, held: Kept) -> None:
        """Keep the rows that are among their group's best so far: in the end the best of all are among them."""
        sums = sums.nan_to_num(torch.inf)
        for g in {owner[i] for i in batch}:
            own = torch.tensor([owner[i] == g for i in batch])
            best[g] = torch.cat([best[g], sums[own]]).sort().values[: most[g]]
        chosen = [
            r for r, i in enumerate(batch) if sums[r] <= best[owner[i]][-1] and first[i].end < len(rows[i].target)
        ]
        if chosen:
            pool.append(([batch[r] for r in chosen], held.take(chosen)))

    begun = scores(loaded, first, kept, harvest if any(put.end < len(put.target) for put in first) else None)
    sums, hits, tokens = begun.sums, begun.hits, list(begun.tokens)
    finished = torch.tensor([put.end == len(put.target) for put in first], dtype=torch.bool)  # even of none
    parts, second, on = [], [], []
    for indices, held in pool:
        still = [n for n, i in enumerate(indices) if sums[i] <= best[owner[i]][-1]]  # others came to be better
        if still:
            parts.append(held.take(still))
            on += [indices[n] for n in still]
    for like, i in enumerate(on):
        put, cut = rows[i], first[i].end
        second.append(Put(put.prompt, put.target, len(put.prompt) + cut - 1, like, cut))
    if second:
        ended = scores(loaded, second, joined(parts))
        sums[on] += ended.sums
        hits[on] += ended.hits
        finished[on] = True
        for i, read in zip(on, ended.tokens, strict=True):
            tokens[i] += read
    found = Losses((sums / lengths).where(finished, torch.inf), (hits == lengths) & finished, tuple(tokens))
    return _split(found, groups)


def lowest_by_draft(
    loaded: LoadedModel,
    draft: LoadedModel,
    groups: Sequence[Sequence[Put]],
    known: Sequence[Sequence[float]],
    kept: Kept,
    share: float,
) -> list[Losses]:
    """As `lowest`, but ranked by a cheaper copy of the model; the best `DRAFTED` of each group get its own losses."""
    ranked = lowest(draft, groups, known, kept.to(draft.dtype), share)
    best = [own.losses.nan_to_num(torch.inf).argsort()[: math.ceil(DRAFTED * len(own.losses))] for own in ranked]
    exact = losses(loaded, [group[i] for group, own in zip(groups, best, strict=True) for i in own.tolist()], kept)
    found, at = [], 0
    for own, chosen in zip(ranked, best, strict=True):
        mine = slice(at, at := at + len(chosen))
        values, matched = torch.full_like(own.losses, torch.inf), torch.zeros_like(own.matched)
        values[chosen], matched[chosen] = exact.losses[mine], exact.matched[mine]
        tokens = list(own.tokens)
        for i, read in zip(chosen.tolist(), exact.tokens[mine], strict=True):
            tokens[i] += read
        found.append(Losses(values, matched, tuple(tokens)))
    return found


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocator said no: CUDA's has a type of its own, the others only a text."""
    said = ("DefaultCPUAllocator", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)


def _cut(entropies: Sequence[float], given_up: int) -> int:
    """How many of a target's tokens the first stage reads, if `given_up` rows do not reach the second."""
    wanted, so_far = SURE * sum(entropies), 0.0
    for count, entropy in enumerate(entropies, 1):
        so_far += entropy
        if so_far >= wanted:
            return count if given_up * (len(entropies) - count) >= LEAST_SAVED else len(entropies)
    return len(entropies)


def _split(found: Losses, groups: Sequence[Sequence[Put]]) -> list[Losses]:
    """The losses of each group, from those of all their rows in order."""
    ends = list(itertools.accumulate(len(group) for group in groups))
    slices = [slice(end - len(group), end) for group, end in zip(groups, ends, strict=True)]
    return [Losses(found.losses[one], found.matched[one], found.tokens[one]) for one in slices]


def _pass(loaded: LoadedModel, puts: Sequence[Put], kept: Kept | None, keep: bool) -> tuple[Tensor, Tensor, Kept]:
    """Sums and hits of one pass, `[n]` each on the CPU, and its keys and values."""
    hidden, held = run(loaded, [put.row for put in puts], kept, keep=keep)
    outputs, ids, rows = scored(hidden, puts)
    at_once = POSITIONS_ON_CPU if hidden.device.type == "cpu" else POSITIONS_ON_ACCELERATOR
    entropies, likeliest = [], []
    for first in range(0, len(ids), at_once):
        made = loaded.logits(outputs[first : first + at_once])
        step = POSITIONS_IN_CACHE if made.device.type == "cpu" else at_once
        for part, wanted in zip(torch.split(made, step), torch.split(ids[first : first + at_once], step), strict=True):
            logits = part.float()
            entropies.append(torch.nn.functional.cross_entropy(logits, wanted, reduction="none"))
            likeliest.append((logits.argmax(dim=-1) == wanted).float())
    empty = torch.zeros(len(puts), device=hidden.device)
    sums, hits = (empty.index_add(0, rows, torch.cat(parts)) for parts in (entropies, likeliest))
    return sums.cpu(), hits.cpu(), held


def _packed(loaded: LoadedModel, puts: Sequence[Put]) -> Iterator[list[int]]:
    """Indices of the rows of each pass: neighbours in length, and not too many tokens.

    Padding counts where the model pads. Shorter passes with less of it are no faster: 1,000 tokens take more than half
    the time of 2,000.
    """
    most = TOKENS_ON_CPU if loaded.device.type == "cpu" else TOKENS_ON_ACCELERATOR
    packs = can_pack(loaded)
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(puts)), key=lambda i: (puts[i].length, puts[i].begins)):
        length = puts[index].length
        tokens = tokens + length if packs else (len(batch) + 1) * length
        if batch and tokens > most:
            yield batch
            batch, tokens = [], length
        batch.append(index)
    if batch:
        yield batch
