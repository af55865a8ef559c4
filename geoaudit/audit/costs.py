"""What fulfilling needs costs: prompts, tokens and passes, before anything is loaded.

Token counts are estimates from characters; times come from what this machine was measured to do with a model of this
size, or from a rule of thumb where it never was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from geoaudit.attacks.gcg_settings import GCG
from geoaudit.audit.order import PHASES, Node
from geoaudit.audit.plan import cases_of, sources
from geoaudit.measures.asking import title
from geoaudit.measures.inputs import Source, load_source
from geoaudit.measures.needs import (
    DIRECT,
    Beliefs,
    CandidateSearch,
    Categories,
    Cells,
    Completions,
    CosineProfiles,
    Damage,
    EditedCompletions,
    Examination,
    Intervention,
    Inversion,
    Judged,
    Need,
    Optimised,
    Projections,
    SubspaceAblation,
    Transfer,
)

CHARACTERS_PER_TOKEN = 4.2
TEMPLATE_TOKENS = 35
POST_TOKENS = 15
"""Of a template: behind the instruction, where the part before it is computed once for all prompts."""
JUDGE_TEMPLATE_TOKENS = 350
TYPICAL_POSITIONS = 5
GREEDY_STEP = 4.0
"""A generated token costs about this many prefill tokens when 64 prompts share a step (measured on two CPU cores)."""
EDITED_STEP = 1.1
"""How much longer such a step takes where the stream is edited wherever it is written (SmolLM2-135M, one core: 1.03 to
1.10)."""
SCORED_IN_FULL = 1 / 3
"""Share of the candidates whose KL does not already rule them out."""
CONTROLS, DOSES, FROM_ITS_LAYER = 20, 6, 0.6
"""Controls of one direction, passes until each has its dose, and the share of the layers that an addition runs."""
SCOPES = 4
RANKS, RANK_DOSES, MATCHED_ON = 4, 5, 8
"""Sizes of subspace, and passes over eight prompts until each control of one has its dose."""
WORDINGS, QUESTION_TOKENS, MOST_MATCHED = 3, 45, 900
"""Of the reply-inversion task; prompt tokens on which the doses of its controls are matched, at most."""
BESIDE = 20
"""Controls of an intervention that are shown beside the KL-matched ones, about."""
ANSWER_TOKENS, DAMAGE_EDITS, DAMAGE_WRITERS = 30, 1 + 8, 1 + 4
"""Tokens of an answer that are read under an edit, edits under which they are, and those that write answers too."""
ANSWER_PLACE = 3.0
"""A place where a distribution is compared costs about this many prefill tokens."""
PROFILES = 1 + 2 * (1 + CONTROLS)
"""Passes of cosine profiles: without an edit, and with either direction or one of its controls ablated."""
SUFFIX_TOKENS, TARGET_TOKENS, BACKWARD = 20, 18, 3
"""Of `gcg`: tokens of a suffix and of a target, and what a gradient costs in forward passes."""
READ_OF_ALL = 0.5
"""Of a target, the share that is read behind every candidate of `gcg`; the rest only behind the best `share` of them
(SmolLM2-135M, the first step on 12 requests: 0.18 to 0.88, in the mean 0.47)."""
READABLE_TOKENS = 350
"""Of a prompt that `autodan` makes around a request."""
ADDED = {"gcg": SUFFIX_TOKENS, "autodan": READABLE_TOKENS}
"""What an adaptive attack adds to a request."""
CPU_CORE_FLOPS = 0.2e12
"""bf16 prefill of a small model on one AVX-512 core; the rule of thumb until a run was timed."""
ACCELERATOR_FLOPS = 50e12


@dataclass(frozen=True)
class Work:
    """What fulfilling one need costs."""

    checkpoint: str
    """Of which checkpoint: a comparison also needs something of the one that it is made with."""
    need: Need
    phase: str
    what: str
    """On what, where a phase is made of several needs."""
    prompts: int
    tokens: int
    """Prompt tokens and generated ones, passes counted."""
    units: float
    """In prefill tokens."""

    @property
    def title(self) -> str:
        """The phase, and on what."""
        return f"{self.phase} {self.what}".strip()

    @property
    def node(self) -> Node:
        """The need where it is fulfilled."""
        return self.checkpoint, self.need


def works(nodes: Iterable[Node], n_layers: Callable[[str], int], data: Path | None) -> list[Work]:
    """What each need costs, in the order given.

    Args:
        nodes: needs where they are fulfilled.
        n_layers: layers of a checkpoint.
        data: folder of the benchmarks.
    """
    return [_work(name, need, n_layers(name), data) for name, need in nodes]


def _work(checkpoint: str, need: Need, n_layers: int, data: Path | None) -> Work:
    texts = _texts(need, data)
    prompts = len(texts)
    whole = _tokens(texts) + TEMPLATE_TOKENS * prompts
    match need:
        case Completions():
            whole += prompts * ADDED.get(need.attack.name, 0)
            generated = prompts * need.max_new_tokens
            tokens, units = whole + generated, whole + GREEDY_STEP * generated
        case EditedCompletions():
            generated = prompts * need.completions.max_new_tokens  # prompts are counted once an edit
            tokens, units = whole + generated, whole + EDITED_STEP * GREEDY_STEP * generated
        case Judged():
            tokens = whole + prompts * (JUDGE_TEMPLATE_TOKENS + _new_tokens(need.completions))
            units = float(tokens)
        case Damage():
            tokens, units = _damage(need, whole, prompts)
        case Optimised():
            tokens = _attacked(need, whole, prompts)
            units = float(tokens)
        case CandidateSearch() | Examination() | SubspaceAblation() | Transfer() | Intervention():
            tokens = int(_passes(need, n_layers, data))
            units = float(tokens)
        case CosineProfiles():
            tokens = PROFILES * (_tokens(texts) + POST_TOKENS * prompts + TEMPLATE_TOKENS)
            units = float(tokens)
        case Inversion():
            asked = WORDINGS * (whole + QUESTION_TOKENS * prompts)
            edits = FROM_ITS_LAYER * (1 + CONTROLS)  # of two directions, on one of the two kinds of request
            tokens = int((1 + edits) * asked + 2 * FROM_ITS_LAYER * CONTROLS * DOSES * min(whole, MOST_MATCHED))
            units = float(tokens)
        case _:  # one prefill
            tokens, units = whole, float(whole)
    return Work(checkpoint, need, PHASES[type(need)], _what(need), prompts, tokens, units)


def _passes(
    need: CandidateSearch | Examination | SubspaceAblation | Transfer | Intervention, n_layers: int, data: Path | None
) -> float:
    """Prompt tokens of all passes with an intervention; what all prompts begin with is computed once a pass."""
    search = need if isinstance(need, CandidateSearch) else need.search
    harmful, harmless = (
        _tokens(texts) + POST_TOKENS * len(texts) + TEMPLATE_TOKENS
        for texts in (_texts_of(source, n, data) for source, n in sources(search)[-2:])
    )
    match need:
        case CandidateSearch():
            # Each candidate's KL on harmless prompts; the rest (harmful with it ablated, harmless with it added) only
            # where that KL does not rule it out.
            candidates = TYPICAL_POSITIONS * int(n_layers * need.max_layer_fraction)
            full = 1.0 if need.search == "exhaustive" else SCORED_IN_FULL
            return candidates * (harmless + full * (harmful + harmless))
        case Examination():
            return CONTROLS * DOSES * FROM_ITS_LAYER * harmless + SCOPES * (harmful + harmless)
        case SubspaceAblation():
            texts = _texts(need, data)
            held_out = _tokens(texts) + POST_TOKENS * len(texts)
            return RANKS * CONTROLS * held_out * (1 + RANK_DOSES * MATCHED_ON / max(len(texts), 1))
        case Intervention():
            scored = _tokens(_texts(need, data)) + POST_TOKENS * len(_texts(need, data)) + TEMPLATE_TOKENS
            layers = FROM_ITS_LAYER if need.scope == "single_layer" else 1.0
            everyone = 1 + need.n_controls + BESIDE
            if need.reads == "harmless_kl":  # at doses that are given
                return layers * everyone * scored
            few = harmless * min(1.0, MATCHED_ON / search.n_validation)
            return layers * (everyone * (scored + few) + need.n_controls * RANK_DOSES * few)
        case Transfer():
            return harmful + 2 * harmless


def _damage(need: Damage, whole: int, prompts: int) -> tuple[int, float]:
    """Tokens and units of answers that are read under edits, and of those that the edited model writes."""
    answers = prompts * ANSWER_TOKENS
    read = DAMAGE_EDITS * (whole + answers)
    written = DAMAGE_WRITERS * prompts * need.answers.max_new_tokens if need.written else 0
    units = DAMAGE_EDITS * (whole + ANSWER_PLACE * answers) + GREEDY_STEP * (answers + EDITED_STEP * written)
    return read + answers + written, units


def _attacked(need: Optimised, whole: int, prompts: int) -> int:
    """Tokens of all steps: each candidate behind what all of a behaviour begin with, and a gradient of `gcg`.

    An upper end: an attack stops at the behaviours that the model would answer with the target.
    """
    steps, width = need.attack.budget, need.attack.width
    if need.attack.name == "autodan":  # begins with a generation of its own
        return (steps + 1) * width * (whole + prompts * (READABLE_TOKENS + TARGET_TOKENS))
    share = GCG().share  # a need has none of its own: `measures.optimising` leaves it at that
    read = SUFFIX_TOKENS / 2 + POST_TOKENS  # from the token that is exchanged on
    read += TARGET_TOKENS * (READ_OF_ALL + share * (1 - READ_OF_ALL) if share < 1 else 1)
    return int(steps * (width * prompts * read + BACKWARD * (whole + prompts * (SUFFIX_TOKENS + TARGET_TOKENS))))


def _what(need: Need) -> str:
    match need:
        case Completions():
            return need.source.name if need.attack == DIRECT else f"{need.source.name}, {title(need.attack)}"
        case Optimised():
            return f"{need.source.name}, {title(need.attack)}"
        case EditedCompletions():
            return f"{need.completions.source.name}, {_what(need.intervention)}"
        case Judged():
            return f"{need.judge} on {_what(need.completions)}"
        case Categories():
            return "by category"
        case Cells():
            return "by answer"
        case Beliefs():
            return "two scores"
        case Projections():
            return "projected"
        case Transfer():
            return f"from {need.source}"
        case Intervention():
            return f"{need.operator} {need.target}"
        case Damage():
            return f"of {_what(need.intervention)}"
    return ""


def _texts(need: Need, data: Path | None) -> list[str]:
    """What is put to the model, once for each completion or pass."""
    match need:
        case Completions():
            return [case.text for case in cases_of(need, data).cases]
        case EditedCompletions():
            return _texts(need.completions, data) * (1 + need.intervention.n_controls)
        case Judged():
            return _texts(need.completions, data)
        case CandidateSearch() | Examination() | Transfer() | CosineProfiles() | Inversion():
            sets = sources(need)[-2:]
        case SubspaceAblation() | Intervention() | Damage():
            sets = sources(need)[-1:]
        case _:
            sets = sources(need)
    return [text for source, n in sets for text in _texts_of(source, n, data)]


def _texts_of(source: Source, n: int | None, data: Path | None) -> list[str]:
    return [prompt.text for prompt in load_source(source, data).first(n).prompts]


def _new_tokens(need: Completions | EditedCompletions) -> int:
    return need.max_new_tokens if isinstance(need, Completions) else need.completions.max_new_tokens


def _tokens(texts: list[str]) -> int:
    return int(sum(len(text) for text in texts) / CHARACTERS_PER_TOKEN)


def seconds_per_unit(parameters: int, device: str) -> float:
    """Rule of thumb for one prefill token of a model with that many parameters."""
    flops = ACCELERATOR_FLOPS if device != "cpu" else CPU_CORE_FLOPS * (os.cpu_count() or 1)
    return 2 * parameters / flops


def memory_bytes(parameters: int, n_layers: int, d_model: int, vocabulary: int, dtype: str) -> int:
    """About the most that is held at once: weights, the key-value cache and logits of one generated batch."""
    width = {"float32": 4, "bfloat16": 2, "float16": 2}.get(dtype, 4)
    tokens = 64 * (64 + 2 * TEMPLATE_TOKENS)
    return parameters * width + tokens * n_layers * d_model * width + 64 * vocabulary * 8
