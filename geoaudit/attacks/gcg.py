"""GCG: a suffix that raises the likelihood of an affirmative answer, found token by token.

Zou et al. 2023 (arXiv 2307.15043), algorithm 1: the gradient of the target's loss for a one-hot choice of each of the
suffix's tokens names the most promising replacements; some are drawn, their losses are computed, and the best becomes
the new suffix. `step` is one such step for several behaviours in shared passes; `attack` runs it, and so does
adversarial training.

The loss of a state is that of its string as it is sent, tokenised from end to end: the candidates are (see
`candidates`), so loss and string cannot drift apart.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from geoaudit.attacks.candidates import Written, allowed, draw, replacements, seeded, write, written
from geoaudit.attacks.gcg_settings import GCG
from geoaudit.attacks.gradient import gradient
from geoaudit.attacks.scoring import Losses, Put, lowest, lowest_by_draft, out_of_memory
from geoaudit.attacks.target import Aim, Heads, suffixed, target_ids, text_losses
from geoaudit.attacks.trace import Progress, Step, Trace
from geoaudit.errors import BrokenCheckpoint, RequestError
from geoaudit.model.loaded import LoadedModel

__all__ = ["GCG", "State", "attack", "start", "step"]


@dataclass(frozen=True, slots=True)
class State:
    """Where the search for one behaviour stands."""

    aim: Aim
    suffix_ids: tuple[int, ...]
    """The suffix's tokens within the rendered prompt."""
    suffix: str
    loss: float
    """Of `suffixed(aim.request, suffix)`, end to end, nats; on the weights of the step that made it."""
    step: int = 0
    """Steps done."""
    matched: bool = False
    """Whether every token of the target is the likeliest at its place."""
    before: float | None = None
    """Loss of the string that the last step began with, on the weights of that step; None before the first."""


def start(loaded: LoadedModel, aims: Sequence[Aim], settings: GCG, initial: Sequence[str] | None = None) -> list[State]:
    """The states before the first step.

    Args:
        loaded: the model.
        aims: the behaviours.
        settings: of the search.
        initial: a suffix for each aim; None for the settings' own.

    Raises:
        RequestError: lists of different lengths, a suffix without a token, a model in training mode.
        BrokenCheckpoint: a loss is not finite.
    """
    return _start(loaded, aims, settings, initial)[0]


def step(
    loaded: LoadedModel,
    states: Sequence[State],
    settings: GCG,
    generator: torch.Generator | None = None,
    heads: Heads | None = None,
) -> list[State]:
    """One step for every state, their candidates in shared passes.

    The draws of a state depend on `generator.initial_seed()` (the settings' seed where there is none), its aim's id and
    its step, on nothing else; the generator is not advanced. In float32 a state's step does not depend on the others.

    Args:
        loaded: the model in eval mode. Its parameters, gradients and hooks are left as they are.
        states: of different behaviours or not, at any step.
        settings: of the search.
        generator: carries the seed.
        heads: of an earlier step on the same weights, whose keys and values of the requests this one then shares.

    Returns:
        The states after the step, in order. What did not move has its loss on the weights as they are.

    Raises:
        RequestError: the model is in training mode.
        BrokenCheckpoint: a loss is not finite.
    """
    seed = settings.seed if generator is None else generator.initial_seed()
    made = _step(loaded, states, settings, seed, same_weights=False, draft=None, heads=heads or Heads())
    return [state for state, _ in made]


