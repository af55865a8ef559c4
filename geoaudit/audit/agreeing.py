"""Whether a measurement that was made again agrees with the one in a record. Pure: no files, no torch.

Labels and counts must be the same. A number may differ by what rounding can do to it, and by no more. Under the same
contract (weights, prompts, dtype, batches, kind of device, libraries) only the order differs in which a kernel adds,
between processors and numbers of threads. A pass through L layers rounds the stream 2L times to the unit roundoff u of
the dtype; as a random walk that is u·√(2L), relative to the number's size (or to the width of its range, where it has
one, since a cosine near 0 comes from a stream that is not).

Under another contract greedy text itself may change (24 of 64 completions differed in bfloat16 between batches of 8 and
of 64; none in float32). Then agreement is still agreement; a difference says nothing against the record.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from geoaudit.records import Measurement

Verdict = Literal["agrees", "differs", "open"]
ROUNDOFF: Mapping[str, float] = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoff of each dtype: half the distance from 1 to the next number (Higham 2002, §2.1)."""
_ENDS = ("estimate", "low", "high")


@dataclass(frozen=True)
class Agreement:
    """What comparing one measurement with its repetition gave."""

    verdict: Verdict
    sentence: str


def tolerance(dtype: str, n_layers: int) -> float:
    """Relative difference that rounding explains: u·√(2L). An unknown dtype is taken for the coarsest."""
    return ROUNDOFF.get(dtype, max(ROUNDOFF.values())) * math.sqrt(2 * max(1, n_layers))


def agreement(
    recorded: Measurement,
    again: Measurement,
    *,
    kind: str,
    span: tuple[float | None, float | None],
    relative: float,
    excuse: str,
) -> Agreement:
    """Compare a measurement with the one in the record.

    Args:
        recorded: with its rows.
        again: with its rows.
        kind: the measure's: rate, continuous, discrete.
        span: the range of its values.
        relative: from `tolerance`.
        excuse: what else than tampering may explain a difference, in words; empty where nothing does.
    """
    apart = _apart(recorded, again, kind, span, relative)
    rows = _rows(recorded)
    if not apart:
        labels = f", all {len(rows)} labels alike" if rows else ""
        return Agreement("agrees", f"{_shown(again)}{labels}{_texts(rows, _rows(again))}")
    said = "; ".join(apart)
    if excuse:
        return Agreement("open", f"{said}; that is no proof: {excuse}")
    return Agreement("differs", said)


def _apart(
    recorded: Measurement, again: Measurement, kind: str, span: tuple[float | None, float | None], relative: float
) -> list[str]:
    if again.estimate is None:
        return [f"there is no number now: {again.why_missing}"]
    found = []
    others = [name for name, sha in recorded.inputs.items() if again.inputs.get(name) != sha]
    if others:
        found.append(f"the prompts of {', '.join(others)} are others now")
    found += _labels(_rows(recorded), _rows(again))
    exact = kind != "continuous"
    for name in _ENDS:
        here, there = getattr(again, name), getattr(recorded, name)
        if here is None or there is None:
            if here is not there:
                found.append(f"{name}: {there} in the record, {here} now")
            continue
        allowed = 1e-9 if exact else relative * _size(here, there, span)
        if abs(here - there) > allowed:
            bound = "" if exact else f", more than the {allowed:.2g} that rounding explains"
            found.append(f"{name}: {there:.6g} in the record, {here:.6g} now{bound}")
    if again.n != recorded.n:
        found.append(f"n: {recorded.n} in the record, {again.n} now")
    return found


def _rows(found: Measurement) -> Sequence[Mapping[str, Any]]:
    """The rows of its completions, where it was read from some."""
    rows: Sequence[Mapping[str, Any]] = found.detail["rows"] if "completions" in found.detail else ()
    return rows


def _size(here: float, there: float, span: tuple[float | None, float | None]) -> float:
    low, high = span
    width = high - low if low is not None and high is not None else 0.0
    return max(abs(here), abs(there), width)


def _labels(recorded: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows that have another label, or are not the same prompts."""
    ours, theirs = ([(row["sha256"], row["id"]) for row in rows] for rows in (again, recorded))
    if ours != theirs:
        return [f"other prompts, or in another order: {len(theirs)} rows in the record, {len(ours)} now"]
    changed = [
        f"{before['id']}: {before['label']} in the record, {now['label']} now"
        for before, now in zip(recorded, again, strict=True)
        if before["label"] != now["label"]
    ]
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return [f"{len(changed)} of {len(again)} labels differ ({', '.join(changed[:3])}{more})"] if changed else []


def _texts(recorded: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> str:
    """How many answers read otherwise, though their labels are the same."""
    others = sum(before.get("exchange") != now.get("exchange") for before, now in zip(recorded, again, strict=False))
    return f" ({others} texts are not word for word the same)" if others else ""


def _shown(found: Measurement) -> str:
    ends = "" if found.low is None or found.high is None else f" [{found.low:.4g}, {found.high:.4g}]"
    return f"{found.estimate:.4g}{ends}, n = {found.n}"
