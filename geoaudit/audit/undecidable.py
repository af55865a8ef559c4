"""Lines that cannot be decided whatever is measured: said by the plan, and before an audit measures anything.

Found from the suites, the prompts that are there, earlier records and the names of the checkpoints alone. Each comes
out *invalid* all the same, where it is decided; nothing is measured for it, unless it is a rule about a trajectory that
has too few checkpoints.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from geoaudit.audit.course import foreseen
from geoaudit.audit.deciding import Deciding, Line
from geoaudit.audit.plan import check
from geoaudit.audit.run import Auditor
from geoaudit.audit.values import against
from geoaudit.errors import GeoauditError
from geoaudit.measures.table import get

MOST = 5
"""Lines that are named where more share a reason; the rest are counted."""


def undecidable(deciding: Deciding, auditor: Auditor) -> list[str]:
    """A line for each reason, with the lines of suites that it stands for.

    Args:
        deciding: knows every line that will be decided.
        auditor: of the same audit.
    """
    found: dict[str, dict[str, None]] = {}
    for line in deciding.lines:
        if why := _why(line, deciding, auditor):
            found.setdefault(why, {})[f"{line.assertion.id} ({Path(line.assertion.file).name})"] = None
    return [f"cannot be decided: {_named(list(lines))}: {why}" for why, lines in found.items()]


def few_points(lines: Iterable[Line]) -> list[str]:
    """Which lines across trajectories have too few checkpoints, each with its bound and its suite."""
    found = [(line, _few(line)) for line in lines]
    return [f"{line.assertion.called} on {line.about}: {why}" for line, why in found if why]


def _why(line: Line, deciding: Deciding, auditor: Auditor) -> str:
    """Why a line cannot be decided; empty where measuring has to tell."""
    one = line.assertion
    try:
        for measure, given in one.asked:
            check(get(measure), given, auditor.options.profile, auditor.options.judging)
            compared = against(get(measure), given)
            if compared is not None:
                for name in line.members:
                    auditor.checkpoints.trajectories.against(name, compared.role, compared.checkpoint)
    except GeoauditError as error:
        return str(error)
    without = deciding.without_other(one, line.about)
    return f"nothing to compare with: {without}" if without else _few(line)


def _few(line: Line) -> str:
    rule = line.assertion.across
    why = foreseen(rule, len(line.members)) if rule is not None else None
    return f"few-points: {why}" if why is not None else ""


def _named(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= MOST else f"{', '.join(names[:MOST])} and {len(names) - MOST} more"
