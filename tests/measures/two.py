"""A checkpoint beside another one, without models: what tests of drift share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from geoaudit.carriers.table import Carried
from geoaudit.measures.definition import Against
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.needs import Transfer

AGAINST = Against("reference", "early", "late")


def chat(template: str = "t", words: str = " ") -> Any:
    """A chat whose tokenizer splits at `words`."""

    def tokenizer(texts: list[str], add_special_tokens: bool) -> Mapping[str, Any]:
        assert add_special_tokens is False
        return {"input_ids": [[len(word) for word in text.split(words)] for text in texts]}

    return SimpleNamespace(sha256=template, tokenizer=tokenizer)


def beside(
    late: Evidence,
    early: Evidence,
    carried: Mapping[str, Carried] | None = None,
    chats: tuple[Any, Any] = (chat(), chat()),
) -> Evidence:
    """Evidence of `late` that can read `early`; `carried`: the source of a direction -> what it does in the other."""

    def of(evidence: Evidence) -> Any:
        def answer(need: Any) -> Any:
            return carried[need.source] if carried and isinstance(need, Transfer) else evidence.of(need)

        return answer

    there = dataclasses.replace(early, checkpoint="early", of=of(early), chat=lambda setting: chats[1])

    def other(name: str) -> Evidence:
        assert name == "early"
        return there

    return dataclasses.replace(late, checkpoint="late", of=of(late), other=other, chat=lambda setting: chats[0])
