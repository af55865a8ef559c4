"""Rules across a trajectory about its course: never falling back, a trend, a jump, going with another measure.

A trend or a jump needs an order that few other orders of the same values are as telling as (a permutation test,
p ≤ 0.05), and a ρ, a place and a size that stand when every point is redrawn from its interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from geoaudit.audit.decide import By
from geoaudit.audit.points import LEVEL, SEED, Course, Finding, Point, course_of, otherwise, redrawn, unusable
from geoaudit.audit.rules import Across
from geoaudit.errors import NothingToMeasure
from geoaudit.records import Flag
from geoaudit.stats.multiplicity import holm

if TYPE_CHECKING:
    from geoaudit.stats.orders import Permuted


def foreseen(across: Across, n: int) -> str | None:
    """Why a rule cannot be decided on `n` checkpoints, whatever they turn out to be; None where it can.

    Of n different values the most telling order is one of n! for a correlation, and one of the ways to choose the half
    of them for a jump (two of them where it may go either way).
    """
    if n < 2:
        return "one checkpoint is no trajectory"
    if across.rule in ("trend", "goes_with"):
        least = 1 / math.factorial(n)
    elif across.rule == "change_point":
        least = (2 if across.direction == "either" else 1) / math.comb(n, n // 2)
    else:
        return None
    return None if least <= LEVEL else f"{n} checkpoints are too few: no order of them has a p-value below {least:.2g}"


def followed(across: Across, points: Sequence[Point], by: By) -> Finding:
    """A rule about the course, on the numbers as they are, and with unreadable rows and other judges in their place.

    A fall that is sure is one, whatever the checkpoints hold that could not be measured; the other rules need them all.
    """
    whole, why = [], ""
    for point in points:
        both = (point.measurement, *([point.other] if point.other is not None else []))
        if (hole := next(filter(None, (unusable(one, by) for one in both)), None)) is None:
            whole.append(point)
        else:
            why = why or f"at {point.checkpoint}, {hole}"
    if why:
        found = _read(across, whole, by) if across.rule == "monotone" and len(whole) > 1 else None
        return found if found is not None and found.outcome == "failed" else Finding("invalid", why)
    return _read(across, points, by)


def _read(across: Across, points: Sequence[Point], by: By) -> Finding:
    """A rule on points that are all usable."""
    course = course_of(points, by)
    rule = {"monotone": _monotone, "trend": _trend, "change_point": _change_point, "goes_with": _goes_with}[across.rule]
    found = rule(across, course, by)
    if found.outcome == "invalid":
        return found
    for name, text, other in otherwise(points, course, by):
        if (outcome := rule(across, other, by).outcome) != found.outcome:
            stop = Flag(name, "stops", f"{text} (then {outcome})")
            return replace(found, outcome="invalid", sentence=f"{name}: {stop.sentence}", flags=(stop,))
    return found


def _monotone(across: Across, course: Course, by: By) -> Finding:
    """Every pair of an earlier and a later checkpoint: how far the later one falls back."""
    from geoaudit.stats.trend import difference, p_beyond

    slack, rising = across.slack or 0.0, across.direction == "rising"
    pairs = [
        (i, j, difference(course.ends[i], course.ends[j]) if rising else difference(course.ends[j], course.ends[i]))
        for i in range(len(course.ends))
        for j in range(i + 1, len(course.ends))
        if course.steps[i] < course.steps[j]
    ]
    if not pairs:
        return Finding("invalid", "all checkpoints are of the same step")
    adjusted = holm([p_beyond(back, slack) for _, _, back in pairs])
    most = max(range(len(pairs)), key=lambda at: pairs[at][2][0])
    i, j, (back, low, high) = pairs[most]
    verb = "falls back" if rising else "rises"
    between = f"from {course.names[i]} to {course.names[j]}"
    shown = {"from": course.names[i], "to": course.names[j], "estimate": back, "low": low, "high": high}
    result = {"backward": {**shown, "slack": slack, "pairs": len(pairs)}}
    text = f"it {verb} most {between}, by {back:.4g}"
    if by == "estimate":
        passed = all(one[0] <= slack for _, _, one in pairs)
        return Finding("passed" if passed else "failed", f"{text} (the estimates; {slack:g} is allowed)", result)
    broken = [at for at, (_, _, one) in enumerate(pairs) if one[1] > slack and adjusted[at] <= LEVEL]
    if broken:
        i, j, (back, low, high) = pairs[min(broken, key=lambda at: adjusted[at])]
        text = f"it {verb} from {course.names[i]} to {course.names[j]}, by {back:.4g} [{low:.4g}, {high:.4g}]"
        return Finding("failed", f"{text}, surely more than {slack:g} (Holm over {len(pairs)} pairs)", result)
    if all(one[2] <= slack for _, _, one in pairs):
        return Finding("passed", f"{text}: surely no more than {slack:g} in any of {len(pairs)} pairs", result)
    i, j, (back, low, high) = max(pairs, key=lambda pair: pair[2][2])
    text = "it may fall back" if rising else "it may rise"
    text += f" from {course.names[i]} to {course.names[j]}, by {back:.4g} [{low:.4g}, {high:.4g}]"
    return Finding("inconclusive", f"{text}; {slack:g} is allowed", result)


def _trend(across: Across, course: Course, by: By) -> Finding:
    """Spearman's ρ with the steps."""
    return _correlated(across, course, by, [float(step) for step in course.steps], across.direction == "rising", "step")


