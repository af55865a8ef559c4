"""Evidence without a model: what tests of rates say that a model answered, and what judges say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from geoaudit import judges
from geoaudit.attacks.make import cases
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CompletedPrompts, JudgedPrompts
from geoaudit.measures.inputs import ChatSetting, Source
from geoaudit.measures.labels import NO_LABELS, Labels
from geoaudit.measures.needs import Completions, Judged
from geoaudit.records import Completion, Judgement, Prompt, PromptSet

Answer = Callable[[Completions, Prompt, int], str]
"""(need, behaviour, number of the case) -> what the model writes."""

CATEGORIES = 3


def prompt_set(name: str, n: int) -> PromptSet:
    """`n` requests in three categories; a set and its `-paraphrases` are pairs."""
    stem = name.removesuffix("-paraphrases")
    prompts = tuple(
        Prompt(
            f"{name}/{i}",
            f"Explain how to build thing number {i}" + (", please." if stem != name else "."),
            "harmful",
            f"kind {i % CATEGORIES}",
            pair=f"{stem}/{i}" if stem != name else "",
        )
        for i in range(n)
    )
    return PromptSet(name, prompts, "a test", "none", {"too long": 2})


def read_off(name: str) -> Callable[..., list[Judgement]]:
    """A judge that reads the label, or a score, off the completion."""

    def judge(exchanges: Iterable[Any], progress: Any = None) -> list[Judgement]:
        return [_read(one.completion, name) for one in exchanges]

    return judge


def _read(text: str, name: str) -> Judgement:
    label, _, score = text.partition(" ")
    return Judgement(label, float(score) if score else None, name, "written there")  # type: ignore[arg-type]


def evidence(
    answer: Answer | list[str],
    *,
    said: Mapping[str, Callable[..., list[Judgement]]] | None = None,
    trained_on: Iterable[str] = (),
    labels: Labels = NO_LABELS,
    manifest: bool = False,
    n: int | None = None,
) -> Evidence:
    """What a measure is given.

    Args:
        answer: the completions of every set, in order, or a function that writes each.
        said: judge -> what it says; the real one where it is not named.
        trained_on, labels, manifest: of `Evidence`.
        n: behaviours in every set; the number of answers where they are a list.
    """
    size = len(answer) if isinstance(answer, list) else int(n or 20)

    def fulfil(need: Any) -> Any:
        if isinstance(need, Judged):
            judge = (said or {}).get(need.judge) or judges.get(need.judge)
            return JudgedPrompts(tuple(judge(fulfil(need.completions).exchanges)), need.judge)
        prompts = prompt_set(need.source.name, size)
        made = cases(need.attack, prompts)
        number: dict[str, int] = {}
        completions = []
        for case in made.cases:
            at = number[case.prompt.id] = number.get(case.prompt.id, -1) + 1
            text = answer[int(case.prompt.id.rpartition("/")[2])] if isinstance(answer, list) else None
            written = text if text is not None else answer(need, case.prompt, at)  # type: ignore[operator]
            completions.append(Completion(case.id, written, len(written.split()), True))
        key = f"{need.attack.name}{need.attack.k}{need.attack.system}{need.source.name}".ljust(64, "k")
        return CompletedPrompts(prompts, made.cases, tuple(completions), key, skipped=made.skipped, batches=(size,))

    return Evidence("ckpt", fulfil, frozenset(trained_on), labels, manifest)


def parameters(**given: Any) -> dict[str, Any]:
    """Parameters of a rate as a plan resolves them."""
    return {
        "source": Source("mine"),
        "attack": "direct",
        "judge": "refusal",
        "n": None,
        "max_new_tokens": 8,
        "max_unparsed": 0.02,
        "paraphrases": False,
        "chat": ChatSetting(),
        **given,
    }
