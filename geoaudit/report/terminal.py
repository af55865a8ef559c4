"""The lines under pytest's own summary: every assertion in a table of at most 100 columns, worst first."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from geoaudit.report import beside, rows, titles, verdict, words
from geoaudit.report.clean import cleaned, visible
from geoaudit.report.rows import flat
from geoaudit.report.verdict import Line

WIDTH = 100
NARROWEST = 60
MOST = 20
"""Rows above which those of one assertion are drawn together, and then rows that are shown."""
COLOURS: Mapping[str, Mapping[str, bool]] = {
    "failed": {"red": True, "bold": True},
    "invalid": {"red": True, "bold": True},
    "inconclusive": {"yellow": True, "bold": True},
    "passed": {"green": True},
}
"""Of an outcome, as pytest's terminal writer names them."""
Paint = Callable[[str, str], str]
"""(text, outcome) -> the text in the outcome's colour; it must not change how wide the text is."""
_GIVES_WAY = ((2, 20), (1, 16), (4, 16), (2, 14), (1, 10), (4, 8), (3, 12))
"""Columns that shrink where the table is too wide, in this order, each to its least width."""
_NAMES = (1, 2)
"""Columns of names, which differ at their ends: they are cut in the middle."""
_INDENT = "    "
FEWER = "fewer-prompts"
"""The check that stands under a row that passed too: whoever asked for more prompts took them to be there."""
_LISTED = {"f": "failed", "E": "error", "s": "skipped", "x": "xfailed", "X": "xpassed", "p": "passed"}
"""What pytest's own short summary lists for each letter of `-r`."""


def plain(text: str, outcome: str) -> str:
    """No colour."""
    return text


def painter(writer: Any) -> Paint:
    """Colours of a pytest terminal writer, which leaves them out where the terminal has none."""

    def paint(text: str, outcome: str) -> str:
        painted: str = writer.markup(text, **COLOURS[outcome])
        return painted

    return paint


def show(reporter: Any, record: Mapping[str, Any] | None, report: str = "", notes: Sequence[str] = ()) -> None:
    """Write the section with pytest's terminal reporter; under `-q` two lines without a heading.

    Args:
        reporter: pytest's.
        record: None where nothing was decided.
        report: as in `summary_lines`.
        notes: lines above the others, such as a summary that could not be written.
    """
    verbose = reporter.config.get_verbosity()
    writer = reporter.config.get_terminal_writer()
    # A log of a job has no width of its own; pytest would take it for 80 columns wide.
    width = max(NARROWEST, min(WIDTH, writer.fullwidth)) if reporter.isatty else WIDTH
    if verbose >= 0:
        reporter.write_sep("=", "geoaudit")
    lines = [part for note in notes for part in _wrapped(flat(visible(note)), width, "")]
    if record is not None:
        lines += summary_lines(record, report, width=width, verbose=verbose, paint=painter(writer))
    for line in lines:
        reporter.write_line(line)


def show_short(reporter: Any) -> None:
    """Add what pytest's short test summary leaves out: items that came out invalid or inconclusive, which did not pass.

    Follows pytest's `-r` as failed items do, so that `-rN` leaves them out; says nothing under `-q`.

    Args:
        reporter: pytest's, after it has written its own short summary.
    """
    if reporter.config.get_verbosity() < 0 or reporter.no_summary or "f" not in reporter.reportchars:
        return
    writer = reporter.config.get_terminal_writer()
    lines = short_lines(reporter.stats, writer.fullwidth if reporter.isatty else WIDTH, painter(writer))
    if lines and not any(reporter.stats.get(_LISTED.get(letter, "")) for letter in reporter.reportchars):
        reporter.write_sep("=", "short test summary info", cyan=True, bold=True)
    for line in lines:
        reporter.write_line(line)


