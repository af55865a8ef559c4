"""The first screen: the verdict in a sentence, the worst findings, what was tested and what not, who may rely on it.

Written for somebody who signs and does not read the rest. Nothing here is kinder than the record: what stopped, what
is missing and what must not be trusted comes first, and green is said only of what was asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geoaudit.report import coverage, findings, plainly, trajectories, verdict, words
from geoaudit.report.coverage import Item
from geoaudit.report.findings import Finding
from geoaudit.report.titles import Row, listed, mapping
from geoaudit.report.verdict import Line, rows

YES, PARTLY, NO = "yes", "in part", "no"


@dataclass(frozen=True)
class Use:
    """Whether the record may be relied on for one thing."""

    what: str
    answer: str
    """`yes`, `in part` or `no`."""
    why: str


@dataclass(frozen=True)
class Standing:
    """One checkpoint, or one trajectory, on the first screen."""

    name: str
    entry: Row
    """Of the record; empty where it has none, and of a trajectory."""
    tally: Mapping[str, int]
    cells: Sequence[str]
    """For every column of `COLUMNS` what was measured, "" where nothing was."""
    trajectory: bool = False


COLUMNS: Sequence[tuple[str, str]] = (
    ("answers harmful requests, asked plainly", "plainly"),
    ("answers harmful requests, attacked (at most)", "attacked"),
    ("refuses safe requests", "refused"),
    ("meets ordinary requests", "useful"),
)
"""What stands in the row of a checkpoint: the heading, and which number."""
MOST_ROWS = 40
"""Rows of the table; the assertions below hold them all."""


@dataclass(frozen=True)
class Scorecard:
    """Everything on the first screen."""

    sentence: str
    """The verdict."""
    findings: Sequence[Finding]
    all_passed: bool
    """The findings are then what came closest to its bound."""
    more: int
    """Further assertions that did not pass."""
    tested: Sequence[Item]
    untested: Sequence[Item]
    uses: Sequence[Use]
    columns: Sequence[str]
    """Headings of the columns that any checkpoint has a number for."""
    standings: Sequence[Standing]
    left_out: int


def scorecard(record: Row, lines: Sequence[Line]) -> Scorecard:
    """The first screen of a cleaned record.

    Args:
        record: cleaned.
        lines: its assertions, worst first (`verdict.lines`).
    """
    counts = words.tally(line.assertion for line in lines)
    bad = [line for line in lines if line.outcome != "passed"]
    worst = findings.findings(record, lines)
    standings = _standings(record, lines)
    used = [
        index
        for index in range(len(COLUMNS))
        if any(one.cells[index : index + 1] != [""] for one in standings if not one.trajectory)
    ]
    return Scorecard(
        sentence=sentence(record, counts),
        findings=worst or findings.closest(record, lines),
        all_passed=not bad,
        more=len(bad) - sum(1 + len(one.also) for one in worst),
        tested=coverage.tested(record),
        untested=coverage.untested(record),
        uses=uses(record, lines),
        columns=[COLUMNS[index][0] for index in used],
        standings=[
            Standing(
                one.name,
                one.entry,
                one.tally,
                [one.cells[index] for index in used if not one.trajectory],
                one.trajectory,
            )
            for one in standings[:MOST_ROWS]
        ],
        left_out=max(0, len(standings) - MOST_ROWS),
    )


def sentence(record: Row, counts: Mapping[str, int]) -> str:
    """The verdict in one sentence, the worst of it first."""
    total = sum(counts.values())
    open_ = counts["invalid"] + counts["inconclusive"]
    many = words.plural(total, "assertion")
    if record.get("status") != "complete":
        failed = f": of {many} that were reached, {counts['failed']} failed and {open_} came out open" if total else ""
        return f"Not finished: the audit stopped before its end{failed}"
    if not total:
        return "Nothing was decided"
    if counts["failed"]:
        rest = f", and {open_} could not be decided" if open_ else ""
        return f"Not met: {counts['failed']} of {many} failed{rest}"
    if open_:
        how = "by their estimates alone" if verdict.by_estimate(record) else ""
        passed = f"; the other {counts['passed']} passed {how}".rstrip() if counts["passed"] else ""
        return f"Not shown: {open_} of {many} could not be decided{passed}"
    said = "The one assertion" if total == 1 else f"All {total} assertions"
    if verdict.by_estimate(record):
        return f"A quick look, not a gate: {said[:1].lower()}{said[1:]} passed by estimate"
    code = mapping(record.get("exit")).get("code")
    if words.finite(code) is None:
        return f"{said} passed, but the record does not say how the run ended"
    if code:
        return f"{said} passed, but the run did not: pytest ended with exit code {words.plain(code)}"
    return f"Met: {said[:1].lower()}{said[1:]} passed"


def uses(record: Row, lines: Sequence[Line]) -> list[Use]:
    """Who may rely on the record for what."""
    counts = words.tally(line.assertion for line in lines)
    return [_gate(record, lines, counts), _safe(record, counts), _quote(record, lines, counts)]


def blockers(record: Row, lines: Sequence[Line]) -> list[str]:
    """Why nobody may gate a release on the record, the weightiest first; empty where nothing stands against it."""
    counts = words.tally(line.assertion for line in lines)
    found = []
    if record.get("status") != "complete":
        found.append("the audit did not reach its end")
    if verdict.by_estimate(record):
        name = words.plain(mapping(record.get("profile")).get("name"))
        found.append(f"estimates decided and not intervals (profile {name}): this is a quick look")
    if not lines:
        found.append("nothing was decided")
    for outcome in ("failed", "invalid", "inconclusive"):
        if counts[outcome]:
            allowed = outcome == "inconclusive" and _allowed(record)
            how = " (--geoaudit-allow-inconclusive let the run go through; they did not pass)" if allowed else ""
            found.append(f"{words.plural(counts[outcome], 'assertion')} came out {outcome}{how}")
    code = words.finite(mapping(record.get("exit")).get("code"))
    if code is None or (code and not any(counts[outcome] for outcome in words.OUTCOMES[:-1])):
        found.append("the run itself did not end green")
    return found


def _gate(record: Row, lines: Sequence[Line], counts: Mapping[str, int]) -> Use:
    what = "Release managers, to gate a release"
    against = blockers(record, lines)
    if against:
        return Use(what, NO, "; ".join(against))
    if not coverage.asks_harm(record):
        return Use(
            what, NO, "no harmful request was put to the model: numbers about the inside say nothing of what it does"
        )
    ways = coverage.ways(record)
    if ways <= {"direct"}:
        return Use(
            what,
            PARTLY,
            f"for the {counts['passed']} assertions as they stand, and only for requests asked plainly: "
            "who rewords a request has not been tried",
        )
    return Use(
        what,
        YES,
        f"for the {words.plural(counts['passed'], 'assertion')} as they stand: these weights, prompts, "
        "conditions and judges, and nothing beyond them",
    )


def _safe(record: Row, counts: Mapping[str, int]) -> Use:
    what = "Anyone, to call the model safe"
    if not coverage.asks_harm(record):
        return Use(what, NO, "it says nothing of how the model answers harmful requests")
    return Use(what, NO, "no audit shows that: it says what came of these prompts, asked in these ways")


def _quote(record: Row, lines: Sequence[Line], counts: Mapping[str, int]) -> Use:
    what = "Researchers, to quote its numbers"
    if not any(line.measured for line in lines):
        return Use(what, NO, "it holds no number")
    limits = []
    if record.get("status") != "complete":
        limits.append("the audit is not complete")
    if counts["invalid"]:
        limits.append(f"without the {counts['invalid']} that came out invalid")
    return Use(what, PARTLY, "; ".join([*limits, "each with its n, interval and judge"]))


def _allowed(record: Row) -> bool:
    code = words.finite(mapping(record.get("exit")).get("code"))
    asked = any("allow-inconclusive" in words.plain(part) for part in listed(record.get("command")))
    return asked or code == 0


def _standings(record: Row, lines: Sequence[Line]) -> list[Standing]:
    cards = {name: (entry, tally) for name, entry, tally in verdict.by_checkpoint(record, lines)}
    names = trajectories.ordered(record, list(cards))
    found = [Standing(name, *cards[name], _cells(record, name)) for name in names]
    across: dict[str, list[Line]] = {}
    for line in lines:
        if line.series:
            across.setdefault(line.checkpoint, []).append(line)
    return found + [
        Standing(name, {}, words.tally(line.assertion for line in own), [], True) for name, own in across.items()
    ]


def _cells(record: Row, name: str) -> list[str]:
    own = [row for row in rows(record, "measurements") if words.plain(row.get("checkpoint")) == name]
    measured = [row for row in own if words.finite(row.get("estimate")) is not None]
    doubted = verdict.doubted(record)

    def most(found: Sequence[Row]) -> str:
        if not found:
            return ""
        row = max(found, key=lambda row: float(row["estimate"]))
        mark = " (invalid)" if words.plain(row.get("key")) in doubted else ""
        return f"{plainly.counted(row)}{mark}"

    harm = [row for row in measured if row.get("measure") == "attack_success_rate"]
    plain = [row for row in harm if plainly.tried(row) == {"direct"}]
    return [
        most(plain),
        most(
            [row for row in harm if row not in plain]
            + [row for row in measured if row.get("measure") == "transfer_asr"]
        ),
        most([row for row in measured if row.get("measure") == "over_refusal_rate"]),
        most([row for row in measured if row.get("measure") == "benign_utility"]),
    ]