def _goes_with(across: Across, course: Course, by: By) -> Finding:
    """Spearman's ρ with another measure of the same checkpoints."""
    from geoaudit.stats.trend import partial

    assert across.other is not None
    other = [one[0] for one in course.others]
    same = across.direction == "same"
    found = _correlated(across, course, by, other, same, across.other.measure)
    held = partial(course.values, other, course.steps) if len(set(course.steps)) > 1 else None
    if "trend" not in found.result:
        return found
    found = replace(found, result={"trend": {**found.result["trend"], "at_equal_step": held}})
    rho = found.result["trend"]["rho"]
    if found.outcome == "passed" and held is not None and held * rho < rho * rho / 2:
        text = (
            f"both follow the steps of training: with those held fixed ρ is {held:.2f}, so that the one says little of "
            "the other"
        )
        return replace(found, flags=(*found.flags, Flag("common-trend", "note", text)))
    return found


def _correlated(across: Across, course: Course, by: By, other: Sequence[float], wanted: bool, name: str) -> Finding:
    """A rank correlation that is `wanted` to be positive, or else negative."""
    from geoaudit.stats.trend import association, interval

    values, least = course.values, across.rho or 0.0
    if len(set(other)) < 2:
        return Finding("invalid", f"{name} is {other[0]:g} at every checkpoint")
    if len(set(values)) < 2:
        return _constant(course, by)
    if len(values) < 3:
        return _few(f"{len(values)} checkpoints make no trend")
    found = association(other, values, SEED)
    test, contrary = (found.rising, found.falling) if wanted else (found.falling, found.rising)
    trend: dict[str, Any] = {
        "with": name,
        "rho": found.rho,
        "low": None,
        "high": None,
        "interval": "",
        "p": test.p,
        "p_contrary": contrary.p,
        "least_p": test.least,
        "n": found.n,
        "exact": found.exact,
        "seed": SEED,
    }
    result = {"trend": trend}
    if test.least > LEVEL:
        return replace(_few(_least(found.n, test.least)), result=result)
    rho = found.rho if found.rho is not None else 0.0
    toward = rho if wanted else -rho
    asked = f"{'above' if wanted else 'below'} 0" if not least else f"{least if wanted else -least:g} or beyond"
    orders = f"p {_p_text(test)} over {'all orders' if found.exact else 'drawn orders'}"
    text = f"ρ with {name} is {rho:.2f}"
    if by == "estimate":
        passed = toward > 0 and toward >= least
        return Finding(
            "passed" if passed else "failed",
            f"{text} over {found.n} checkpoints (the estimate; asked: {asked})",
            result,
        )
    try:
        ours = redrawn(course.ends, course.spreads, 1)
        theirs = redrawn(course.others, course.other_spreads, 2) if across.rule == "goes_with" else None
        low, high, how = interval(other, values, first_redrawn=theirs, second_redrawn=ours, seed=SEED)
    except NothingToMeasure as error:
        return Finding("inconclusive", f"{text}: {error}", result)
    trend |= {"low": low, "high": high, "interval": how}
    near, far = (low, high) if wanted else (-high, -low)
    text += f" [{low:.2f}, {high:.2f}] over {found.n} checkpoints, {orders}"
    if test.p <= LEVEL and near > 0 and near >= least:
        return Finding("passed", f"{text} (asked: {asked})", result)
    if (contrary.p <= LEVEL and far < 0) or (least and far < least):
        return Finding("failed", f"{text} (asked: {asked})", result)
    return Finding("inconclusive", f"{text}, which does not settle whether it is {asked}", result)


