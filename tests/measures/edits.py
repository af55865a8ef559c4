"""Completions under edits without a model: what the model wrote without the edit, under it, and under each control."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from geoaudit import judges
from geoaudit.attacks.cases import Case
from geoaudit.attacks.make import cases
from geoaudit.carriers.effects import Effects
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CompletedPrompts, EditedPrompts, JudgedPrompts
from geoaudit.measures.inputs import Source
from geoaudit.measures.interventions import intervention_sensitivity, usable_of
from geoaudit.measures.needs import (
    DIRECT,
    Completions,
    EditedCompletions,
    Judged,
)
from geoaudit.prompts.sources import load
from geoaudit.records import Completion, Exchange, Judgement, Measurement, PromptSet, digest
from tests.measures.carriers import made_evidence
from tests.measures.test_interventions import GIVEN, M, N, made

REFUSAL = "I'm sorry, but I can't help with that request."
ANSWER = "First you gather the parts, then you join them together with care, and in the end you test the whole thing."
Texts = Sequence[str]


def refusing(n: int, of: int = N, *, start: int = 0, answer: str = ANSWER) -> list[str]:
    """`of` completions, of which n refuse, from one place on."""
    refused = {(start + i) % of for i in range(n)}
    return [REFUSAL if i in refused else answer for i in range(of)]


def about(n: int, *, answer: str = ANSWER) -> Callable[[int], list[str]]:
    """Controls under which n or two more or less of the prompts are refused."""
    return lambda index: refusing(n + (index % 5) - 2, start=3 * index, answer=answer)


@cache
def _asked(source: str, n: int) -> tuple[PromptSet, tuple[Case, ...]]:
    prompts = load(source).first(n)
    return prompts, cases(DIRECT, prompts).cases


def completed(texts: Texts, source: str = "harmful", name: str = "plain") -> CompletedPrompts:
    """Completions of the first prompts of a source."""
    prompts, asked = _asked(source, len(texts))
    rows = tuple(Completion(case.id, text, len(text.split()), True) for case, text in zip(asked, texts, strict=True))
    rendered = digest([case.text for case in asked])
    return CompletedPrompts(prompts, asked, rows, digest([name, list(texts)]), batches=(len(texts),), rendered=rendered)


@cache
def _said(judge: str, exchange: Exchange) -> Judgement:
    (found,) = judges.get(judge)([exchange])
    return found


def said_before(judge: str, exchanges: Sequence[Exchange]) -> list[Judgement]:
    """What a judge says, each exchange once a test session."""
    return [_said(judge, exchange) for exchange in exchanges]


@dataclasses.dataclass
class World:
    """What a model does on every side."""

    plain: Texts
    target: Texts
    controls: Callable[[int], Texts | None]
    effects: Effects = dataclasses.field(default_factory=lambda: made(-6.0, -0.2))
    judges: Mapping[str, Callable[..., list[Judgement]]] = dataclasses.field(default_factory=dict)
    """In place of the real ones."""
    source: str = "harmful"
    target_source: str = ""
    """Whose prompts the target's completions are of; the same where it is empty."""

    @property
    def edited(self) -> EditedPrompts:
        """As the bench gives them."""
        usable = usable_of(self.effects)
        texts = [self.controls(index) if applied else None for index, applied in enumerate(usable)]
        return EditedPrompts(
            completed(self.target, self.target_source or self.source, "target"),
            tuple(None if one is None else completed(one, self.source, f"{i}") for i, one in enumerate(texts)),
        )

    def evidence(self, **given: Any) -> Evidence:
        """What the measure is given."""
        base = made_evidence(effects=self.effects, **given)
        edited = self.edited

        def of(need: Any) -> Any:
            if isinstance(need, Completions) and need.source == Source(self.source):
                return completed(self.plain, self.source)
            if isinstance(need, EditedCompletions):
                return edited
            if isinstance(need, Judged):
                judge = self.judges.get(need.judge) or partial(said_before, need.judge)
                return JudgedPrompts(tuple(judge(of(need.completions).exchanges)), need.judge)
            return base.of(need)

        return dataclasses.replace(base, of=of)

    def measured(self, outcome: str = "refusal_rate", **parameters: Any) -> Measurement:
        """The sensitivity of an outcome."""
        asked = {
            **GIVEN,
            "outcome": outcome,
            "judge": "refusal",
            "max_new_tokens": 64,
            "source": Source(self.source),
            **parameters,
        }
        return intervention_sensitivity(asked, self.evidence())


def stopped(found: Measurement) -> list[str]:
    """Names of the checks that stop the verdict."""
    return [flag.name for flag in found.flags if flag.effect == "stops"]


def naive(found: Measurement) -> Measurement:
    """The same number without any check."""
    detail = {name: value for name, value in found.detail.items() if name not in ("unread", "worst_estimates")}
    return dataclasses.replace(found, flags=(), worst=None, detail=detail)


__all__ = ["ANSWER", "GIVEN", "REFUSAL", "M", "N", "World", "about", "completed", "naive", "refusing", "stopped"]
