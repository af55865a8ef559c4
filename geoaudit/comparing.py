"""`geoaudit compare OLD NEW`: what changed between two audits, on the terminal and as JSON. Reads records alone."""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoaudit.errors import RequestError

if TYPE_CHECKING:
    from geoaudit.audit.baseline import RecordBaseline
    from geoaudit.audit.comparison import Comparison

SHOWN = ("unpaired-denominator",)
"""Notes that stand beside a row."""
LONGEST = 8000
"""Characters of a line, before it is wrapped: reasons are shown whole."""


def lines_of(comparison: Comparison, old: RecordBaseline, new: RecordBaseline) -> list[str]:
    """What a terminal shows, at most 100 columns."""
    from geoaudit.audit.comparison import ORDER, WORDS, at_itself
    from geoaudit.report.clean import visible

    lines = [f"old: {_about(old)}", f"new: {_about(new)}"]
    itself = at_itself(old, new)
    if itself:
        lines.append("Both are the same record: nothing can have changed, and what follows says nothing of a change.")
    allowed = {flag for row in comparison.rows for flag in row.found.flags if flag.name == "environment-mismatch"}
    lines += [*sorted(f"{flag.name}, {flag.sentence}" for flag in allowed), ""]
    for row in comparison.rows:
        low, high = row.interval
        assert row.found.values is not None
        now, before = row.found.values
        lines.append(f"{WORDS[row.verdict].upper() if row.verdict == 'worse' else WORDS[row.verdict]}: {row.name}")
        ends = f"[{low:+.4g}, {high:+.4g}]"
        lines.append(f"    {before:.4g} -> {now:.4g}, change {row.change:+.4g} {ends}, adjusted p {row.adjusted:.2g}")
        beyond = f"; to exceed: {row.limit:.4g}" if row.limit else ""
        beyond += " (noise floor)" if row.limit and row.limit == row.found.floor else ""
        lines.append(f"    {row.found.method}{beyond}")
        beside = [flag for flag in row.found.flags if flag.name in SHOWN or flag in row.stops]
        lines += [f"    {flag.name}: {flag.sentence}" for flag in beside]
    if comparison.left_out:
        lines += ["", "not compared:"]
        reasons = dict.fromkeys(why for _, why in comparison.left_out)
        for why in reasons:  # of many measurements of another environment it is said once
            names = [what for what, one in comparison.left_out if one == why]
            lines += [f"    {why}" if len(names) > 1 else f"    {names[0]}: {why}"]
            lines += [f"        - {name}" for name in names if len(names) > 1]
    counts = [(word, sum(row.verdict == word for row in comparison.rows)) for word in ORDER]
    said = ", ".join(f"{count} {word}" for word, count in counts if count)
    lines += [
        "",
        f"{len(comparison.rows)} compared{': ' + said if said else ''}; {len(comparison.left_out)} not compared",
    ]
    numbers = dict(counts)
    if numbers["changed"]:
        lines.append(f"{numbers['changed']} changed in a measure that has no better side: read what changed.")
    if numbers["unread"]:
        lines.append(f"{numbers['unread']} may be worse, by what stands in answers that nobody could read.")
    if itself:
        lines.append("Both are the same record: compare it with that of another audit.")
    elif comparison.rows and comparison.exit_code == 0:
        lines.append("Nothing was shown to be worse. That is not the same as nothing changed: see the intervals.")
    return [part for line in lines for part in _wrapped(visible(line, LONGEST))]


def _about(one: RecordBaseline) -> str:
    names = [one.only] if one.only else [str(entry["name"]) for entry in one.record["checkpoints"]]
    return f"{one.spec} ({', '.join(names)}, {one.record.get('created', '')[:10]})"


def _wrapped(line: str, width: int = 100) -> list[str]:
    indent = len(line) - len(line.lstrip())
    return textwrap.wrap(
        line, width, subsequent_indent=" " * (indent + 4), break_on_hyphens=False, drop_whitespace=True
    ) or [""]


def opened(given: str) -> RecordBaseline:
    """A record from `FILE.json` or `FILE.json#CHECKPOINT`.

    Raises:
        RequestError: no such record, or no such checkpoint in it.
    """
    from geoaudit.audit.baseline import RecordBaseline
    from geoaudit.audit.record import whole

    place, _, only = given.partition("#")
    return RecordBaseline(place, *whole(Path(place).expanduser()), only)


def add_to(commands: Any) -> None:
    """Add the command to `geoaudit`'s."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "compare",
        help="compare two records, measurement by measurement",
        description="Shows what changed between two audits on the same prompts, worst first: the difference, its 95 % "
        "interval, and a p-value adjusted for all that is compared (Holm). Needs no model. Exit code: 0 nothing was "
        "shown to be worse, 1 something is worse (beyond the margin and the noise floor, where given), 2 nothing was, "
        "and something changed that has no better side or hangs on unread answers, 4 the records cannot be compared "
        "at all.",
    )
    parser.add_argument("old", metavar="OLD.json[#CHECKPOINT]", help="record of the earlier audit")
    parser.add_argument("new", metavar="NEW.json[#CHECKPOINT]", help="record of the audit that is judged")
    parser.add_argument(
        "--margin",
        type=float,
        default=0.0,
        metavar="POINTS",
        help="how much worse rates and scores from 0 to 1 may become, for example 0.05 (default: %(default)s)",
    )
    parser.add_argument("--noise", type=Path, metavar="FILE", help="noise floor of `geoaudit noise`")
    parser.add_argument(
        "--allow-mismatch",
        action="append",
        default=[],
        metavar="NAME",
        help="compare though this differs, repeatable: template, system, dtype, device, torch, transformers, "
        "generation, judge, measure, numerics, geoaudit",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison as JSON too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, show: Callable[[str], None] = print) -> int:
    """The command.

    Raises:
        RequestError: records that cannot be read, or that share nothing.
    """
    from geoaudit.audit.comparison import compare
    from geoaudit.audit.environment import check_names
    from geoaudit.audit.noise import Noise
    from geoaudit.audit.record import write_atomically

    if not 0 <= arguments.margin < 1:
        raise RequestError(f"--margin {arguments.margin:g} is not in [0, 1): five points are 0.05")
    old, new = opened(arguments.old), opened(arguments.new)
    allowed = check_names(arguments.allow_mismatch)
    noise = Noise.read(arguments.noise) if arguments.noise else None
    found = compare(old, new, margin=arguments.margin, allowed=allowed, noise=noise)
    for line in lines_of(found, old, new):
        show(line)
    if arguments.json:
        data = {
            "geoaudit_comparison": 1,
            "old": arguments.old,
            "new": arguments.new,
            "rows": [row.to_json() for row in found.rows],
            "not_compared": [{"what": what, "why": why} for what, why in found.left_out],
        }
        write_atomically(arguments.json, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if not found.rows:
        raise RequestError("the two records share nothing that can be compared")
    return found.exit_code