def _change_point(across: Across, course: Course, by: By) -> Finding:
    """One jump: that there is one, where, which way and how far."""
    from geoaudit.stats.jumps import jump, jump_places

    values = course.values
    if len(set(values)) < 2:
        return _constant(course, by)
    if len(set(course.steps)) < 2 or len(values) < 3:
        return _few(f"{len(values)} checkpoints make no jump")
    found = jump(values, course.steps, SEED)
    test: Permuted = getattr(found, str(across.direction))
    sign = {"rising": 1.0, "falling": -1.0}.get(str(across.direction), math.copysign(1.0, found.size))
    before, after = course.steps[found.place - 1], course.steps[found.place]
    shown: dict[str, Any] = {
        "between": [before, after],
        "checkpoints": [course.names[found.place - 1], course.names[found.place]],
        "size": found.size,
        "low": None,
        "high": None,
        "p": test.p,
        "least_p": test.least,
        "explained": found.explained,
        "line": found.line,
        "place_shares": [],
        "n": found.n,
        "exact": found.exact,
        "seed": SEED,
    }
    result = {"jump": shown}
    if test.least > LEVEL:
        return replace(_few(_least(found.n, test.least)), result=result)
    first, last = across.between or (course.steps[0], course.steps[-1])
    least = across.size or 0.0

    def there(place: int) -> bool:
        return first <= course.steps[place - 1] and course.steps[place] <= last

    text = f"it changes most between steps {before} and {after}, by {found.size:.4g}"
    gradual = found.line >= found.explained
    smooth = f"a straight line explains {found.line:.0%} of the variance and a jump {found.explained:.0%}: it drifts"
    if by == "estimate":
        shown["place_shares"] = [{"between": [before, after], "share": 1.0}]
        right = there(found.place) and found.size * sign > 0 and abs(found.size) >= least
        if right and gradual:
            return Finding("failed", f"{text} (the estimates), but {smooth}", result)
        return Finding("passed" if right else "failed", f"{text} (the estimates)", result)
    places, sizes = jump_places(redrawn(course.ends, course.spreads, 3), course.steps)
    shown["place_shares"] = [
        {"between": [course.steps[place - 1], course.steps[place]], "share": float((places == place).mean())}
        for place in sorted({int(one) for one in places})
    ]
    inside = [there(int(place)) and size * sign > 0 for place, size in zip(places, sizes, strict=True)]
    share = sum(inside) / len(inside)
    tail = max(1, int(0.025 * len(sizes)))
    ordered = sorted(float(one) for one in sizes)
    low, high = min(ordered[tail - 1], found.size), max(ordered[-tail], found.size)
    shown |= {"low": low, "high": high, "share": share}
    near, far = (low, high) if sign > 0 else (-high, -low)
    tested = f"p {_p_text(test)} over {'all orders' if found.exact else 'drawn orders'}"
    text += f" [{low:.4g}, {high:.4g}], {tested}; {share:.0%} of the redraws have it so"
    surely_else = found.either.p <= LEVEL and share <= LEVEL
    if surely_else or (least and far < least):
        return Finding("failed", text, result)
    if test.p > LEVEL or share < 1 - LEVEL or not near >= least:
        return Finding("inconclusive", text, result)
    if gradual:
        return Finding("inconclusive", f"{text}; but {smooth}", result)
    return Finding("passed", text, result)


def _constant(course: Course, by: By) -> Finding:
    """The same value at every checkpoint: no trend where that is sure."""
    value = course.values[0]
    sure = by == "estimate" or all(low == high for _, low, high in course.ends)
    text = f"it is {value:.4g} at every checkpoint"
    if sure:
        return Finding("failed", text, {})
    return Finding("inconclusive", f"{text}, each within an interval: no order to go by", {})


def _few(why: str) -> Finding:
    flag = Flag("few-points", "stops", why)
    return Finding("invalid", f"few-points: {why}", {}, (flag,))


def _least(n: int, least: float) -> str:
    return (
        f"even the most telling order of these {n} values would have a p-value of {least:.2g}, above {LEVEL:g}: more "
        "checkpoints are needed"
    )


def _p_text(test: Permuted) -> str:
    return f"{test.p:.2g}"
