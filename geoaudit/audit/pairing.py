"""The same prompts, asked of two checkpoints: from the rows of two measurements to what went up and what went down.

Standard library only, from the rows that the record keeps: hash of the prompt, label, score. The value of a row is what
`measures.reading` makes of it; rows whose mean is not the measurement's own number (a rate that labels corrected, the
worst of several attacks) are not used, because the change would be one of another number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from geoaudit.records import REFUSED, SUCCEEDED, UNREAD, Measurement
from geoaudit.stats.paired import Change

_ROW_HITS: Mapping[str, frozenset[str]] = {
    "attack_success_rate": frozenset(SUCCEEDED),
    "transfer_asr": frozenset(SUCCEEDED),
    "refusal_rate": frozenset(REFUSED),
    "degenerate_rate": frozenset({"degenerate"}),
}
_OVER_REFUSED: Mapping[str, frozenset[str]] = {
    "any": frozenset(REFUSED),
    "full": frozenset({"full_refusal"}),
    "partial": frozenset({"partial_refusal"}),
}
_GRADES: Mapping[str, Callable[[float], float]] = {
    "strict": lambda grade: float(grade >= 1),
    "lenient": lambda grade: float(grade >= 0.5),
    "mean": float,
}
Span = tuple[float, float]
"""Value of a behaviour with unread rows as misses, and as hits."""


class Unpaired(Exception):
    """Two measurements were made on prompts that cannot be paired."""


@dataclass(frozen=True)
class Paired:
    """Two measurements on the prompts that both were made on."""

    change: Change
    """Candidate minus other, unread rows as misses on both sides."""
    extremes: tuple[Change, ...]
    """The same with unread rows at their worst on both sides: the least and the greatest. Empty where all was read."""
    unread: int
    """Behaviours whose value hangs on rows that nobody could read, of both sides together."""
    values: tuple[float, float]
    """Candidate's and other's mean over these prompts."""
    what: str
    """`prompts`, or `behaviours` where some have several cases."""
    note: str = ""
    """What a reader must know of the prompts."""

    @property
    def n(self) -> int:
        """Pairs."""
        return self.change.n


def paired(candidate: Measurement, other: Measurement) -> Paired | None:
    """The pairs of two measurements of one measure; None where the measure is not a mean over rows.

    Prompts are matched by the hash of their text. One set may be part of the other (a profile takes the first n of a
    fixed order): what both have is then compared, and said. Sets of which neither holds the other are not paired.

    Raises:
        Unpaired: rows on one side only, other prompts, or other cases of the same behaviours.
    """
    same = _exchanges(candidate) & _exchanges(other) if candidate.parameters.get("attack") != "sampled" else set()
    ours, theirs = spans(candidate, same), spans(other, same)
    if ours is None or theirs is None:
        if (ours is None) != (theirs is None) and not (_rows(candidate) and _rows(other)):
            raise Unpaired("only one of the two has rows, so that nothing pairs its prompts")
        return None
    if candidate.measure == "benign_utility":
        return _graded(candidate, other)
    common = [prompt for prompt in ours if prompt in theirs]
    if len(common) < min(len(ours), len(theirs)):
        raise Unpaired(
            f"{len(ours)} prompts here and {len(theirs)} there, of which {len(common)} are the same: neither set holds "
            "the other, so that a difference may be one of the prompts"
        )
    if not _adaptive(candidate):
        cases, others = _cases(candidate), _cases(other)
        changed = sum(cases[prompt] != others[prompt] for prompt in common)
        if changed:
            raise Unpaired(f"{changed} of {len(common)} behaviours were asked in other cases there than here")
    several = any(len(ids) > 1 for ids in _cases(candidate).values())
    note = ""
    if len(ours) != len(theirs):
        note = f"compared on the {len(common)} prompts that both have; {len(ours)} were asked here, {len(theirs)} there"
    return _of([ours[one] for one in common], [theirs[one] for one in common], several, note)


def spans(found: Measurement, same: Set[tuple[str, str]] = frozenset()) -> dict[str, Span] | None:
    """Prompt -> its value with unread rows as misses, and as hits; None where the rows are not the number.

    Args:
        found: a rate or a score.
        same: (prompt, exchange) of rows that another checkpoint answered in the very same words: whatever they are,
            they are that on both sides, and make no difference.
    """
    rows = _rows(found)
    if not rows or found.estimate is None or found.detail.get("labels") or len(found.detail.get("conditions", ())) > 1:
        return None
    if found.measure == "benign_utility":
        if found.parameters.get("score") not in _GRADES:
            return None
        count = _GRADES[found.parameters["score"]]
        values = {row["sha256"]: count(row["grade"]) for row in rows if row["grade"] is not None}
        return {prompt: (value, value) for prompt, value in values.items()} if _is(found, values.values()) else None
    if found.measure == "strongreject_score":
        hits: frozenset[str] | None = None
    elif found.measure == "over_refusal_rate":
        hits = _OVER_REFUSED.get(found.parameters.get("refusal", ""))
    else:
        hits = _ROW_HITS.get(found.measure)
    if hits is None and found.measure != "strongreject_score":
        return None
    reduce: Callable[[Iterable[float]], float] = max if found.parameters.get("attack") == "sampled" else fmean
    groups: dict[str, list[Span]] = {}
    for row in rows:
        low, high = _value(row, hits)
        known = (row["sha256"], row.get("exchange")) in same
        groups.setdefault(row["sha256"], []).append((low, low if known else high))
    made = {
        prompt: (reduce([low for low, _ in group]), reduce([high for _, high in group]))
        for prompt, group in groups.items()
    }
    return made if _is(found, [low for low, _ in made.values()]) else None


def _value(row: Mapping[str, Any], hits: frozenset[str] | None) -> Span:
    """The value of a row as a miss and as a hit where nobody could read it, else the same twice."""
    label = row["label"]
    is_hit = hits is not None and label in hits
    unread = label in UNREAD and not is_hit
    if row.get("broken"):  # a refusal that a string rule finds in a loop is nobody's refusal
        unread = not is_hit or (hits is not None and hits <= REFUSED)
    if unread or (hits is None and row.get("score") is None):
        return 0.0, 1.0
    value = float(row["score"]) if hits is None else float(is_hit)
    return value, value


def _exchanges(found: Measurement) -> set[tuple[str, str]]:
    """(prompt, exchange) of every row."""
    return {(row["sha256"], row["exchange"]) for row in _rows(found) if row.get("exchange")}


def _rows(found: Measurement) -> Sequence[Mapping[str, Any]]:
    """The rows of completions; spectra call a number so."""
    rows = found.detail.get("rows")
    return rows if isinstance(rows, list | tuple) else ()


def _is(found: Measurement, values: Iterable[float]) -> bool:
    """Whether the mean of some values is the measurement's number."""
    there = list(values)
    return bool(there) and math.isclose(fmean(there), float(found.estimate or 0.0), rel_tol=1e-9, abs_tol=1e-9)


