"""What was tried in this run: which needs were fulfilled, and why others were not."""

from __future__ import annotations

from geoaudit.audit.checkpoints import Checkpoints
from geoaudit.audit.order import Node, alone, draws_on
from geoaudit.errors import BrokenCheckpoint, GeoauditError, NothingToMeasure
from geoaudit.measures.needs import Completions, validation_answers


class Attempts:
    """Needs that were fulfilled or failed; nothing is tried twice in a run. The next run tries what failed again."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.made: set[Node] = set()
        self.failed: dict[Node, NothingToMeasure] = {}

    def untried(self, one: Node) -> bool:
        """Whether a need is still to be fulfilled."""
        return one not in self.made and one not in self.failed

    def why_not(self, one: Node) -> NothingToMeasure | None:
        """What makes it needless to try: broken weights would be found broken again, and what it draws on failed."""
        name = one[0]
        for (other, _), error in self.failed.items():
            if other == name and isinstance(error, BrokenCheckpoint):
                return error
        for drawn in draws_on(one, alone):  # that another checkpoint of the family is silent stops nothing
            if drawn in self.failed:
                return self.said(drawn, name)
        return None

    def said(self, failed: Node, name: str) -> NothingToMeasure:
        """Why a need failed, as said of the checkpoint `name`."""
        error = self.failed[failed]
        return error if failed[0] == name else NothingToMeasure(f"{failed[0]}: {error}", error.detail)

    def answering(self, name: str) -> list[str]:
        """The checkpoints that refusal tokens are taken from."""
        silent = self.silent(name)
        return [one for one in self.checkpoints.family(name) if one not in silent]

    def silent(self, name: str) -> dict[str, str]:
        """Checkpoints of the trajectory that gave no answers to take refusal tokens from -> why."""
        found = {}
        for member in self.checkpoints.of(name).names:
            try:
                self.checkpoints.subject(member)
            except GeoauditError as error:
                found[member] = str(error)
        for (member, need), why in self.failed.items():
            answers = isinstance(need, Completions) and need in validation_answers(need.n or 0, need.chat)
            if answers and member != name and member in self.checkpoints.family(name):
                found.setdefault(member, str(why))
        return found


def unraised(error: GeoauditError) -> NothingToMeasure:
    """The same error anew: one that was raised holds on to the frames it came through, and with them to the model."""
    if isinstance(error, NothingToMeasure):
        return type(error)(str(error), error.detail)
    return NothingToMeasure(str(error))