def attack(
    loaded: LoadedModel,
    aims: Sequence[Aim],
    settings: GCG,
    *,
    progress: Progress | None = None,
    resume: Mapping[str, Trace] | None = None,
    source_model: str = "",
) -> list[Trace]:
    """GCG on several behaviours at once, `settings.steps` steps each or fewer.

    Args:
        loaded: the model.
        aims: behaviours with different ids.
        settings: of the search.
        progress: called after the start (step 0) and after each step.
        resume: traces of an earlier run with these settings, by the aim's id: they are gone on with from their last
            step, as if there had been no interruption.
        source_model: the model's name, for the traces.

    Returns:
        One trace an aim, in order; step 0 is the start.

    Raises:
        RequestError: two aims with one id; else, and BrokenCheckpoint, as `start` and `step`.
    """
    if len({aim.id for aim in aims}) != len(aims):
        raise RequestError(
            f"gcg: traces are told apart by the ids of their aims, and some of {len(aims)} aims share one"
        )
    begun_at = time.perf_counter()
    earlier = {aim.id: trace for aim in aims if (trace := (resume or {}).get(aim.id)) is not None}
    initial = [
        earlier[aim.id].last.text.removeprefix(suffixed(aim.request, "")) if aim.id in earlier else settings.initial
        for aim in aims
    ]
    states, tokens = _start(loaded, aims, settings, initial)
    steps: list[list[Step]] = []
    for i, aim in enumerate(aims):
        if aim.id in earlier:
            steps.append(list(earlier[aim.id].steps))
            states[i] = replace(states[i], step=earlier[aim.id].last.step)
        else:
            steps.append([_noted(states[i], (time.perf_counter() - begun_at) / len(aims), tokens[i])])

    def traces() -> list[Trace]:
        kept = asdict(settings)
        return [
            Trace("gcg", aim, source_model, kept, tuple(own), stopped="matched" if _done(state, settings) else "")
            for aim, state, own in zip(aims, states, steps, strict=True)
        ]

    draft = _draft(loaded) if settings.draft and loaded.dtype == torch.float32 else None
    heads = Heads()
    number = min((state.step for state in states), default=0)
    if progress is not None:
        progress(number, traces())
    while number < settings.steps:
        number += 1
        going = [i for i, state in enumerate(states) if state.step < number and not _done(state, settings)]
        if not going:
            if all(_done(state, settings) for state in states):
                break
            continue
        began = time.perf_counter()
        asked = [states[i] for i in going]
        made = _step(loaded, asked, settings, settings.seed, same_weights=True, draft=draft, heads=heads)
        seconds = (time.perf_counter() - began) / len(going)
        for i, (state, read) in zip(going, made, strict=True):
            states[i] = state
            steps[i].append(_noted(state, seconds, read))
        if progress is not None:
            progress(number, traces())
    return traces()


def _done(state: State, settings: GCG) -> bool:
    return settings.early_stop and state.matched


def _noted(state: State, seconds: float, tokens: int) -> Step:
    return Step(state.step, state.loss, suffixed(state.aim.request, state.suffix), seconds, tokens)


def _start(
    loaded: LoadedModel, aims: Sequence[Aim], settings: GCG, initial: Sequence[str] | None
) -> tuple[list[State], list[int]]:
    """The first states, and the tokens that were read for each."""
    suffixes = [settings.initial] * len(aims) if initial is None else list(initial)
    if len(suffixes) != len(aims):
        raise RequestError(f"gcg: one initial suffix for each aim, got {len(suffixes)} for {len(aims)} aims")
    _check_eval(loaded)
    texts = [write(loaded, aim.request, suffix) for aim, suffix in zip(aims, suffixes, strict=True)]
    found = text_losses(loaded, aims, [suffixed(aim.request, s) for aim, s in zip(aims, suffixes, strict=True)])
    states = [
        State(aim, text.ids, text.suffix, _finite(float(loss)), 0, bool(matched))
        for aim, text, loss, matched in zip(aims, texts, found.losses, found.matched, strict=True)
    ]
    return states, list(found.tokens)


def _step(
    loaded: LoadedModel,
    states: Sequence[State],
    settings: GCG,
    seed: int,
    *,
    same_weights: bool,
    draft: LoadedModel | None,
    heads: Heads,
) -> list[tuple[State, int]]:
    """One step, with the tokens that were read for each state; `same_weights`: the states' losses are of these."""
    if not states:
        return []
    _check_eval(loaded)
    try:
        return _step_together(loaded, states, settings, seed, same_weights, draft, heads)
    except RuntimeError as error:
        if len(states) == 1 or not out_of_memory(error):
            raise
    half = len(states) // 2
    parts = (states[:half], states[half:])
    made = []
    for part in parts:
        made += _step(loaded, part, settings, seed, same_weights=same_weights, draft=draft, heads=heads)
    return made