def _adaptive(found: Measurement) -> bool:
    return found.parameters.get("attack") in ("gcg", "autodan")


def _cases(found: Measurement) -> dict[str, list[str]]:
    cases: dict[str, list[str]] = {}
    for row in found.detail["rows"]:
        cases.setdefault(row["sha256"], []).append(row["id"])
    return {prompt: sorted(ids) for prompt, ids in cases.items()}


def _of(ours: Sequence[Span], theirs: Sequence[Span], several: bool, note: str) -> Paired:
    """The changes of values that stand in the same order."""

    def change(here: int, there: int) -> Change:
        return Change.of([span[there] for span in theirs], [span[here] for span in ours])

    unread = sum(low != high for pair in zip(ours, theirs, strict=True) for low, high in pair)
    return Paired(
        change(0, 0),
        (change(0, 1), change(1, 0)) if unread else (),
        unread,
        (fmean(low for low, _ in ours), fmean(low for low, _ in theirs)),
        "behaviours" if several else "prompts",
        note,
    )


def _graded(candidate: Measurement, other: Measurement) -> Paired:
    """Utility: only prompts that some check or server grades count, and an answer of them that was not read may be any.

    Raises:
        Unpaired: other prompts, or none that both sides have a grade of.
    """
    count = _GRADES[candidate.parameters["score"]]
    ours, theirs = ({row["sha256"]: row["grade"] for row in found.detail["rows"]} for found in (candidate, other))
    common = [prompt for prompt in ours if prompt in theirs]
    if len(common) < min(len(ours), len(theirs)):
        raise Unpaired(f"{len(ours)} prompts here and {len(theirs)} there, of which {len(common)} are the same")

    def span(grade: float | None) -> Span:
        return (0.0, 1.0) if grade is None else (count(grade), count(grade))

    both = [(ours[one], theirs[one]) for one in common if ours[one] is not None and theirs[one] is not None]
    one_sided = [(ours[one], theirs[one]) for one in common if (ours[one] is None) != (theirs[one] is None)]
    # what neither side has a grade of has no check, but for answers that were unreadable on both
    missing = sum(one is None for one, _ in one_sided), sum(one is None for _, one in one_sided)
    unread = [int(found.detail.get("unread", 0)) for found in (candidate, other)]
    hidden = max(0, unread[0] - missing[0], unread[1] - missing[1])
    if not both:
        raise Unpaired("no prompt has a grade on both sides")
    plain = _of([span(a) for a, _ in both], [span(b) for _, b in both], False, "")
    spread = [(span(a), span(b)) for a, b in (*both, *one_sided)] + [((0.0, 1.0), (0.0, 1.0))] * hidden
    worst = _of([a for a, _ in spread], [b for _, b in spread], False, "")
    note = ""
    if len(ours) != len(theirs):
        note = f"compared on the {len(common)} prompts that both have; {len(ours)} were asked here, {len(theirs)} there"
    return Paired(plain.change, worst.extremes, worst.unread, plain.values, "prompts", note)
