"""Records with hostile strings in them, and what a report of one must not become."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from typing import Any

Read = Callable[[str], Any]
PAYLOAD = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}&lt;\u202eevil\u2066\x00]]><!--"
BREAKOUT = (
    "<script>window.broken=1</script><img src=x onerror=window.broken=1><svg onload=window.broken=1>"
    "</style></script></title></desc></svg></textarea>]]>--><body onload=window.broken=1>"
    "<a href=javascript:window.broken=1>\"'><style>*{display:none}</style><meta http-equiv=refresh content=0>"
    "<link rel=stylesheet href=https://example.invalid/x.css>\ud800\x00\u202e\u2066\u05d0\u0627{{7*7}}<!--"
)
"""A string that tries every way out at once: were one open, `window.broken` would be set or something be fetched."""
MEGABYTE = "\u0627A b" * 250_000
SHOWS_RECORD_TEXT = {"data-label", "content"}
"""Attributes that may hold a string of the record: a table's heading on a phone, and the version in <meta>."""
USER_KEYS = (
    "environment",
    "timings",
    "inputs",
    "prompt_sets",
    "versions",
    "parameters",
    "counts",
    "measures",
    "completions",
    "skipped",
    "graded",
)
"""Mappings whose keys are names that a person, a model or a library chose."""


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Schema paths of the strings in a record: list places are `*`."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, (*path, name))
    elif isinstance(value, list):
        for part in value:
            yield from leaves(part, (*path, "*"))


def replaced(value: Any, path: tuple[str, ...], text: str) -> Any:
    """The value with every string at that schema path replaced."""
    if not path:
        return text if isinstance(value, str) else value
    if isinstance(value, dict):
        return {name: replaced(part, path[1:], text) if name == path[0] else part for name, part in value.items()}
    if isinstance(value, list) and path[0] == "*":
        return [replaced(part, path[1:], text) for part in value]
    return value


def everywhere(value: Any, text: str, name: str = "") -> Any:
    """The value with every string replaced, and every name that is not the schema's."""
    if isinstance(value, str):
        return text
    if isinstance(value, dict):
        if name in USER_KEYS and value:
            parts = [everywhere(part, text, key) for key, part in value.items()]
            return {f"{text}{index or ''}": part for index, part in enumerate(parts)}
        return {key: everywhere(part, text, key) for key, part in value.items()}
    return [everywhere(part, text, name) for part in value] if isinstance(value, list) else value


def is_safe(text: str, read: Read, known: set[tuple[str, str]], payload: str = "") -> Any:
    """Parse as HTML and as XML; nothing may be there that the template did not put there."""
    page = read(text)
    assert page.open == []
    assert page.shape <= known
    assert page.comments == []
    ET.fromstring(text)
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if payload and payload in (value or ""):
                assert name in SHOWS_RECORD_TEXT
    return page


ODD: list[Any] = [None, "x", [[1, "x"]], {"a": 1}, float("nan"), -1e300]
"""What may stand where a figure expects numbers or rows: records are read with whatever they hold."""


def alone(record: dict[str, Any], measure: str) -> dict[str, Any]:
    """The record with one measurement of one measure and nothing that needs the others; quick to render."""
    row = next(row for row in record["measurements"] if row["measure"] == measure)
    return {**record, "measurements": [row], "assertions": [], "completions": {}, "measures": {}}