def _step_together(
    loaded: LoadedModel,
    states: Sequence[State],
    settings: GCG,
    seed: int,
    same_weights: bool,
    draft: LoadedModel | None,
    kept_heads: Heads,
) -> list[tuple[State, int]]:
    texts = [write(loaded, state.aim.request, state.suffix) for state in states]
    targets = [target_ids(loaded, state.aim.target) for state in states]
    heads, likes = kept_heads.of(loaded, [text.prompt[: text.first] for text in texts])
    puts = [
        Put(text.prompt, target, text.first if heads is not None else 0, like)
        for text, target, like in zip(texts, targets, likes, strict=True)
    ]
    spans = [(text.first, text.last) for text in texts]
    slopes, now, kept = gradient(loaded, puts, spans, heads)
    usable = allowed(loaded.tokenizer, ascii_only=settings.ascii_only).to(loaded.device)
    candidates: list[list[Written]] = []
    for state, text, slope in zip(states, texts, slopes, strict=True):
        drawn = draw(
            text.ids,
            replacements(slope, torch.tensor(text.ids, device=slope.device), usable, settings.topk).cpu(),
            settings.width,
            even=settings.positions == "even",
            n_replace=settings.n_replace,
            generator=seeded(seed, state.aim.id, state.step),
        )
        candidates.append(_sendable(loaded, text, state.aim.request, drawn, settings))
    groups = [
        [Put(one.prompt, targets[i], _shared(one.prompt, texts[i].prompt), i) for one in own]
        for i, own in enumerate(candidates)
    ]
    if draft is None:
        found = lowest(loaded, groups, now, kept, settings.share)
    else:
        found = lowest_by_draft(loaded, draft, groups, now, kept, settings.share)
    after = []
    for state, text, put, entropies, own, its in zip(states, texts, puts, now, candidates, found, strict=True):
        # on the same weights the loss is known, and from another pass it would differ by rounding
        now_loss = state.loss if same_weights else _finite(sum(entropies) / len(entropies))
        here = replace(state, suffix_ids=text.ids, loss=now_loss)
        after.append((_chosen(here, own, its, settings), put.length + sum(its.tokens)))
    return after


def _draft(loaded: LoadedModel) -> LoadedModel:
    """A copy of the model in bfloat16."""
    return LoadedModel(copy.deepcopy(loaded.model).to(torch.bfloat16), loaded.tokenizer, loaded.chat)


def _sendable(
    loaded: LoadedModel, base: Written, request: str, drawn: Sequence[tuple[int, ...]], settings: GCG
) -> list[Written]:
    """The candidates as they are sent: those that keep their tokens; without the filter, or if none does, all."""
    found = written(loaded, base, request, drawn)
    if settings.filter:
        same = [
            one
            for ids, one in zip(drawn, found, strict=True)
            if one is not None and one.prompt == (*base.prompt[: base.first], *ids, *base.prompt[base.last :])
        ]
        if same:
            return same
    unique = {one.prompt: one for one in found if one is not None}
    return list(unique.values())


def _chosen(state: State, own: Sequence[Written], found: Losses, settings: GCG) -> State:
    """The state after a step."""
    stay = replace(state, step=state.step + 1, before=state.loss)
    if not own:
        return stay
    ranked = found.losses.nan_to_num(torch.inf)
    if settings.early_stop and bool(found.matched.any()):
        ranked = ranked.where(found.matched, torch.inf)  # the search ends with a string that matches
    best = int(ranked.argmin())
    loss, matched = _finite(float(found.losses[best])), bool(found.matched[best])
    if settings.monotone and loss >= state.loss and not (settings.early_stop and matched):
        return stay
    return State(state.aim, own[best].ids, own[best].suffix, loss, state.step + 1, matched, state.loss)


def _shared(ids: tuple[int, ...], base: tuple[int, ...]) -> int:
    """How many of a prompt's leading ids are the base's; at most all but its last."""
    most = min(len(ids) - 1, len(base))
    return next((i for i in range(most) if ids[i] != base[i]), most)


def _finite(loss: float) -> float:
    if loss != loss or loss in (float("inf"), float("-inf")):
        raise BrokenCheckpoint(f"the loss of a target is {loss}: look for broken weights, or use float32")
    return loss


def _check_eval(loaded: LoadedModel) -> None:
    if loaded.model.training:
        raise RequestError("gcg runs on a model in eval mode, and this one is training: call model.eval() around it")