def short_lines(stats: Mapping[str, Sequence[Any]], width: int = WIDTH, paint: Paint = plain) -> list[str]:
    """`INVALID path::id - reason` for each item, at most `MOST`, the rest counted.

    Args:
        stats: pytest's reports by category.
        width: columns that a reason may fill; the name of an item is never cut, it is there to be copied.
        paint: colours an outcome.
    """
    found = [(outcome, report) for outcome in ("invalid", "inconclusive") for report in stats.get(outcome, ())]
    out = []
    for outcome, report in found[:MOST]:
        name = flat(visible(report.nodeid, 4096))
        verdicts = getattr(report, "geoaudit", None) or ()
        sentences = [words.plain(one.get("sentence")) for one in verdicts if one.get("outcome") == outcome]
        room = max(width - _columns(f"{outcome} {name} - "), NARROWEST // 2)
        why = f" - {_clip(flat(visible(sentences[0])), room)}" if sentences else ""
        out.append(f"{paint(outcome.upper(), outcome)} {name}{why}")
    more = words.tally({"outcome": outcome} for outcome, _ in found[MOST:])
    left = ", ".join(f"{n} {outcome}" for outcome, n in more.items() if n)
    return [*out, f"and {left} more"] if left else out


def summary_lines(
    record: Mapping[str, Any], report: str = "", *, width: int = WIDTH, verbose: int = 0, paint: Paint = plain
) -> list[str]:
    """The section as lines, none wider than `width` columns.

    Args:
        record: complete or not.
        report: where the HTML is, named on the last line.
        width: columns of the terminal that may be used; below 80 the last columns may be cut.
        verbose: pytest's verbosity. Below 0 one line and the report; 0 the worst rows, with a reason under each that
            did not pass; above 0 every row with everything that is known of it.
        paint: colours an outcome.

    Raises:
        RequestError: not a geoaudit record, or one of another version.
    """
    shown = cleaned(record)
    where = [f"report: {flat(visible(report, 4096))}"] if report else []  # never cut: a path is there to be copied
    lines = verdict.lines(shown)
    if verbose < 0:
        return [_one_line(shown, lines, width, paint), *where]
    out = [_clip(flat(banner), width) for banner in (*verdict.banners(shown), *_replayed(shown))]
    groups = rows.groups(lines) if verbose == 0 and len(lines) > MOST else [[line] for line in lines]
    out += _table(groups if verbose else groups[:MOST], width, verbose, paint)
    texts = [] if verbose else [_left_out(groups[MOST:])]
    texts += [] if lines else ["no assertion was decided: nothing was shown to hold"]
    texts += [*_meanings(lines), *_reservations(shown, lines), verdict.exit_text(shown)]
    out += [part for text in texts for part in _wrapped(flat(text), width, "")]
    return [*out, *where]


def _replayed(record: Mapping[str, Any]) -> list[str]:
    """That the numbers are those of earlier records."""
    found = titles.mapping(record.get("replayed"))
    if not found:
        return []
    names = dict.fromkeys(words.plain(one.get("file")) for one in verdict.rows(found, "records"))
    return [f"A replay of {rows.named(list(names), 3) or 'earlier records'}: nothing was measured."]


def _one_line(record: Mapping[str, Any], lines: Sequence[Line], width: int, paint: Paint) -> str:
    counts = words.tally(line.assertion for line in lines)
    estimate, incomplete = verdict.by_estimate(record), record.get("status") != "complete"
    doubts = ["not a gate"] * estimate + ["incomplete"] * incomplete + ["replay"] * bool(_replayed(record))
    reason = titles.mapping(record.get("exit")).get("reason")
    said = f"geoaudit ({', '.join(doubts)}): " if doubts else "geoaudit: "
    said += flat(words.plain(reason or verdict.headline(counts, estimate=estimate)))
    return paint(_clip(said, width), next((outcome for outcome, n in counts.items() if n), "invalid"))


def _table(groups: Sequence[Sequence[Line]], width: int, verbose: int, paint: Paint) -> list[str]:
    if not groups:
        return []
    out = []
    table = [rows.HEADER, *(rows.cells(group[0]) for group in groups)]
    widths = _widths(table, width)
    for index, row in enumerate(table):
        group = groups[index - 1] if index else []
        out.append(_joined(row, widths, width, group[0].outcome if group else "", paint))
        if len(group) > 1:
            out.append(_clip(_INDENT + _others(group), width))
        if group:
            out += _notes(group[0], width, verbose)
    return out


def _others(group: Sequence[Line]) -> str:
    """The other checkpoints with the same outcome, beneath the first of them."""
    span = rows.span(group)
    names = ", ".join(flat(line.checkpoint) for line in group[1:])
    return f"and {words.plural(len(group) - 1, 'checkpoint')} more{f' ({span})' if span else ''}: {names}"


def _left_out(groups: Sequence[Sequence[Line]]) -> str:
    """What is not in the table, counted."""
    lines = [line for group in groups for line in group]
    counts = [f"{n} {outcome}" for outcome, n in words.tally(line.assertion for line in lines).items() if n]
    return f"and {', '.join(counts)} more; -v shows all, and so does the report" if lines else ""


def _meanings(lines: Sequence[Line]) -> list[str]:
    """A sentence for each of the two outcomes that pytest does not have, where it occurs."""
    there = {line.outcome for line in lines}
    found = [(word, words.MEANINGS[word]) for word in ("invalid", "inconclusive") if word in there]
    return [f"{word}: {sentence[:1].lower()}{sentence[1:]}" for word, sentence in found]


def _notes(line: Line, width: int, verbose: int) -> list[str]:
    """What stands under a row: why it did not pass, and for the curious all that is known."""
    facts = beside.facts(line.measurement)
    plainly = [_clip(f"{_INDENT}{name}: {flat(text)}", width) for name, text in facts if name == beside.DIRECT]
    compared = rows.beside(line)
    fewer = [f"{flag['name']}: {flag.get('sentence')}" for flag in line.flags if flag.get("name") == FEWER]
    plainly = [part for text in (compared, *fewer) for part in _wrapped(flat(text), width, _INDENT)] + plainly
    if verbose == 0 and line.outcome == "passed":
        return plainly
    flags = [f"{flag.get('name')}: {flag.get('sentence')}" for flag in line.flags]
    unmeasured = "" if line.measured else line.value
    if verbose == 0:
        # The explanation is empty exactly where the flags that stop the verdict are the explanation.
        why = unmeasured or _what_decides(line) or line.explanation or next(iter(flags), "")
        if line.outcome == "failed":  # said in full among pytest's own failures
            return [_clip(_INDENT + flat(why), width), *plainly]
        return [*_wrapped(flat(why), width, _INDENT), *plainly]
    because = f"because: {words.plain(line.assertion.get('because'))}"
    doubts = [f"{name}: {text}" for name, text in facts]
    texts = [line.title, unmeasured, line.explanation, compared, *flags, *doubts, because, line.parameters, line.where]
    return [part for text in texts if text for part in _wrapped(flat(text), width, _INDENT)]


def _reservations(record: Mapping[str, Any], lines: Iterable[Line]) -> list[str]:
    """What a number in the table is not: an attack success rate, or one whose prompts are known to be unseen."""
    bounds: dict[str, list[str]] = {}
    for line in lines:
        if line.heading.startswith(titles.NON_REFUSAL):
            bounds.setdefault(line.heading, []).append(words.plain(line.assertion.get("id")))
    found = [f"{title}: {rows.named(list(dict.fromkeys(names)))}" for title, names in bounds.items()]
    unknown = [
        name for name in verdict.checkpoint_names(record) if "not checkable" in verdict.overlap(record, name)
    ]  # fmt: skip
    if unknown:
        found.append(f"overlap: not checkable, no training manifest: {rows.named(unknown)}")
    return found


def _what_decides(line: Line) -> str:
    needed = words.finite(line.assertion.get("needed_n"))
    if line.outcome != "inconclusive" or needed is None:
        return ""
    return f"the interval straddles the bound; about {words.count(needed)} prompts would decide"


def _widths(table: Sequence[Sequence[str]], width: int) -> list[int]:
    """Width of each column: what it holds, less where the table would be too wide."""
    widths = [max(_columns(cell) for cell in column) for column in zip(*table, strict=True)]
    for index, least in _GIVES_WAY:
        over = sum(widths) + 2 * (len(widths) - 1) - width
        widths[index] = max(min(least, widths[index]), widths[index] - max(over, 0))
    return widths


def _joined(row: Iterable[str], widths: list[int], width: int, outcome: str, paint: Paint) -> str:
    """A row of the table; its first cell in colour, which takes no column."""
    cells = [
        _clip(cell, room, middle=index in _NAMES) for index, (cell, room) in enumerate(zip(row, widths, strict=True))
    ]
    padded = [cell + " " * (room - _columns(cell)) for cell, room in zip(cells, widths, strict=True)]
    padded[-1] = padded[-1].strip().rjust(widths[-1])
    text = _clip("  ".join(padded).rstrip(), width)
    return paint(cells[0], outcome) + text[len(cells[0]) :] if outcome and text.startswith(cells[0]) else text


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
    return textwrap.wrap(text, room, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
