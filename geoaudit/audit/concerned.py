"""What a line of a suite is decided on: checkpoints one by one, or trajectories; and what is measured for it. Pure.

A comparison says nothing of the checkpoint that it is made with, which is left out. A checkpoint that has nothing to be
compared with (the only one of its run, say) is kept: its line comes out *invalid* with the reason, and the rest is run.
"""

from __future__ import annotations

from collections.abc import Iterable

from geoaudit.audit.suite import Assertion
from geoaudit.audit.trajectory import Trajectories
from geoaudit.audit.values import against
from geoaudit.errors import RequestError
from geoaudit.measures.definition import Role
from geoaudit.measures.table import get


def concerned(assertion: Assertion, names: Iterable[str]) -> list[str]:
    """The checkpoints that a line is about, in the order given."""
    return [name for name in names if assertion.concerns(name)]


def decided_on(assertion: Assertion, names: Iterable[str], trajectories: Trajectories) -> dict[str, tuple[str, ...]]:
    """A checkpoint's name, or a trajectory's for a line across one -> the checkpoints that are measured for it."""
    there = concerned(assertion, names)
    for measure, parameters in assertion.asked:
        comparison = against(get(measure), parameters)
        if comparison is not None:
            role, named = comparison.role, comparison.checkpoint
            there = [name for name in there if _sides(trajectories, name, role, named)]
    if assertion.across is not None:
        return {one.name: one.names for one in trajectories.across(there)}
    if assertion.against != "reference":
        return {name: (name,) for name in there}
    sides = {name: _sides(trajectories, name, "reference") for name in there}
    return {name: both for name, both in sides.items() if both}


def _sides(trajectories: Trajectories, name: str, role: Role, named: str = "") -> tuple[str, ...]:
    """A checkpoint and the one that it is compared with: alone where there is none, nobody where it is that one."""
    try:
        other = trajectories.against(name, role, named)
    except RequestError:  # why is said where the line is decided
        return (name,)
    return () if other is None else (name, other)
