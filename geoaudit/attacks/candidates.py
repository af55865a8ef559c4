"""Candidates of a GCG step: which tokens a suffix may be made of, which are drawn, and which of them can be sent.

A candidate is a list of tokens. What is sent is a text, and a text has the tokens that the tokenizer gives it: many
candidates fall apart into others when they are written out and read again, at the joins with the request and with the
template too. So every candidate is rendered as a whole prompt, and either dropped where that gives other tokens, or
taken with the tokens that it does give.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geoaudit.attacks.target import suffixed
from geoaudit.errors import RequestError
from geoaudit.model.loaded import LoadedModel


@dataclass(frozen=True, slots=True)
class Written:
    """A suffix in the prompt that it is sent in."""

    suffix: str
    prompt: tuple[int, ...]
    """Ids of the rendered prompt."""
    first: int
    """Index of the suffix's first token; a token that holds a part of the request too is not the suffix's."""
    last: int
    """Index behind the suffix's last token."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The suffix's tokens."""
        return self.prompt[self.first : self.last]


def write(loaded: LoadedModel, request: str, suffix: str) -> Written:
    """The prompt of a request with a suffix, tokenised from end to end.

    Raises:
        RequestError: the template does not render it, or the suffix has no token of its own or one of `control`.
    """
    rendered = loaded.chat.render(suffixed(request, suffix))
    first = _first(loaded, request, rendered.ids)
    if first > rendered.t_inst:
        raise RequestError(
            f"the suffix {suffix!r} has no token of its own behind the request {request[:60]!r}: begin with one that "
            "the tokenizer knows, such as '! ! ! !'"
        )
    one = Written(suffix, rendered.ids, first, rendered.t_inst + 1)
    if not control(loaded.tokenizer).isdisjoint(one.ids):
        raise RequestError(f"the suffix {suffix!r} has special tokens: an attack's text is what a user can type")
    return one


def written(loaded: LoadedModel, base: Written, request: str, drawn: Sequence[tuple[int, ...]]) -> list[Written | None]:
    """Candidates as they can be sent, in order; None for those that would put a special token into the prompt.

    Args:
        loaded: the model; its tokenizer and chat format are used.
        base: the suffix that the candidates were made from.
        request: the behaviour's text.
        drawn: token ids of each candidate, in place of `base.ids`.
    """
    own, *texts = loaded.tokenizer.batch_decode(
        [list(base.ids), *map(list, drawn)], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    # what of the suffix is in the last token of the request, which stays, and what of the template is in the suffix's
    # last token: nothing where a tokenizer keeps words apart
    ends = (end for end in (own, own.removeprefix(" ")) if end and base.suffix.endswith(end))
    lead = next((base.suffix.removesuffix(end) for end in ends), "")
    trail = own.removeprefix(" ").removeprefix(base.suffix) if own.removeprefix(" ").startswith(base.suffix) else ""
    special = control(loaded.tokenizer)
    found: list[Written | None] = []
    for text in texts:
        text = text.removesuffix(trail)
        suffix = lead + text if lead else text.removeprefix(" ")  # the blank between request and suffix
        try:
            rendered = loaded.chat.render(suffixed(request, suffix))
        except RequestError:  # the template does not leave it in one piece
            found.append(None)
            continue
        # as in `write`, and quicker: what a candidate shares with its base is known
        first = base.first if rendered.ids[: base.first] == base.prompt[: base.first] else None
        if first is None:
            first = _first(loaded, request, rendered.ids)
        one = Written(suffix, rendered.ids, first, rendered.t_inst + 1)
        found.append(one if one.ids and special.isdisjoint(one.ids) else None)
    return found


@functools.lru_cache(maxsize=8)
def control(tokenizer: Any) -> frozenset[int]:
    """Ids that no suffix may have: BOS, turn markers and their like. An unknown word is none of them."""
    marked = (token for token, about in tokenizer.added_tokens_decoder.items() if about.special)
    return frozenset({*tokenizer.all_special_ids, *marked} - {tokenizer.unk_token_id})


def allowed(tokenizer: Any, *, ascii_only: bool) -> Tensor:
    """Ids that a suffix may be made of, `[n]` int64, ascending: no special tokens, none without text.

    Args:
        tokenizer: of the model.
        ascii_only: printable ASCII only (as HarmBench and nanoGCG).

    Raises:
        RequestError: fewer than two are left.
    """
    ids = _allowed(tokenizer, ascii_only)
    if len(ids) < 2:
        raise RequestError(
            f"the tokenizer has {len(ids)} tokens that a suffix may be made of{' in ASCII' if ascii_only else ''}: "
            "nothing can be replaced"
        )
    return ids


def replacements(gradient: Tensor, current: Tensor, usable: Tensor, topk: int) -> Tensor:
    """The most promising tokens for each position: those with the most negative gradient.

    Args:
        gradient: of the loss, for a one-hot choice of each token at each position, `[L, vocabulary]`.
        current: tokens that stand there now, `[L]`; they are no replacement of themselves.
        usable: ids from `allowed`.
        topk: how many, at most.

    Returns:
        Ids `[L, k]` with k the smaller of `topk` and one less than there are usable ids.
    """
    scores = torch.full_like(gradient, torch.inf)
    scores[:, usable] = gradient[:, usable]
    scores.scatter_(1, current[:, None], torch.inf)
    return scores.topk(min(topk, len(usable) - 1), dim=-1, largest=False).indices


def draw(
    current: Sequence[int], choices: Tensor, width: int, *, even: bool, n_replace: int, generator: torch.Generator
) -> list[tuple[int, ...]]:
    """Candidates with `n_replace` tokens replaced; equal ones only once.

    Args:
        current: the suffix's L tokens.
        choices: ids that may replace each, `[L, k]`, on the CPU.
        width: candidates to draw.
        even: candidate i replaces the token at floor(i L / width), by another one of the k each time while they last
            (HarmBench's positions); otherwise positions are drawn without replacement and tokens uniformly (nanoGCG).
        n_replace: how many tokens; at most L are.
        generator: on the CPU.
    """
    length, k = choices.shape
    if even:
        positions = (torch.arange(width) * length // width)[:, None]
        ranks = torch.cat([_ranks(int(n), k, generator) for n in torch.bincount(positions[:, 0], minlength=length)])
        ranks = ranks[:, None]
    else:
        positions = torch.rand(width, length, generator=generator).argsort(dim=1)[:, : min(n_replace, length)]
        ranks = torch.randint(k, positions.shape, generator=generator)
    drawn = torch.tensor(list(current)).repeat(width, 1).scatter_(1, positions, choices[positions, ranks])
    return list(dict.fromkeys(map(tuple, drawn.tolist())))


def seeded(seed: int, *names: object) -> torch.Generator:
    """A generator on the CPU that depends on the seed and these names only."""
    named = hashlib.sha256(":".join(map(str, (seed, *names))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(named[:8], "big") % 2**63)


def _ranks(n: int, k: int, generator: torch.Generator) -> Tensor:
    """Draw n numbers below k, each as often as the others until they are used up."""
    rounds = [torch.randperm(k, generator=generator) for _ in range(-(-n // k))]
    return torch.cat(rounds)[:n] if rounds else torch.empty(0, dtype=torch.long)


def _first(loaded: LoadedModel, request: str, ids: tuple[int, ...]) -> int:
    """Index of the first token that holds nothing of the request, in a prompt that goes on behind it."""
    alone = loaded.chat.render(request)
    end = alone.t_inst + 1
    same = next((i for i in range(end) if i >= len(ids) or ids[i] != alone.ids[i]), end)
    return same if same == end else same + 1  # a token that holds the request's end and more belongs to neither


@functools.lru_cache(maxsize=8)
def _allowed(tokenizer: Any, ascii_only: bool) -> Tensor:
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    plain = [token for token in sorted(set(tokenizer.get_vocab().values())) if token not in special]
    # at once, in the tokenizers library: one by one the words of a large vocabulary take seconds
    texts = tokenizer.backend_tokenizer.decode_batch([[token] for token in plain], skip_special_tokens=False)
    return torch.tensor(
        [
            token
            for token, text in zip(plain, texts, strict=True)
            if text and (not ascii_only or (text.isascii() and text.isprintable()))
        ],
        dtype=torch.long,
    )
