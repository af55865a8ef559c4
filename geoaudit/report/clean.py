"""The record, made safe to show: done once at the door, so that no template can forget it.

Names, paths, templates, reasons and warnings come from models, users and third-party code. Markup in them is the
escaper's business; this file sees to what escaping leaves alone: control and bidirectional characters that reorder or
hide text, lone surrogates that no encoder takes, strings of any length, numbers that are none.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

from geoaudit.errors import RequestError

VERSION = 2
"""The version of the record that this room reads; earlier ones lack only what it shows where it is there."""

LONGEST = 600
"""Characters kept of a string."""
LONG_FIELDS = {"rendered": 8000, "system_prompt": 8000}
"""Fields whose text is the point: more is kept of them."""

_MAPPINGS = frozenset(
    {
        "base",
        "completions",
        "detail",
        "environment",
        "exit",
        "inputs",
        "measures",
        "profile",
        "prompt_sets",
        "template",
        "timings",
        "training",
    }
)
"""Fields of the record that hold names with values; anything else in their place is as good as nothing. A measurement's
detail may use the same words for its numbers (a score without an edit is its `base`)."""
_LISTS = frozenset(
    {
        "assertions",
        "candidates",
        "checkpoints",
        "command",
        "energies",
        "flags",
        "measurements",
        "selection_shares",
        "suites",
        "warnings",
    }
)
"""Fields that hold rows."""
_NAMED_BY_OTHERS = frozenset(
    {"completions", "counts", "environment", "inputs", "measures", "parameters", "prompt_sets", "timings", "versions"}
)
"""Mappings whose own keys are no fields of the record: what they are called says nothing about what they hold."""
_LAID_OUT = frozenset("\n\t")
_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories that are unseen or move what is seen: controls, bidi marks, surrogates, unassigned ones."""


def cleaned(record: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the record in which every string, keys too, is safe to show and every float is finite or None.

    Raises:
        RequestError: not a geoaudit record, or one of another version.
    """
    version = record.get("geoaudit_record") if isinstance(record, Mapping) else None
    if type(version) is not int or not 1 <= version <= VERSION:
        raise RequestError(
            f"not a geoaudit record of version {VERSION}: geoaudit_record is {version!r}; "
            "pass the .json that an audit wrote, or render it with the geoaudit that wrote it"
        )
    return {visible(str(name)): _cleaned(value, str(name)) for name, value in record.items()}


def visible(text: str, limit: int = LONGEST) -> str:
    r"""The text with hidden characters as escapes (`\u202e`), cut in its middle beyond `limit` characters."""
    if len(text) > limit:
        head, tail = limit * 3 // 4, limit // 8
        text = f"{text[:head]} […{len(text) - head - tail:,} characters left out…] {text[-tail:]}"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) if _hidden(character) else character for character in text)


def _cleaned(value: Any, name: str, parent: str = "", *, measured: bool = False) -> Any:
    """`measured`: inside a measurement's detail, whose numbers may bear names that the record has mappings under."""
    is_field = parent not in _NAMED_BY_OTHERS and (parent, name) != ("provenance", "prompt_sets")
    if is_field and not measured and name in _MAPPINGS and not isinstance(value, Mapping):
        return None
    if is_field and name in _LISTS and not isinstance(value, list | tuple):
        return None
    if isinstance(value, str):
        return visible(value, LONG_FIELDS.get(name, LONGEST))
    if isinstance(value, Mapping):
        inside = measured or (is_field and name == "detail")
        return {visible(str(key)): _cleaned(part, str(key), name, measured=inside) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(part, "", measured=measured) for part in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return visible(str(value))


def _hidden(character: str) -> bool:
    return character not in _LAID_OUT and unicodedata.category(character) in _HIDDEN


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
