"""The lines under pytest's own summary: every assertion in a table of at most 100 columns, worst first."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from geoaudit.report import beside, titles, verdict, words
from geoaudit.report.clean import cleaned
from geoaudit.report.verdict import Line

WIDTH = 100
_HEADER = ("outcome", "checkpoint", "assertion", "value [interval]", "bound", "n")
_GIVES_WAY = ((2, 16), (1, 10), (4, 8), (3, 12))
"""Columns that shrink where the table is too wide, in this order, each to its least width."""
_INDENT = "    "


def summary_lines(record: Mapping[str, Any], report: str = "", *, width: int = WIDTH, verbose: int = 0) -> list[str]:
    """The section as lines, none wider than `width` columns.

    Args:
        record: of version 1, complete or not.
        report: where the HTML is, named on the last line.
        width: columns of the terminal that may be used; below 80 the last columns may be cut.
        verbose: pytest's verbosity. Below 0 only what did not pass, one line each; 0 adds the rest and a reason under
            each that did not pass; above 0 everything that is known of each.

    Raises:
        RequestError: not a geoaudit record, or one of another version.
    """
    shown = cleaned(record)
    lines = [line for line in verdict.lines(shown) if verbose >= 0 or line.outcome != "passed"]
    out = [_clip(banner, width) for banner in verdict.banners(shown)]
    cells = [_HEADER, *(_cells(line) for line in lines)] if lines else []
    widths = _widths(cells, width)
    for index, row in enumerate(cells):
        out.append(_clip(_joined(row, widths), width))
        if index:
            out += _notes(lines[index - 1], width, verbose)
    if not verdict.lines(shown):
        out.append("no assertion was decided: nothing was shown to hold")
    out += [part for text in _reservations(shown, lines, verbose) for part in _wrapped(_flat(text), width, "")]
    out += _wrapped(_flat(verdict.exit_text(shown)), width, "")
    if report:
        out.append(f"report: {_flat(report)}")  # never cut: a path is there to be copied
    return out


def _cells(line: Line) -> tuple[str, ...]:
    assertion = line.assertion
    value = f"{line.value} {line.interval}".strip() if line.measured else words.NOT_MEASURED
    bound = words.bound_text(str(assertion.get("comparator") or ""), assertion.get("bound"), short=True)
    name, identifier = words.plain(assertion.get("checkpoint")), words.plain(assertion.get("id"))
    return line.word, _flat(name), _flat(identifier), value, _flat(bound), line.n if line.measured else ""


def _notes(line: Line, width: int, verbose: int) -> list[str]:
    """What stands under a row: why it did not pass, and for the curious all that is known."""
    if verbose < 0:
        return []
    facts = beside.facts(line.measurement)
    plainly = [_clip(f"{_INDENT}{name}: {_flat(text)}", width) for name, text in facts if name == beside.DIRECT]
    if verbose == 0 and line.outcome == "passed":
        return plainly
    flags = [f"{flag.get('name')}: {flag.get('sentence')}" for flag in line.flags]
    unmeasured = "" if line.measured else line.value
    if verbose == 0:
        # The explanation is empty exactly where the flags that stop the verdict are the explanation.
        why = unmeasured or _what_decides(line) or line.explanation or next(iter(flags), "")
        if line.outcome == "failed":  # said in full among pytest's own failures
            return [_clip(_INDENT + _flat(why), width), *plainly]
        return [*_wrapped(_flat(why), width, _INDENT), *plainly]
    because = f"because: {words.plain(line.assertion.get('because'))}"
    doubts = [f"{name}: {text}" for name, text in facts]
    texts = [line.title, unmeasured, line.explanation, *flags, *doubts, because, line.parameters, line.where]
    return [part for text in texts if text for part in _wrapped(_flat(text), width, _INDENT)]


def _reservations(record: Mapping[str, Any], lines: Iterable[Line], verbose: int) -> list[str]:
    """What a number in the table is not: an attack success rate, or one whose prompts are known to be unseen."""
    bounds: dict[str, list[str]] = {}
    for line in lines:
        if line.heading.startswith(titles.NON_REFUSAL):
            bounds.setdefault(line.heading, []).append(words.plain(line.assertion.get("id")))
    found = [f"{title}: {', '.join(dict.fromkeys(names))}" for title, names in bounds.items()]
    unknown = [
        name for name in verdict.checkpoint_names(record) if "not checkable" in verdict.overlap(record, name)
    ]  # fmt: skip
    if unknown and verbose >= 0:
        found.append(f"overlap: not checkable, no training manifest: {', '.join(unknown)}")
    return found


def _what_decides(line: Line) -> str:
    needed = words.finite(line.assertion.get("needed_n"))
    if line.outcome != "inconclusive" or needed is None:
        return ""
    return f"the interval straddles the bound; about {words.count(needed)} prompts would decide"


def _widths(rows: list[tuple[str, ...]], width: int) -> list[int]:
    """Width of each column: what it holds, less where the table would be too wide."""
    widths = [max(_columns(cell) for cell in column) for column in zip(*rows, strict=True)]
    if not widths:
        return []
    for index, least in _GIVES_WAY:
        over = sum(widths) + 2 * (len(widths) - 1) - width
        widths[index] = max(min(least, widths[index]), widths[index] - max(over, 0))
    return widths


def _joined(row: Iterable[str], widths: list[int]) -> str:
    cells = [_clip(cell, width, middle=index == 2) for index, (cell, width) in enumerate(zip(row, widths, strict=True))]
    padded = [cell + " " * (width - _columns(cell)) for cell, width in zip(cells, widths, strict=True)]
    padded[-1] = padded[-1].strip().rjust(widths[-1])
    return "  ".join(padded).rstrip()


def _clip(text: str, width: int, *, middle: bool = False) -> str:
    """The text in at most `width` columns, "…" where something is left out."""
    if _columns(text) <= width:
        return text
    tail = text[-(width // 3) :] if middle and text.isascii() else ""
    room, head = width - 1 - len(tail), ""
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        head += character
    return f"{head}…{tail}"


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    # A wide character takes two columns where textwrap counts one: half the width is always narrow enough.
    room = width if _columns(text) == len(text) else width // 2
    return textwrap.wrap(text, room, initial_indent=indent, subsequent_indent=indent)


def _flat(text: str) -> str:
    return " ".join(text.split())


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
