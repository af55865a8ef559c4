"""The summary of an audit in Markdown, for the page of a CI job (`GITHUB_STEP_SUMMARY`).

Everything that comes from a record stands in HTML blocks, which Markdown does not look into, and is escaped there:
a name with pipes, backticks, links or line breaks is text and nothing else. The record is cleaned first, as for every
other way of showing it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from geoaudit.report import provenance, rows, verdict, words
from geoaudit.report.clean import cleaned, visible
from geoaudit.report.rows import flat
from geoaudit.report.titles import mapping
from geoaudit.report.verdict import Line

VARIABLE = "GITHUB_STEP_SUMMARY"
LIMIT = 1024 * 1024
"""Bytes that GitHub takes for one step; it refuses all of a summary that is larger."""
LEAST = 128 * 1024
"""Bytes within which everything but the table always fits."""
MOST_ROWS = 500
"""Rows written at most: a page that long is not read, and the report holds them all."""
SIGNS: Mapping[str, str] = {"failed": "❌", "invalid": "⛔", "inconclusive": "❓", "passed": "✅"}
_LINKED = re.compile(r"(?<=@)|(?<=#)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=GH)(?=-)", re.IGNORECASE)
"""Where a zero-width space keeps GitHub from making a mention, an issue or a link of plain text."""


def write(record: Mapping[str, Any] | None, report: str, path: str, why: str = "") -> str:
    """Append the summary to a file; why that was not possible, "" where it was. Never raises for the file's sake.

    Args:
        record: None where nothing was decided.
        report: as in `markdown`.
        path: of the file, as GITHUB_STEP_SUMMARY gives it.
        why: nothing was decided.
    """
    found = f"no summary: {visible(path)} ({VARIABLE})"
    try:
        left = LIMIT - _size(path)
        if left < LEAST:  # what earlier commands of the step wrote counts
            return f"{found} is full: GitHub takes {LIMIT // 1024**2} MB for a step"
        text = undecided(why) if record is None else markdown(record, report, limit=left)
        with open(path, "a", encoding="utf-8", errors="replace", opener=_opened) as file:
            file.write(text)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"{found} cannot be written: {visible(reason)}"
    return ""


def undecided(why: str) -> str:
    """The summary of an audit in which nothing was decided: an empty page would look like one that is well."""
    said = f"<p>{_inert(visible(why))}</p>"
    return _page([f"## {SIGNS['invalid']} geoaudit: nothing was decided", "", said], [], [], LIMIT)


def markdown(record: Mapping[str, Any], report: str = "", *, limit: int = LIMIT) -> str:
    """The verdict, the assertions worst first, what the outcomes mean, and where report and record are.

    Args:
        record: complete or not.
        report: where the HTML is, "" where it could not be written; the record lies beside it.
        limit: bytes that must not be exceeded. Rows are left out from the end, and counted.

    Raises:
        RequestError: not a geoaudit record, or one of another version.
    """
    shown = cleaned(record)
    lines = verdict.lines(shown)
    counts = words.tally(line.assertion for line in lines)
    head = [f"## {_sign(shown, counts)} geoaudit: {verdict.headline(counts, estimate=verdict.by_estimate(shown))}", ""]
    head += [f"<p><strong>{_inert(banner)}</strong></p>" for banner in verdict.banners(shown)]
    head += [f"<p>{_inert(rows.named(verdict.checkpoint_names(shown)))}; {_inert(verdict.exit_text(shown))}</p>"]
    head += [f"<p>{_inert(said)}</p>"] if (said := provenance.replayed(shown)) else []
    return _page(head, lines, [*_meanings(lines, counts), *_places(report)], limit)


def _sign(record: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """Green only for a run that was green and whole."""
    worst = next((outcome for outcome, n in counts.items() if n), "invalid")
    whole = record.get("status") == "complete" and mapping(record.get("exit")).get("code") == 0
    return SIGNS["failed" if worst == "passed" and not whole else worst]


def _page(head: Sequence[str], lines: Sequence[Line], foot: Sequence[str], limit: int) -> str:
    """Everything, with as many rows as there is room for."""
    table = [_row(line) for line in lines[:MOST_ROWS]]
    left = limit - sum(len(f"{part}\n".encode()) for part in (*head, *foot)) - 1000
    kept = 0
    while kept < len(table) and len(table[kept].encode()) + 1 <= left:
        left -= len(table[kept].encode()) + 1
        kept += 1
    body = []
    if kept:
        cells = "".join(f"<th>{name}</th>" for name in rows.HEADER)
        body = ["<table>", f"<thead><tr>{cells}</tr></thead>", "<tbody>", *table[:kept], "</tbody>", "</table>"]
    if kept < len(lines):
        counts = words.tally(line.assertion for line in lines[kept:])
        more = ", ".join(f"{words.count(n)} {outcome}" for outcome, n in counts.items() if n)
        body.append(f"<p>and {more} more, which are in the report</p>")
    # An empty line before, after whatever stands there, and one after: what follows must not be read as HTML of ours.
    return "\n".join(["\n", *head, *body, *foot, "\n"])


def _row(line: Line) -> str:
    found = rows.cells(line)
    because = rows.beside(line) if line.outcome == "passed" else _why(line)
    cells = [
        f"{SIGNS[line.outcome]} {_inert(found.outcome)}",
        _code(found.checkpoint),
        _code(found.assertion) + (f"<br>{_inert(because)}" if because else ""),
        *(_inert(text) for text in (found.value, found.bound, found.n)),
    ]
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _why(line: Line) -> str:
    """Why it did not pass, in one sentence."""
    flags = [f"{flag.get('name')}: {flag.get('sentence')}" for flag in line.flags]
    return ("" if line.measured else line.value) or line.explanation or next(iter(flags), "")


def _meanings(lines: Sequence[Line], counts: Mapping[str, int]) -> list[str]:
    meanings = words.meanings(line.assertion for line in lines)
    found = [f"<li>{SIGNS[name]} <em>{name}</em>: {_inert(meanings[name])}</li>" for name in counts if counts[name]]
    if not found:
        return []
    return ["<details><summary>What the outcomes mean</summary><ul>", *found, "</ul></details>"]


def _places(report: str) -> list[str]:
    if not report:
        return ["<p>No report was written.</p>"]
    record = Path(report).with_suffix(".json").as_posix()
    places = f"Report: {_code(visible(report, 4096))}, record: {_code(visible(record, 4096))}"
    return [f"<p>{places}. They are kept where the workflow uploads them as an artifact.</p>"]


def _code(text: str) -> str:
    """A name or a path, as it can be copied: GitHub links nothing inside."""
    return f"<code>{_escaped(flat(text))}</code>"


def _inert(text: str) -> str:
    """Text on one line, as HTML that shows it and does nothing: no markup, no mention, no link."""
    return _escaped(_LINKED.sub("\u200b", flat(text)))


def _escaped(text: str) -> str:
    return escape(text).replace("$", "<span>$</span>")  # GitHub's own way to write a dollar that begins no formula


def _size(path: str) -> int:
    found = os.stat(path) if os.path.exists(path) else None
    return found.st_size if found is not None else 0


def _opened(path: str, flags: int) -> int:
    """A file descriptor for appending; a pipe that nobody reads is an error here and not a wait for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
