"""How numbers, bounds and outcomes are written, in the terminal and in the report alike.

No number is written for what was not measured: a missing value is None all the way and reads "not measured".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

OUTCOMES: tuple[str, ...] = ("failed", "invalid", "inconclusive", "passed")
"""Worst first."""
MEANINGS: Mapping[str, str] = {
    "failed": "The whole interval violates the bound.",
    "invalid": "There is no number, or there is one that must not be trusted: a validity check stopped it. "
    "It counts as not passed.",
    "inconclusive": "The interval straddles the bound: this n cannot tell. It counts as not passed.",
    "passed": "The whole interval satisfies the bound. The only green outcome.",
}
BY_ESTIMATE: Mapping[str, str] = {
    "failed": "The estimate violates the bound; its interval was not asked.",
    "passed": "The estimate satisfies the bound; its interval was not asked. The only green outcome, and no gate.",
}
"""The same where estimates decided."""
LABELS: Mapping[str, str] = {
    "full_compliance": "full compliance",
    "partial_refusal": "partial refusal",
    "full_refusal": "full refusal",
    "harmful": "harmful",
    "not_harmful": "not harmful",
    "degenerate": "degenerate",
    "unparsed": "unparsed",
    "unjudged": "unjudged",
}
"""What a judge says of a completion, in the order that bars are stacked: what an attacker wants first."""
JUDGE_FAILED: frozenset[str] = frozenset({"unparsed", "unjudged"})
"""Labels of a judge's own failure; drawn so that nobody takes them for safe."""
STATUSES: Mapping[str, str] = {
    "admissible": "admissible",
    "kl": "over the KL budget",
    "not-inducing": "does not induce refusal",
    "late-layer": "late layer, not eligible",
    "screened": "given up on the first prompts (KL far over the budget)",
    "null": "null direction (no norm)",
    "not-finite": "scores not finite",
}
"""Status of a carrier candidate, in the order of legends."""
NOT_MEASURED = "not measured"
MINUS = "\u2212"
_WHOLE_UNITS = ("layer", "template token", "component", "token", "prompt")
_SHARES = ("share", "score in [0, 1]", "difference of refusal rates")
"""Units whose values lie in [0, 1]."""
_SIGNS = {"at_most": "≤", "at_least": "≥", "equals": "="}
_MOST_DECIMALS = 8
_LEAST_DECIMALS = 4
"""Decimals tried before a small number is written with an exponent."""


