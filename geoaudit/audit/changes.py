"""Change lines: whether a checkpoint differs from its baseline or reference by more than a margin. Pure.

All change lines of a suite file are decided together for each checkpoint, whichever of them pytest selected: Holm's
procedure over the family keeps the chance that any of them fails wrongly at 5 % (`stats.changes`). *passed*: the whole
interval of the change keeps to the margin. *failed*: the whole interval lies beyond it, and beyond the noise floor
where one was measured, and Holm rejects. *inconclusive*: neither. *invalid*: there is nothing to compare with, either
side's number must not be trusted, the prompts are not the same, or more than the weights differs.

Rates and scores are compared prompt by prompt, or behaviour by behaviour where one has several cases. Rows that nobody
could read count as misses; where counting them at their worst, on both sides, would change the outcome, there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from geoaudit.audit.contrast import Contrast, contrast
from geoaudit.audit.decide import By, Decision, Outcome
from geoaudit.audit.environment import Mismatch
from geoaudit.audit.suite import CHANGES, Assertion, Suite
from geoaudit.records import Flag, Measurement
from geoaudit.stats.changes import ChangeDecision, ChangeLine
from geoaudit.stats.changes import decide_changes as decide_lines
from geoaudit.stats.differences import Difference
from geoaudit.stats.paired import Change
from geoaudit.stats.power import n_for_power
from geoaudit.stats.proportions import least_n, n_to_certify

MOST_PROMPTS = 1_000_000
"""Where the search for the n that decides gives up."""
MOST_EXACT = 600
"""Prompts above which the chance to pass takes seconds to compute."""


@dataclass(frozen=True)
class ChangeInput:
    """One change line of a suite on one checkpoint, with what both sides measured."""

    assertion: Assertion
    candidate: Measurement
    other: Measurement | None
    """Of the baseline or the reference; None where there is nothing to compare with."""
    against: Mapping[str, Any]
    """{"role": "baseline" | "reference", "name", "id"}."""
    why_not: str = ""
    """Why there is no `other`, with the command that makes it."""
    mismatches: tuple[Mismatch, ...] = ()
    """What differs between the two besides the weights."""
    allowed: frozenset[str] = frozenset()
    """Names of settings that may differ."""
    noise: Mapping[str, Any] | None = None
    """{"floor", "unpaired_floor", ...}, from `noise.Noise.of`; None where none was measured."""


@dataclass(frozen=True)
class _Line:
    """A change line and the difference that it is decided from."""

    input: ChangeInput
    found: Contrast

    def line(self, difference: Difference | None = None) -> ChangeLine:
        """As `stats.changes` decides it, with another difference where one is given."""
        own = difference or self.found.difference
        assert own is not None
        assertion = self.input.assertion
        comparator: Any = assertion.comparator
        return ChangeLine(assertion.id, own, assertion.bound[0], comparator, self.found.floor)


def family(suite: Suite, checkpoint: str) -> tuple[Assertion, ...]:
    """The change lines that are decided together: all of a suite file that concern a checkpoint, in their order.

    All of them must be measured, on the checkpoint and on what it is compared with, before one is decided.
    """
    return tuple(one for one in suite.assertions if one.comparator in CHANGES and one.concerns(checkpoint))


def decide_changes(lines: Sequence[ChangeInput], *, by: By) -> list[tuple[Decision, dict[str, Any]]]:
    """Decide all change lines of a suite file on one checkpoint.

    Args:
        lines: the whole family (`family`), in any order.
        by: whether the interval or the point estimate is compared.

    Returns:
        For each line its decision, and what the record keeps of it.
    """
    prepared = [_Line(line, _contrast(line, by)) for line in lines]
    measured = [line for line in prepared if line.found.difference is not None]
    # a line that could not be measured stays in the family: it might have been the one that fails
    unmeasured = [ChangeLine("", Change(0, 0, 1), 0.0)] * (len(prepared) - len(measured))

    def decided(at: int = -1, difference: Difference | None = None) -> list[ChangeDecision]:
        tried = [one.line(difference if index == at else None) for index, one in enumerate(measured)]
        return decide_lines([*tried, *unmeasured])[: len(measured)]

    said = iter(enumerate(decided()))
    found = []
    for line in prepared:
        if line.found.difference is None:
            decision = Decision("invalid", by, line.found.why_not, line.found.flags)
            found.append((decision, _result(line, None, len(lines))))
            continue
        at, plain = next(said)
        worst = [decided(at, extreme)[at] for extreme in line.found.extremes]
        found.append((_decision(line, plain, worst, by, len(lines)), _result(line, plain, len(lines))))
    return found


def _contrast(line: ChangeInput, by: By) -> Contrast:
    if line.other is None and line.why_not:  # first: then the candidate was not measured for it either
        return Contrast(f"nothing to compare with: {line.why_not}")
    if line.candidate.estimate is None or line.other is None:
        return Contrast(f"not measured: {line.candidate.why_missing}")
    return contrast(
        line.candidate,
        line.other,
        role=line.against.get("role", "baseline"),
        mismatches=line.mismatches,
        allowed=line.allowed,
        noise=line.noise,
        by=by,
    )


def _decision(line: _Line, said: ChangeDecision, worst: Sequence[ChangeDecision], by: By, lines: int) -> Decision:
    tried = [_outcome(line, each, by) for each in (said, *worst)]
    if len(set(tried)) > 1:
        stop = Flag(
            "degenerate-output",
            "stops",
            f"{line.found.unread} of the completions that are compared are degenerate or unreadable; counted at their "
            "worst they change the outcome",
        )
        return Decision("invalid", by, f"{stop.name}: {stop.sentence}", (*line.found.flags, stop))
    gentle = [flag for flag in line.found.flags if flag.effect == "stops"]
    if gentle and tried[0] != "failed":
        why = "; ".join(f"{flag.name}: {flag.sentence}" for flag in gentle)
        return Decision("invalid", by, why, line.found.flags)
    # it failed all the same: what would have stopped another verdict stands beside this one
    flags = tuple(replace(flag, effect="note") for flag in line.found.flags)
    text = _sentence(line, said, tried[0], by)
    if tried[0] != "inconclusive":
        return Decision(tried[0], by, text, flags)
    needed = needed_n(line.line(), lines)
    if needed is not None:
        text += f"; about {needed} prompts would decide, if the change stayed as it is"
    unchanged = n_if_unchanged(line.line())
    if unchanged is not None:
        text += f"; with {unchanged} an unchanged model passes 4 times of 5"
    starved = underpowered(line.line())
    if starved is not None:
        flags, text = (*flags, starved), f"{text}; {starved.sentence}"
    return Decision(tried[0], by, text, flags, needed)


def underpowered(line: ChangeLine) -> Flag | None:
    """Whether so few prompts could not pass this line though none of them was answered differently."""
    change = line.change
    if not isinstance(change, Change) or not line.allowed > 0:
        return None
    needed = n_to_certify(line.allowed, "at_most")
    if needed is None or needed <= change.n:
        return None
    sentence = f"even no change at all on {change.n} prompts cannot certify this margin; {needed} could"
    return Flag("underpowered", "note", sentence)


def _outcome(line: _Line, said: ChangeDecision, by: By) -> Outcome:
    if by == "interval":
        return said.outcome
    asked = line.line()
    turned = said.difference if asked.comparator == "change_at_most" else -said.difference
    if turned <= asked.to_pass:
        return "passed"
    return "failed" if turned > asked.to_fail else "inconclusive"


def needed_n(line: ChangeLine, lines: int) -> int | None:
    """About how many prompts would decide a paired line, were the change to stay what it is; None where none would.

    Args:
        line: one of them.
        lines: in the family. To fail among them its p-value is taken to be the smallest, which Holm multiplies by all.
    """
    change = line.worse
    if not isinstance(change, Change):
        return None

    def decided(n: int) -> bool:
        grown = Change(change.gained / change.n * n, change.lost / change.n * n, n)
        least, most = grown.interval()
        if most <= line.to_pass:
            return True
        return least > line.to_fail and lines * grown.p_above(line.to_fail) <= 0.05

    return least_n(decided, most=MOST_PROMPTS, first=change.n)


def n_if_unchanged(line: ChangeLine) -> int | None:
    """How many prompts pass an unchanged model with a chance of 80 %, at the share of prompts that differed here.

    None where that would take thousands.
    """
    change = line.change
    if not isinstance(change, Change) or not line.allowed > 0:
        return None
    discordance = (change.gained + change.lost) / change.n
    if discordance * (2.8 / line.allowed) ** 2 > MOST_EXACT:  # the normal approximation to it
        return None
    return _to_pass(discordance, line.allowed)


@lru_cache(maxsize=1 << 10)  # a tenth of a second each, and the same for every line on as many prompts
def _to_pass(discordance: float, allowed: float) -> int | None:
    return n_for_power(discordance, allowed)


def _sentence(line: _Line, said: ChangeDecision, outcome: Outcome, by: By) -> str:
    assertion = line.input.assertion
    word = "at most" if assertion.comparator == "change_at_most" else "at least"
    margin = f"the margin {word} {assertion.bound[0]:+.4g}"
    role = line.input.against.get("role", "baseline")
    ours, theirs = line.found.values or (math.nan, math.nan)
    value = f"{said.difference:+.4g} against the {role} ({theirs:.4g} to {ours:.4g}, {line.found.method})"
    if by == "estimate":
        verb = {"passed": "keeps to", "failed": "does not keep to", "inconclusive": "is within the noise floor of"}
        return f"the estimate of the change, {value}, {verb[outcome]} {margin}"
    interval = f"95 % interval [{said.low:+.4g}, {said.high:+.4g}]"
    if outcome == "passed":
        return f"{value}, and the {interval} keeps wholly to {margin}"
    if outcome == "failed":
        return f"{value}, and the {interval} lies wholly beyond {margin}, {_p(said)}"
    asked = line.line()
    turned = (said.low, said.high) if asked.comparator == "change_at_most" else (-said.high, -said.low)
    if turned[0] > asked.to_fail:
        return f"{value}, and the {interval} lies beyond {margin}, but not so that all change lines bear it: {_p(said)}"
    if turned[0] > asked.allowed or (turned[1] <= asked.allowed and line.found.floor > 0):
        return f"{value}, and the {interval} does not lie beyond the noise floor {line.found.floor:.4g}"
    return f"{value}, and the {interval} straddles {margin}"


def _p(said: ChangeDecision) -> str:
    return f"p = {said.p:.2g}, {said.adjusted:.2g} over all change lines (Holm)"


def _result(line: _Line, said: ChangeDecision | None, lines: int) -> dict[str, Any]:
    """What the record keeps of a change line."""
    given = line.input
    change = line.found.difference
    ours, theirs = line.found.values or (given.candidate.estimate, given.other.estimate if given.other else None)
    found: dict[str, Any] = {
        "against": dict(given.against),
        "estimate": _finite(said.difference if said else None),
        "low": _finite(said.low if said else None),
        "high": _finite(said.high if said else None),
        "p": said.p if said else None,
        "adjusted": said.adjusted if said else None,
        "lines": lines,
        "n": line.found.n,
        "method": line.found.method,
        "candidate": _finite(ours),
        "other": _finite(theirs),
        "margin": given.assertion.bound[0],
        "unread": line.found.unread,
        "noise": dict(given.noise) if given.noise else None,
        "mismatches": [{**one.to_json(), "allowed": one.name in given.allowed} for one in given.mismatches],
    }
    if isinstance(change, Change):
        found |= {"gained": change.gained, "lost": change.lost}
    return found


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
