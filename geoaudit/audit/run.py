"""One audit: checkpoints, what is planned of each, and the measuring, once, under a lock, through the store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

from geoaudit.audit.attempts import Attempts, unraised
from geoaudit.audit.checkpoints import Checkpoints, Subject, facts_key
from geoaudit.audit.costs import Work, seconds_per_unit, works
from geoaudit.audit.measuring import Benches, Chats, Options, Progress, clock, every, facts_of, open_bench, quiet
from geoaudit.audit.order import Node, node, ordered
from geoaudit.audit.plan import Planned, measurement_key, resolve
from geoaudit.audit.store import Store
from geoaudit.errors import BrokenCheckpoint, GeoauditError, NothingToMeasure
from geoaudit.measures.bench import Bench, Contract
from geoaudit.measures.definition import Against, Measure, Role
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.needs import (
    CandidateSearch,
    CosineProfiles,
    Damage,
    EditedCompletions,
    Examination,
    Intervention,
    Judged,
    Need,
    SubspaceAblation,
    Transfer,
)
from geoaudit.measures.table import dotted, get
from geoaudit.model.checkpoint import Checkpoint
from geoaudit.model.held import Held
from geoaudit.model.size import Size, size
from geoaudit.records import Flag, Measurement, digest

SLOW = 2.0
"""Seconds after which a phase says how far it is."""
FOLLOWS = (Examination, SubspaceAblation, Intervention, EditedCompletions, Damage, Transfer, CosineProfiles)
"""Needs that look at what a search, or the cells of prompts, found. Where that is nothing they have nothing to look
at, and the measure says so from the rows before them."""


class MeasuringStopped(Exception):
    """An error that is no verdict (out of memory, a defect) ended the measuring of a checkpoint earlier in this run."""


class Auditor:
    """Measures what is planned and hands out measurements. Imports torch only when something must be measured."""

    def __init__(self, checkpoints: list[Checkpoint], options: Options, say: Progress) -> None:
        self.options = options
        self.store = Store(options.store)
        self.say = say
        self.warnings: list[str] = []
        self.timings: dict[str, float] = {}
        self.checkpoints = Checkpoints(checkpoints, options, self._spent)
        self._tried = Attempts(self.checkpoints)
        self._chats = Chats(options, self._spent)
        self._held = Held(options.store, options.device)
        self._finished: set[str] = set()
        """Checkpoints whose measuring ended."""
        self.lay_plan: Callable[[str], None] = lambda name: None
        """Plans everything that will be asked of a checkpoint, so that it can be measured before it is asked for."""

    @property
    def names(self) -> list[str]:
        """Names of the checkpoints, in the order given."""
        return self.checkpoints.names

    def checkpoint(self, name: str) -> Checkpoint:
        """The checkpoint of that name."""
        return self.checkpoints.named[name]

    def subject(self, name: str) -> Subject:
        """The checkpoint of that name, identified."""
        return self.checkpoints.subject(name)

    def size(self, name: str) -> Size:
        """Parameters, layers and widths, from headers alone."""
        return size(self.checkpoint(name))

    def plan(self, name: str, measure: str, given: Mapping[str, Any]) -> Planned:
        """Add a measurement to what will be measured of a checkpoint; the same one twice is one.

        Raises:
            NothingToMeasure: a comparison of a checkpoint with itself.
            GeoauditError: a parameter that cannot be, or a checkpoint to compare with that is not there.
        """
        subject = self.subject(name)
        definition = get(measure)
        parameters = self._compared(name, resolve(definition, given, self.options.profile))
        key = measurement_key(
            subject.identity.id,
            subject.contract,
            definition,
            parameters,
            subject.trained_on,
            self.options.labels.sha256,
            self.options.judging,
            self._others(name, definition, parameters),
        )
        if key not in subject.planned:
            subject.planned[key] = Planned(name, measure, parameters, key)
            subject.done = False
        return subject.planned[key]

    def _compared(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters with the names of the checkpoints that they compare."""
        found = dict(parameters)
        for key, value in parameters.items():
            if isinstance(value, Against):
                other = self.checkpoints.compared(name, value.role, value.checkpoint)
                if other is None:
                    raise NothingToMeasure(f"{name} is {itself(value.role)}: there is nothing to compare it with")
                found[key] = replace(value, checkpoint=other, here=name)
        return found

    def _others(self, name: str, definition: Measure, parameters: Mapping[str, Any]) -> list[Any]:
        """What a measurement rests on of other checkpoints: their content, and the names that it names them by."""
        subject = self.subject(name)
        needs = dotted(definition.needs)(parameters)
        reached = {one for one, _ in ordered([node(name, need) for need in needs], self.checkpoints.family)}
        there = [self.subject(one) for one in reached]
        content = {one.identity.id: asdict(one.contract) for one in there if one.identity.id != subject.identity.id}
        compared = [
            [value.here, value.checkpoint, other.identity.id, sorted(other.trained_on)]
            for value in parameters.values()
            if isinstance(value, Against) and (other := self.subject(value.checkpoint))
        ]
        return [sorted(content.items()), compared]

    def measurement(self, planned: Planned) -> Measurement:
        """The measurement, measuring everything planned of its checkpoint first if it is not in the store.

        Raises:
            Exception: what stopped the measuring, for each assertion that depended on it.
        """
        subject = self.subject(planned.checkpoint)
        if subject.broken is not None:
            # A new exception each time: raising one object again would grow its traceback with every assertion.
            raise MeasuringStopped(f"measuring {planned.checkpoint} stopped before: {subject.broken}")
        if not subject.done:
            try:
                self._measure(subject)
            except Exception as error:
                subject.broken = f"{type(error).__name__}: {error}"
                raise
            finally:
                self._finished.add(planned.checkpoint)
                self._held.keep(self._still_to_come)
            subject.done = True
        if planned.key in subject.missing:
            return subject.missing[planned.key]
        return self.stored(planned.key, planned.checkpoint)

    def stored(self, key: str, checkpoint: str) -> Measurement:
        """A measurement from the store, under the checkpoint's name in this audit."""
        found = self.store.get(key)
        if found is None:
            raise NothingToMeasure(f"the measurement {key[:12]} is not in the store {self.store.folder}")
        return replace(Measurement.from_json(found), checkpoint=checkpoint)

    def unmeasured(self, name: str) -> list[Planned]:
        """What is planned of a checkpoint and not in the store."""
        return [one for one in self.subject(name).planned.values() if self.store.get(one.key) is None]

    def works(self, name: str) -> list[tuple[Work, float]]:
        """What is left to do for a checkpoint, also of others that it needs something of, with the seconds it takes."""
        nodes = [one for one in self._nodes(name, self.unmeasured(name)) if self._tried.untried(one)]
        left = works(nodes, lambda one: self.size(one).n_layers, self.options.judging.data)
        return [(work, work.units * self._pace(work)) for work in left]

    def _nodes(self, name: str, planned: Iterable[Planned]) -> list[Node]:
        """Every need of some measurements of a checkpoint, in the order in which they are fulfilled."""
        return ordered((node(name, need) for one in planned for need in one.needs), self.checkpoints.family, last=name)

    def _still_to_come(self, source: Checkpoint) -> bool:
        """Whether a checkpoint that may yet be measured is this model, or an adapter of it."""
        asked = source.kind, source.path
        return any(
            ((one.base or one).kind, (one.base or one).path) == asked and name not in self._finished
            for name, one in self.checkpoints.named.items()
        )

    def facts(self, name: str) -> dict[str, Any]:
        """What measuring found out about a checkpoint that the record shows (rendered template, threads)."""
        found: dict[str, Any] | None = self.store.get(self._facts_key(self.subject(name)))
        return found or {}

    def _facts_key(self, subject: Subject) -> str:
        return facts_key(subject)

    def _measure(self, subject: Subject) -> None:
        name = subject.checkpoint.name
        if self._measured(name, wait=False):
            return
        names = list(self.checkpoints.named)
        at = names.index(name)
        for other in (*names[at + 1 :], *names[:at]):  # another process is at it: the time is for the others
            self._measure_beside(other)
        self._measured(name, wait=True)

    def _measure_beside(self, name: str) -> None:
        """Measure what will be asked of another checkpoint, unless somebody does; an error is for those who ask."""
        with suppress(GeoauditError):  # what cannot be identified says so where it is asked for
            self.lay_plan(name)
            subject = self.subject(name)
            if subject.done or subject.broken is not None or not self.unmeasured(name):
                return
            try:
                subject.done = self._measured(name, wait=False)
            except GeoauditError:
                raise
            except Exception as error:
                subject.broken = f"{type(error).__name__}: {error}"
            finally:
                if subject.done or subject.broken is not None:
                    self._finished.add(name)
                self._held.keep(self._still_to_come)

    def _measured(self, name: str, *, wait: bool) -> bool:
        """Measure what is planned of a checkpoint and not in the store; False where another process holds a lock."""
        with self._locked(name, wait=wait) as locked:
            todo = self.unmeasured(name) if locked else []
            if todo:
                self._measure_locked(name, todo)
        return locked

    @contextmanager
    def _locked(self, name: str, *, wait: bool) -> Iterator[bool]:
        """The locks of all checkpoints that measuring this one reaches; False where one is taken and not waited for.

        Always in the same order, so that two processes that reach for each other's checkpoints cannot wait in a circle.
        """
        from filelock import FileLock, Timeout

        reached = {name, *(one for one, _ in self._nodes(name, self.unmeasured(name)))}
        with ExitStack() as held:
            for lock_id in sorted({self.subject(one).identity.id[:32]: None for one in reached}):
                lock = FileLock(self.store.lock_path(lock_id))
                try:
                    lock.acquire(timeout=1)
                except Timeout:
                    if not wait:
                        yield False
                        return
                    who = "this checkpoint" if lock_id == self.subject(name).identity.id[:32] else "one that it needs"
                    self.say(f"{name}: another process is measuring {who}, waiting for it")
                    lock.acquire()
                held.callback(lock.release)
            yield True

    def _measure_locked(self, name: str, todo: list[Planned]) -> None:
        left = self.works(name)
        self.say(f"{name}: {len(todo)} measurements to make, about {clock(sum(seconds for _, seconds in left))}")
        benches = Benches(self._open)
        with quiet(self.warnings), closing(benches):
            for work, expected in left:
                self._fulfil(benches, work, expected)
            # Before the measurements: once they are all there nothing opens the checkpoint again.
            for one in {name, *(work.checkpoint for work, _ in left)}:
                with suppress(GeoauditError):  # a tokenizer or a template that is broken: every measurement says so
                    self.store.put(self._facts_key(self.subject(one)), facts_of(benches.of(one)))
            evidence = self._evidence(name, benches)
            started = time.monotonic()
            for planned in todo:
                self._compute(planned, evidence, benches.of(name).unjudged)
            self._spent("measure", started)

    def _open(self, name: str, benches: Benches) -> Bench:
        subject = self.subject(name)
        return open_bench(
            subject.checkpoint,
            subject.identity,
            subject.contract,
            self.options,
            self.store,
            chats=self._chats,
            held=self._held,
            trained_on=subject.trained_on,
            others=benches.of,
            trajectory=lambda: [benches.of(one) for one in self._tried.answering(name)],
            say=self.say,
            spent=self._spent,
        )

    def _evidence(self, name: str, benches: Benches) -> Evidence:
        subject, bench = self.subject(name), benches.of(name)

        def of(need: Need) -> Any:
            failed = node(name, need)
            if failed in self._tried.failed:
                raise unraised(self._tried.said(failed, name))
            return bench.fulfil(need)

        return Evidence(
            name,
            of,
            subject.trained_on,
            self.options.labels,
            subject.training is not None,
            lambda other: self._evidence(other, benches),
            bench.chat_under,
        )

    def _fulfil(self, benches: Benches, work: Work, expected: float) -> None:
        why = self._tried.why_not(work.node)
        if why is not None:
            self._tried.failed[work.node] = why
            return
        bench = benches.alone(work.checkpoint)
        started = time.monotonic()
        label = f"{work.checkpoint}: {work.title} ({work.prompts} prompts)"
        self.say(f"{label}, about {clock(expected)}")
        bench.progress = every(SLOW * 10, self.say, label, started)
        made, found, loading = bench.made, bench.found, self.timings.get("load", 0.0)
        try:
            bench.fulfil(work.need)
        except GeoauditError as error:
            self._tried.failed[work.node] = unraised(error)
            self.say(f"{label}: nothing to measure: {error}")
            return
        self._tried.made.add(work.node)
        started += self.timings.get("load", 0.0) - loading  # a time of its own, and not the pace of this work
        seconds = time.monotonic() - started
        self._spent(work.phase, started)
        if bench.made > made and bench.found == found and seconds > 1:
            parameters = self.size(work.checkpoint).parameters
            self.store.put(self._pace_key(bench.contract, parameters, work.phase), seconds / work.units)

    def _without(self, one: Planned) -> tuple[Flag, ...]:
        """A note for what was found with refusal tokens that not every checkpoint of the trajectory had a say in."""
        searched = {name for name, need in self._nodes(one.checkpoint, [one]) if isinstance(need, CandidateSearch)}
        silent = {member: why for name in searched for member, why in self._tried.silent(name).items()}
        return tuple(
            Flag(
                "incomplete-refusal-tokens",
                "note",
                f"the refusal tokens are those of the rest of the trajectory: {member} gave no answers ({why})",
            )
            for member, why in silent.items()
        )

    def _compute(self, one: Planned, evidence: Evidence, unjudged: Set[Judged]) -> None:
        subject = self.subject(one.checkpoint)

        def missing(error: NothingToMeasure) -> Measurement:
            return Measurement(
                measure=one.measure,
                checkpoint=evidence.checkpoint,
                parameters=evidence.described(one.parameters),
                unit=get(one.measure).unit,
                why_missing=str(error),
                detail=error.detail,
            )

        for there in (node(one.checkpoint, need) for need in one.needs):
            error = self._tried.failed.get(there)
            if error is not None and (isinstance(error, BrokenCheckpoint) or not isinstance(there[1], FOLLOWS)):
                # may be the machine's fault: the next run tries again
                subject.missing[one.key] = missing(self._tried.said(there, one.checkpoint))
                return
        try:
            measurement: Measurement = dotted(get(one.measure).function)(one.parameters, evidence)
        except GeoauditError as error:  # follows from the rows alone
            measurement = missing(unraised(error))
        without = self._without(one)
        if without or unjudged & set(one.needs):  # the next run asks those again that gave no answer
            subject.missing[one.key] = replace(measurement, flags=(*measurement.flags, *without))
        else:
            self.store.put(one.key, measurement.to_json())

    def _pace(self, work: Work) -> float:
        """Seconds per unit of work: as timed on this machine, else by the rule of thumb."""
        contract, parameters = self.subject(work.checkpoint).contract, self.size(work.checkpoint).parameters
        timed = self.store.get(self._pace_key(contract, parameters, work.phase))
        return float(timed) if timed is not None else seconds_per_unit(parameters, contract.device)

    @staticmethod
    def _pace_key(contract: Contract, parameters: int, phase: str) -> str:
        return digest(["pace", contract.device, contract.dtype, parameters, phase, os.cpu_count()])

    def _spent(self, phase: str, started: float) -> None:
        self.timings[phase] = self.timings.get(phase, 0.0) + time.monotonic() - started


def itself(role: Role) -> str:
    """What a checkpoint is, with which there is nothing to compare."""
    if role == "named":
        return "itself the checkpoint that is named"
    return "itself the reference" if role == "reference" else "the first of its trajectory"
