"""What an intervention is read by, in a reader's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoaudit.report import words
from geoaudit.report.titles import Row, mapping

SCORE = "refusal_score"


@dataclass(frozen=True)
class Outcome:
    """One outcome of an intervention."""

    name: str
    text: bool = False
    """Whether it is a rate or a score of generated text, in [0, 1]; else it is in nats."""

    @property
    def axis(self) -> str:
        """What a figure of its differences is of; rates have no unit."""
        return self.name if self.text else f"{self.name}, nats"

    def said(self, value: Any) -> str:
        """A value or a difference with its unit; a rate has none."""
        return words.number(value, "share") if self.text else f"{words.number(value)} nats"


OUTCOMES: Mapping[str, Outcome] = {
    SCORE: Outcome("refusal score"),
    "harmless_kl": Outcome("KL on harmless prompts"),
    "refusal_rate": Outcome("refusal rate", text=True),
    "attack_success_rate": Outcome("attack success rate", text=True),
    "over_refusal_rate": Outcome("over-refusal rate", text=True),
    "strongreject": Outcome("StrongREJECT score", text=True),
    "benign_utility": Outcome("lenient utility", text=True),
}


def outcome(detail: Row) -> Outcome:
    """The outcome of a record's intervention; one that is not known reads as it is called."""
    name = words.plain(detail.get("outcome"))
    return OUTCOMES.get(name, Outcome(name) if detail.get("outcome") else OUTCOMES[SCORE])


def beside(detail: Row) -> list[tuple[str, str]]:
    """What stands beside an outcome of text: answers that were none or unreadable, and the score of the next token."""
    if not outcome(detail).text:
        return []
    score, broken = mapping(detail.get("refusal_score")), mapping(detail.get("degenerate"))
    sides = [words.number(broken.get(side), "share") for side in ("unedited", "edited", "controls")]
    unread, asked = words.finite(detail.get("unread")), words.count(detail.get("asked"))
    return [
        ("Completions that are no answer: without it, with it, under its controls", ", ".join(sides)),
        ("Completions that nobody could read, at most", f"{words.count(unread)} of {asked}" if unread else ""),
        (
            "Refusal score of the same prompts without and with it",
            f"{words.number(score.get('unedited'))} and {words.number(score.get('edited'))} nats",
        ),
    ]
