"""What stands beside a number so that it means something: its controls, or what chance gives; for failed tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from geoaudit.records import Measurement

CHANCE = (("permuted", "permuted labels"), ("harmless", "contrasts between harmless topics"))


def controls(found: Measurement) -> str:
    """The line; "" where the measure has neither controls nor a level of chance."""
    return _of_an_edit(found.detail) or _of_a_carrier(found.detail) or _of_chance(found.detail)


def _of_an_edit(detail: Mapping[str, Any]) -> str:
    """Of an intervention: its own effect and that of the controls that decide, whose difference the number is."""
    decides = detail.get("decides")
    own, mean = detail.get("effect"), detail.get("control_mean")
    kinds = _mapping(detail.get("controls"))
    if not isinstance(decides, str) or not _all(own, mean):
        return ""
    there = _mapping(kinds.get(decides))
    effects = [value for value in there.get("effect") or () if _all(value)]
    ends = f", from {min(effects):.4g} to {max(effects):.4g}" if effects else ""
    p = f", p = {detail['p']:.3g}" if _all(detail.get("p")) else ""
    return (
        f"controls: {own:.4g} with the target, {mean:.4g} on average with {there.get('n', 'its')} controls "
        f"({decides.replace('_', '-')}{ends}){p}"
    )


def _of_a_carrier(detail: Mapping[str, Any]) -> str:
    """Of a carrier that was looked at closely: how far adding it brings harmless prompts, beside its controls."""
    examined = _mapping(detail.get("examined"))
    own = _mapping(examined.get("target")).get("s_refuse_scaled")
    values = [one for one in _mapping(examined.get("controls")).get("s_refuse_scaled") or () if _all(one)]
    if not _all(own) or not values:
        return ""
    p = f", p = {examined['p']:.3g}" if _all(examined.get("p")) else ""
    return (
        f"controls: inducing score {own:.4g}, at most {max(values):.4g} with {len(values)} controls that disturb as "
        f"much (kl-matched){p}"
    )


def _of_chance(detail: Mapping[str, Any]) -> str:
    """What permuted labels and contrasts between harmless topics give in the place of the number."""
    null = _mapping(detail.get("null"))
    said = [
        f"{words} {level['low']:.4g} to {level['high']:.4g}"
        for name, words in CHANCE
        if (level := _mapping(null.get(name))) and _all(level.get("low"), level.get("high"))
    ]
    return f"chance gives: {', '.join(said)}" if said else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _all(*values: Any) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)
