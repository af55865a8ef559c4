"""What a line of a suite is decided on: checkpoints one by one, or trajectories; and what is measured for it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from geoaudit.audit.suite import Assertion
from geoaudit.audit.trajectory import Trajectories
from geoaudit.audit.values import against
from geoaudit.measures.table import get


def concerned(assertion: Assertion, names: Iterable[str]) -> list[str]:
    """The checkpoints that a line is about, in the order given."""
    return [name for name in names if assertion.concerns(name)]


def decided_on(assertion: Assertion, names: Iterable[str], trajectories: Trajectories) -> dict[str, tuple[str, ...]]:
    """A checkpoint's name, or a trajectory's for a line across one -> the checkpoints that are measured for it.

    A comparison says nothing of the checkpoint that it is made with, which is left out.

    Raises:
        RequestError: the checkpoint to compare with is not part of the audit.
    """
    asked = [(assertion.measure, assertion.parameters)]
    if assertion.across is not None and assertion.across.other is not None:
        asked.append((assertion.across.other.measure, assertion.across.other.parameters))
    there = concerned(assertion, names)
    for measure, parameters in asked:
        comparison = against(get(measure), parameters)
        if comparison is not None:
            role, named = comparison.role, comparison.checkpoint
            there = [name for name in there if trajectories.against(name, role, named) is not None]
    if assertion.across is not None:
        return {one.name: one.names for one in trajectories.across(there)}
    if assertion.against != "reference":
        return {name: (name,) for name in there}
    others = {name: trajectories.against(name, "reference") for name in there}
    return {name: (name, other) for name, other in others.items() if other is not None}
