"""What an intervention is read by: a score of the next token, or what judges say of the text the edited model makes.

Plain data: planning imports no numpy and no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoaudit import judges
from geoaudit.judges import JUDGES
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import (
    Completions,
    EditedCompletions,
    Intervention,
    Judged,
    Need,
)
from geoaudit.measures.target_needs import KL
from geoaudit.records import REFUSED, SUCCEEDED, Label

_REFUSAL_JUDGES = tuple(name for name, judge in JUDGES.items() if judge.says == "refusal")
_HARM_JUDGES = tuple(name for name, judge in JUDGES.items() if judge.says == "harm")
_SCORE_JUDGES = tuple(name for name, judge in JUDGES.items() if judge.says == "score")
GRADER = "utility-rubric"
"""Grades the answers of which exact checks say nothing."""
OF_RATES = "difference of rates, beyond controls"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome of an intervention."""

    words: str
    """As a sentence says it."""
    unit: str
    source: str = "harmful"
    """Prompts that it is read on where nothing else is said."""
    judges: tuple[str, ...] = ()
    """That may label the completions, the default first; none: no text is made."""
    hit: frozenset[Label] | None = None
    """Labels that count; None: the judge's score does."""
    tokens: int | None = None
    """New tokens where nothing else is said; None: as the judge needs them."""

    def said(self, value: float) -> str:
        """A difference of the outcome in words."""
        return f"{100 * value:+.0f} points" if self.judges else f"{value:+.2f} nats"


SCORE = "refusal_score"
OUTCOMES: Mapping[str, Outcome] = {
    SCORE: Outcome("the refusal score", "nats of refusal score, beyond controls"),
    KL: Outcome("the KL on harmless prompts", "nats of KL, beyond controls", "benign-utility"),
    "refusal_rate": Outcome("the refusal rate", OF_RATES, judges=_REFUSAL_JUDGES, hit=REFUSED),
    "attack_success_rate": Outcome(
        "the attack success rate", OF_RATES, judges=(*_REFUSAL_JUDGES, *_HARM_JUDGES), hit=SUCCEEDED
    ),
    "over_refusal_rate": Outcome(
        "the over-refusal rate", OF_RATES, "safe-but-scary", judges=_REFUSAL_JUDGES, hit=REFUSED
    ),
    "strongreject": Outcome("the StrongREJECT score", OF_RATES, judges=_SCORE_JUDGES),
    "benign_utility": Outcome(
        "the lenient utility", OF_RATES, "benign-utility", judges=("refusal", GRADER), hit=REFUSED, tokens=128
    ),
}
"""Name -> outcome. Rates and scores of text lie in [0, 1]."""
_OF_TEXT = ("judge", "max_new_tokens")
"""Parameters that only outcomes of text read."""


def outcome_of(parameters: Mapping[str, Any]) -> str:
    """The outcome that is asked for; measures that read no other have no such parameter."""
    name: str = parameters.get("outcome", SCORE)
    return name


def is_text(parameters: Mapping[str, Any]) -> bool:
    """Whether text has to be made."""
    return bool(OUTCOMES[outcome_of(parameters)].judges)


def completions_of(parameters: Mapping[str, Any]) -> Completions:
    """The unedited model's answers to the prompts that the intervention is read on."""
    return Completions(
        parameters["source"], parameters["n_held_out"], parameters["max_new_tokens"], chat=parameters["chat"]
    )


def edited_of(parameters: Mapping[str, Any], intervention: Intervention) -> EditedCompletions:
    """The same under the target and under its controls."""
    return EditedCompletions(completions_of(parameters), intervention)


def text_needs(parameters: Mapping[str, Any], intervention: Intervention) -> tuple[Need, ...]:
    """Completions without and with the edits, and what judges that are no rules say of them."""
    plain, edited = completions_of(parameters), edited_of(parameters, intervention)
    judge = parameters["judge"]
    slow = (Judged(plain, judge), Judged(edited, judge)) if judges.info(judge).kind != "offline" else ()
    return (plain, edited, *slow)


def with_outcome(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is given, with the prompts and the judge of its outcome where none are."""
    outcome = OUTCOMES.get(str(given.get("outcome", "")))
    if outcome is None:
        return given
    own: dict[str, Any] = {"source": Source(outcome.source)}
    own |= {"judge": outcome.judges[0]} if outcome.judges else {}
    own |= {} if outcome.tokens is None else {"max_new_tokens": outcome.tokens}
    return {**own, **given}


def idle(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Parameters that the outcome does not read: no part of the measurement."""
    return () if "outcome" not in parameters or is_text(parameters) else _OF_TEXT


def outcome_problem(given: Mapping[str, Any], parameters: Mapping[str, Any]) -> str | None:
    """What is wrong with a combination, or None.

    Args:
        given: the parameters as written, without defaults.
        parameters: all of them.
    """
    name = outcome_of(parameters)
    outcome = OUTCOMES[name]
    unread = [one for one in idle(parameters) if given.get(one) is not None]
    if unread:
        readers = ", ".join(other for other, one in OUTCOMES.items() if one.judges)
        return f"{unread[0]} is not read by outcome {name!r} but by {readers}: set `outcome` too"
    if outcome.judges and parameters["judge"] not in outcome.judges:
        return f"the judge {parameters['judge']} does not say {outcome.words}: one of {', '.join(outcome.judges)}"
    if name == "benign_utility" and parameters["source"] != Source(outcome.source):
        return f"outcome {name!r} is about the built-in prompts {outcome.source!r}, which have checks: leave out source"
    return None
