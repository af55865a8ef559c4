"""Values that a person wrote, in a suite or in Python, checked against the table: parameters and bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from geoaudit.errors import GeoauditError, did_you_mean
from geoaudit.measures.definition import Against, Measure, Parameter
from geoaudit.measures.inputs import ChatSetting, File, Source

CHAT_KEYS = ("system", "template", "thinking")


def impossible(bound: float, measure: Measure) -> str | None:
    """Why a bound lies outside what the measure can be, or None."""
    low, high = measure.range
    if (low is None or bound >= low) and (high is None or bound <= high):
        return None
    ends = f"[{'−∞' if low is None else f'{low:g}'}, {'∞' if high is None else f'{high:g}'}]"
    return f"bound {bound:g} is impossible: {measure.name} lies in {ends} ({measure.unit})"


def impossible_change(margin: float, measure: Measure) -> str | None:
    """Why a margin lies outside what a change of the measure can exceed or reach, or None."""
    low, high = measure.range
    if low is None or high is None or abs(margin) < high - low:
        return None
    span = high - low
    return (
        f"a change of {measure.name} lies in [{-span:g}, {span:g}] ({measure.unit}): a margin of {margin:g} is never "
        "broken or never kept"
    )


def check_parameter(name: str, parameter: Parameter, value: Any) -> Any:
    """The value in its proper type.

    Raises:
        GeoauditError: if it is not of the parameter's type or outside its range.
    """
    match parameter.type:
        case "choice":
            if value not in parameter.choices:
                near = did_you_mean(str(value), parameter.choices)
                raise GeoauditError(f"{name} cannot be {value!r}{near}; {listed(parameter.choices)}")
            return value
        case "checkpoint":
            role = value.role if isinstance(value, Against) else value
            if parameter.named and isinstance(role, str) and role and role not in parameter.choices:
                return value if isinstance(value, Against) else Against("named", role)
            if role not in parameter.choices:
                near = did_you_mean(str(role), parameter.choices)
                raise GeoauditError(f"{name} cannot be {role!r}{near}; {listed(parameter.choices)}")
            return Against(role)
        case "position":
            if value != "t_inst" and (isinstance(value, bool) or not isinstance(value, int) or value >= 0):
                raise GeoauditError(
                    f"{name} is t_inst, or a whole number below 0 (−1: last token of the prompt), got {value!r}"
                )
            return value
        case "bool":
            if not isinstance(value, bool):
                raise GeoauditError(f"{name} is true or false, got {value!r}")
            return value
        case "int":
            if isinstance(value, bool) or not isinstance(value, int):
                raise GeoauditError(f"{name} must be a whole number, got {value!r}")
        case "float":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise GeoauditError(f"{name} must be a finite number, got {value!r}")
            value = float(value)
        case "source":
            return value if isinstance(value, Source) else Source(str(value))
        case "stored":
            if isinstance(value, Mapping) and set(value) == {"file"}:
                file = Path(value["file"]).resolve()
                return Source(name=file.name, file=str(file))
            if isinstance(value, Source):
                return value
            return _stored(name, value)
        case "file":
            return _file(name, value)
        case "chat":
            return _chat(name, value)
        case "text":
            if not isinstance(value, str):
                raise GeoauditError(f"{name} must be text, got {value!r}")
            return value
        case "choices":
            several = [value] if isinstance(value, str) else value
            if not isinstance(several, (list, tuple)) or not several or len(set(map(str, several))) != len(several):
                raise GeoauditError(f"{name} is one name or a list of different ones, got {value!r}")
            for one in several:
                if one not in parameter.choices:
                    near = did_you_mean(str(one), parameter.choices)
                    raise GeoauditError(f"{name} cannot be {one!r}{near}; {listed(parameter.choices)}")
            return several[0] if len(several) == 1 else tuple(several)
    if (parameter.low is not None and value < parameter.low) or (parameter.high is not None and value > parameter.high):
        top = "∞" if parameter.high is None else f"{parameter.high:g}"
        raise GeoauditError(f"{name} must lie in [{parameter.low:g}, {top}], got {value!r}")
    return value


def against(measure: Measure, given: Mapping[str, Any]) -> Against | None:
    """What a measure compares with, as given or by default; None for a measure of one checkpoint."""
    for name, parameter in measure.parameters.items():
        if parameter.type == "checkpoint":
            found: Against = check_parameter(name, parameter, given.get(name, parameter.default))
            return found
    return None


def _stored(name: str, value: Any) -> str:
    """The name of a set of stored attacks."""
    from geoaudit.attacks.stored import sets

    known = [one.name for one in sets()]
    if value not in known:
        raise GeoauditError(
            f"{name} cannot be {value!r}{did_you_mean(str(value), known)}; one of {', '.join(known)}, or a file"
        )
    return str(value)


def _file(name: str, value: Any) -> File:
    """A file that is there."""
    if isinstance(value, File):
        return value
    if not isinstance(value, (str, Path)) or not str(value):
        raise GeoauditError(f"{name} must be the path of a file, got {value!r}")
    try:
        path = Path(value).resolve()
        found = path.is_file()
    except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a null character
        found = False
    if not found:
        raise GeoauditError(f"{name}: no such file: {str(value)!r}")
    return File(str(path))


def _chat(name: str, value: Any) -> ChatSetting:
    """A setting given in Python."""
    if isinstance(value, ChatSetting):
        return value
    if not isinstance(value, Mapping) or not set(value) <= set(CHAT_KEYS):
        raise GeoauditError(f"{name} is a mapping of {', '.join(CHAT_KEYS)}, got {value!r}")
    return ChatSetting(**value)


def listed(words: Iterable[str]) -> str:
    """`one of a, b, c`."""
    return "one of " + ", ".join(words)
