"""Which checkpoints of an audit are of one run, in what order, and which one each is compared with. Pure: no files.

A trajectory is the checkpoints of one run: the same run id in their training manifests, else the same parent folder
and kind of model. Built-in models, hub ids and GGUF files have no folder of a run; they stand alone unless a manifest
says otherwise. The order is that of the steps where all are known, else the order in which they were named.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from geoaudit.errors import RequestError, did_you_mean
from geoaudit.measures.definition import Role


@dataclass(frozen=True, slots=True)
class Place:
    """What says where a checkpoint belongs."""

    name: str
    """In this audit."""
    folder: str | None = None
    """Its own folder, absolute; None for what lies in no folder of a run."""
    kind: str = ""
    """Kind of model: two kinds in one folder are two runs."""
    run: str = ""
    """Run id of the manifest, empty without one."""
    step: int | None = None
    """Step in the manifest."""
    reference: int | None = None
    """Step of the run's reference, as the manifest says."""

    @property
    def at(self) -> int | None:
        """The step: the manifest's, else the number that the folder's name ends in."""
        if self.step is not None or self.folder is None:
            return self.step
        number = re.search(r"(\d+)\Z", self.folder)
        return int(number.group(1)) if number else None


@dataclass(frozen=True)
class Trajectory:
    """The checkpoints of one run that this audit has."""

    names: tuple[str, ...]
    """In order."""
    steps: Mapping[str, int] = field(default_factory=dict)
    """Name -> step, where there is one."""
    references: tuple[int, ...] = ()
    """Steps that the manifests call the reference: none, one, or a disagreement."""
    name: str = ""
    """What the members' names have in common before their last slash (`r2d2` of `r2d2/step50`), else the folder of the
    run; of one that lies in no folder, its own name. Unlike every other trajectory's of the audit."""


class Trajectories:
    """All checkpoints of an audit, grouped.

    Args:
        places: every checkpoint, in the order given.
        reference: the name that `--geoaudit-reference` gives: every checkpoint of the audit is then compared with it,
            also one of another folder.

    Raises:
        RequestError: no checkpoint of that name.
    """

    def __init__(self, places: Iterable[Place], reference: str | None = None) -> None:
        self.reference = reference
        self.all = tuple(group(list(places)))
        """In the order of their first members."""
        self._of = {name: one for one in self.all for name in one.names}
        if reference is not None:
            check_reference(reference, list(self._of))

    def across(self, concerned: Iterable[str]) -> list[Trajectory]:
        """The trajectories that a line about some of the checkpoints is decided on, each with only those of them.

        One checkpoint is no trajectory. Where others are, the single ones are left out (a model beside two runs); where
        there is no other, they are given, so that the line is said to be undecidable and is not passed over.
        """
        wanted = set(concerned)
        kept = [replace(one, names=tuple(name for name in one.names if name in wanted)) for one in self.all]
        there = [one for one in kept if one.names]
        return [one for one in there if len(one.names) > 1] or there

    def of(self, name: str) -> Trajectory:
        """The trajectory that a checkpoint belongs to."""
        return self._of[name]

    def against(self, name: str, role: Role, named: str = "") -> str | None:
        """The checkpoint that `name` is compared with; None where there is nothing to compare.

        That is so of the reference itself, of the first, which has none before it, and of one that is named itself.

        Raises:
            RequestError: this audit has no such checkpoint.
        """
        own = self.of(name)
        if role == "named":
            if named not in self._of:
                near = did_you_mean(named, ["reference", "previous", *self._of])
                raise RequestError(
                    f"there is no checkpoint {named!r} in this audit{near}: reference, previous, or one of "
                    f"{', '.join(self._of)}"
                )
            return None if named == name else named
        if role == "previous":
            if own.names == (self.reference,):
                return None  # named to be compared with
            if len(own.names) == 1:
                raise RequestError(f"{self._alone(name)}, so that none comes before it: audit the run's others too")
            before = own.names.index(name) - 1
            return own.names[before] if before >= 0 else None
        reference = self._reference(name)
        return None if reference == name else reference

    def _reference(self, name: str) -> str:
        if self.reference is not None:
            return self.reference
        own = self.of(name)
        how = "audit it too, or name another with --geoaudit-reference=NAME"
        if len(own.references) > 1:
            said = " and ".join(f"step {step}" for step in own.references)
            raise RequestError(
                f"the training manifests of {', '.join(own.names)} name different references ({said}): name one with "
                "--geoaudit-reference=NAME"
            )
        if own.references:
            (wanted,) = own.references
            found = next((one for one in own.names if own.steps.get(one) == wanted), None)
            if found is None:
                raise RequestError(
                    f"the reference of {name} is step {wanted}, as its training manifest says, and this audit has no "
                    f"such checkpoint: {how}"
                )
            return found
        if len(own.names) == 1:
            raise RequestError(f"{self._alone(name)}, so that there is no reference to compare it with: {how}")
        return own.names[0]

    def _alone(self, name: str) -> str:
        return f"{name} is the only checkpoint of its run in this audit"


def group(places: Sequence[Place]) -> list[Trajectory]:
    """The trajectories of some checkpoints, in the order of their first members."""
    found: dict[tuple[str, ...], list[Place]] = {}
    for place in places:
        found.setdefault(_belongs(place), []).append(place)
    trajectories: list[Trajectory] = []
    for members in found.values():
        taken = {one.name for one in trajectories}
        wanted = _named(members)
        names = itertools.chain([wanted], (f"{wanted}-{number}" for number in itertools.count(2)))
        trajectories.append(replace(_ordered(members), name=next(name for name in names if name not in taken)))
    return trajectories


def check_reference(reference: str, names: Sequence[str]) -> None:
    """Whether `--geoaudit-reference` names a checkpoint of the audit.

    Raises:
        RequestError: it does not.
    """
    if reference not in names:
        raise RequestError(
            f"--geoaudit-reference {reference!r} is no checkpoint of this audit{did_you_mean(reference, names)}: "
            f"{', '.join(names)}"
        )


def _belongs(place: Place) -> tuple[str, ...]:
    if place.run:
        return "run", place.run
    if place.folder is None:
        return "alone", place.name
    return "folder", place.folder.rpartition("/")[0], place.kind


def _named(members: Sequence[Place]) -> str:
    """The name of a trajectory, by itself."""
    folders = {one.folder.rpartition("/")[0] for one in members if one.folder is not None}
    if folders:  # a slash in a hub id is no folder
        leading = {one.name.rpartition("/")[0] for one in members}
        shared = leading.pop() if len(leading) == 1 else ""
        parent = folders.pop().rpartition("/")[2] if len(folders) == 1 else ""
        if shared or parent:
            return shared or parent
    return members[0].name


def _ordered(members: list[Place]) -> Trajectory:
    steps = {one.name: one.at for one in members if one.at is not None}
    # with a step unknown there is no telling where it belongs: `base` comes first and `final` last
    ordered = sorted(members, key=lambda one: steps[one.name]) if len(steps) == len(members) else members
    return Trajectory(
        tuple(one.name for one in ordered),
        steps,
        tuple(sorted({one.reference for one in members if one.reference is not None})),
    )
