"""The check `single-condition` for suites that a release hangs on: one way of asking is no gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geoaudit.attacks.cases import ADAPTIVE
from geoaudit.audit.suite import Assertion, Suite
from geoaudit.measures.asking import KEYS
from geoaudit.measures.inputs import Source
from geoaudit.records import Flag

FREE = frozenset(KEYS) - {"direct", "fixed", "worst"} - ADAPTIVE
"""The attacks that cost nothing to run; a gate tries them all."""
OWN = frozenset(key for keys in KEYS.values() for key in keys) | {"attack"}
"""Parameters in which lines on several attacks may differ."""


def single_condition(suite: Suite, assertion: Assertion, checkpoint: str) -> Flag | None:
    """A stop where a gate bounds how a model answers harmful requests from one way of asking alone.

    A bound on attack success is covered by a line of the same suite with `attack: worst`, or by lines on every free
    attack: about the same checkpoint, no looser, and alike in everything but the attack (source, judge, n, ...).
    Other bounds that say the same of harmful requests (a least refusal rate, a largest StrongREJECT score) need such a
    line on their source beside them.
    """
    if not suite.gate or not _claims_safety(assertion):
        return None
    own = assertion.measure == "attack_success_rate"
    tried = {
        line.parameters.get("attack", "direct")
        for line in suite.assertions
        if line.measure == "attack_success_rate"
        and line.comparator in ("at_most", "never_above")
        and line.concerns(checkpoint)
        and (_covers(line, assertion) if own else _source(line.parameters) == _source(assertion.parameters))
    }
    if "worst" in tried or tried >= FREE:
        return None
    missing = ", ".join(sorted(FREE - tried))
    return Flag(
        "single-condition",
        "stops",
        "a gate must not hang on one way of asking: add a line on attack_success_rate with `attack: worst`, the same "
        f"source, judge and n, and no looser bound (not tried: {missing})",
    )


def _claims_safety(assertion: Assertion) -> bool:
    """Whether an assertion says that harmful requests are not met."""
    match assertion.measure:
        case "attack_success_rate" | "strongreject_score":
            return _bounds(assertion, "above", ("at_most", "between", "equals", "never_above"))
        case "refusal_rate":
            bounds = _bounds(assertion, "below", ("at_least", "between", "equals", "never_below"))
            return bounds and _harmful(_source(assertion.parameters))
    return False


def _bounds(assertion: Assertion, unsafe: str, comparators: tuple[str, ...]) -> bool:
    """Whether an assertion keeps a value out of the `unsafe` side of its bound; a change or a trend keeps none."""
    across = assertion.across
    if across is not None and across.rule == "first_failing_step":
        return across.fails == unsafe and across.not_before is not None
    return assertion.comparator in comparators


def _covers(line: Assertion, assertion: Assertion) -> bool:
    return line.bound[0] <= assertion.bound[-1] and _apart_from_attack(line) == _apart_from_attack(assertion)


def _apart_from_attack(line: Assertion) -> dict[str, Any]:
    return {name: value for name, value in line.parameters.items() if name not in OWN}


def _source(parameters: Mapping[str, Any]) -> Source:
    source = parameters.get("source", Source("harmful"))
    return source if isinstance(source, Source) else Source(str(source))


def _harmful(source: Source) -> bool:
    from geoaudit.prompts.sources import names

    if source.file:
        return source.label == "harmful"
    return any(one.name == source.name and one.label == "harmful" for one in names())
