"""How reports cross from xdist's workers to the controller.

The wire takes no lone surrogate and no number of another library, and ends the worker over one. Messages of templates
and libraries are hostile text: what a verdict says crosses as JSON and arrives as it was, the rest with such characters
as escapes.
"""

from __future__ import annotations

import json
from typing import Any

OWN = ("geoaudit", "geoaudit_worker")
"""Attributes of a report that are ours."""
_KEY = "geoaudit_json"


def outgoing(data: dict[str, Any]) -> dict[str, Any]:
    """A serialised report as the wire takes it."""
    own = {name: data[name] for name in OWN if name in data}
    rest = {name: _encodable(value) for name, value in data.items() if name not in own}
    return {**rest, _KEY: json.dumps(own)}


def incoming(data: dict[str, Any]) -> None:
    """Put back in place what `outgoing` packed."""
    data.update(json.loads(data.pop(_KEY, "{}")))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_encodable(part) for part in value)
    return value