def finite(value: Any) -> float | None:
    """The value as a float; None where it is no finite number (None, NaN, text, a bool)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floats
        return None


def number(value: Any, unit: str = "", *, apart_from: Iterable[float] = ()) -> str:
    """The value with sensible digits: shares with three decimals, the rest with three significant digits.

    Args:
        value: a number; anything else reads "not measured".
        unit: unit of the measure. Layers, positions and counts are written whole.
        apart_from: numbers that the text must not round to unless the value equals them, such as the bound: 0.0504
            over a bound of 0.05 is not written 0.050.
    """
    x = finite(value)
    if x is None:
        return NOT_MEASURED
    if x.is_integer() and unit.startswith(_WHOLE_UNITS):
        return _signed(f"{x:,.0f}")
    if not x and not is_share(unit):
        return "0"
    decimals = _decimals(x, unit)
    others = [other for other in apart_from if other != x]
    while decimals < _MOST_DECIMALS and any(f"{x:.{decimals}f}" == f"{other:.{decimals}f}" for other in others):
        decimals += 1
    while x and decimals < _LEAST_DECIMALS and not float(f"{x:.{decimals}f}"):
        decimals += 1  # what is not zero is not written as zero
    if x and not float(f"{x:.{decimals}f}"):
        return _signed(f"{x:.1e}".replace("e-0", "e-"))
    return _signed(f"{x:,.{decimals}f}")


def is_share(unit: str) -> bool:
    """Whether values of this unit lie in [0, 1]: written with three decimals, drawn on an axis from 0."""
    return unit.startswith(_SHARES)


def share(value: Any, low: Any = None, high: Any = None) -> str:
    """`0.031 [0.012, 0.078]`, without the interval where an end is missing; "" where there is no value."""
    if finite(value) is None:
        return ""
    return f"{number(value, 'share')} {interval(low, high, 'share')}".strip()


def interval(low: Any, high: Any, unit: str = "", *, apart_from: Iterable[float] = ()) -> str:
    """`[0.012, 0.064]`, or "" where an end is missing."""
    if finite(low) is None or finite(high) is None:
        return ""
    near = tuple(apart_from)
    return f"[{number(low, unit, apart_from=near)}, {number(high, unit, apart_from=near)}]"


def bounds(bound: Any) -> tuple[float, ...]:
    """The numbers of a bound: one, or two for `between`."""
    found = (finite(part) for part in (bound if isinstance(bound, list | tuple) else [bound]))
    return tuple(part for part in found if part is not None)


def bound_text(comparator: str, bound: Any, *, short: bool = False) -> str:
    """`at most 0.05`, `between 0.2 and 0.8`; short: `≤ 0.05`, `in [0.2, 0.8]`."""
    ends = [exact(part) for part in bounds(bound)]
    if not ends:
        return "no bound recorded"
    if comparator == "between" and len(ends) > 1:
        return f"in [{ends[0]}, {ends[-1]}]" if short else f"between {ends[0]} and {ends[-1]}"
    word = _SIGNS.get(comparator, comparator) if short else comparator.replace("_", " ")
    return f"{word} {' '.join(ends)}"


def exact(value: float) -> str:
    """A number that a person wrote, as they wrote it."""
    return _signed(f"{value:.10g}")


def count(value: Any) -> str:
    """A whole number with thousands apart, "not recorded" for None."""
    x = finite(value)
    return "not recorded" if x is None else f"{x:,.0f}"


def plural(value: Any, one: str, many: str = "") -> str:
    """`1 prompt`, `1,200 prompts`."""
    return f"{count(value)} {one if finite(value) == 1 else many or one + 's'}"


def seconds(value: Any) -> str:
    """`20 ms`, `0.8 s`, `12 s`, `3 min 05 s`."""
    x = finite(value)
    if x is None:
        return "not recorded"
    if x < 0.1:
        return f"{x * 1000:.0f} ms"
    if x < 10:
        return f"{x:.1f} s"
    minutes, rest = divmod(round(x), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def outcome_of(assertion: Mapping[str, Any]) -> str:
    """One of the four outcomes; what is none of them is *invalid*, never green."""
    outcome = assertion.get("outcome")
    return outcome if outcome in OUTCOMES else "invalid"


def outcome_word(assertion: Mapping[str, Any]) -> str:
    """The outcome as it is read: `failed`, `passed (estimate)`."""
    outcome = outcome_of(assertion)
    by_estimate = assertion.get("by") == "estimate" and outcome in ("passed", "failed")
    return f"{outcome} (estimate)" if by_estimate else outcome


def meanings(assertions: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """`MEANINGS`, with what an outcome means where estimates decided it."""
    rows = list(assertions)
    found = dict(MEANINGS)
    for outcome, said in BY_ESTIMATE.items():
        own = [row for row in rows if outcome_of(row) == outcome] or rows
        by = {row.get("by") == "estimate" for row in own}
        if by == {True}:
            found[outcome] = said
        elif True in by:
            found[outcome] += f" Marked (estimate): {said[:1].lower()}{said[1:]}"
    return found


def severity(assertion: Mapping[str, Any]) -> int:
    """0 for the worst outcome; the key to sort by."""
    return OUTCOMES.index(outcome_of(assertion))


def tally(assertions: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Outcome -> how many, worst first, zeros too."""
    counts = dict.fromkeys(OUTCOMES, 0)
    for assertion in assertions:
        counts[outcome_of(assertion)] += 1
    return counts


def missing_reason(measurement: Mapping[str, Any], sentence: str = "") -> str:
    """`not measured: why`, from the measurement or, where there is none, from the assertion's sentence."""
    why = str(measurement.get("why_missing") or sentence or "the record gives no reason")
    return why if why.startswith(NOT_MEASURED) else f"{NOT_MEASURED}: {why}"


def plain(value: Any) -> str:
    """A parameter or an identity field as words: never `None`, `True` or braces."""
    if value is None or value in ("", {}, [], ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return _signed(str(value))
    if isinstance(value, float):
        return exact(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value)
    return str(value)


def parameters_text(parameters: Mapping[str, Any]) -> str:
    """`source harmful · judge refusal · n 128`; `n none` is all prompts of the source."""
    return " · ".join(
        f"{name} {'all' if name == 'n' and value is None else plain(value)}" for name, value in parameters.items()
    )


def token(text: str) -> str:
    r"""A template token on one line: a newline as `\n`."""
    return text.replace("\n", "\\n").replace("\t", "\\t")


def position(value: Any) -> str:
    """A template position, −1 for the last token; one with a name (`t_inst`) by it."""
    return value if isinstance(value, str) and value else number(value, "template token")


def _decimals(x: float, unit: str) -> int:
    if is_share(unit):
        return 3
    return min(max(0, 2 - math.floor(math.log10(abs(x)))), _LEAST_DECIMALS)


def _signed(text: str) -> str:
    return text.replace("-", MINUS) if text.strip("-0.,") else text.lstrip("-")
