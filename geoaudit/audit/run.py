"""One audit: checkpoints, what is planned of each, and who measures it when: once, under a lock, through the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

from geoaudit.audit.checkpoints import Checkpoints, Subject, facts_key
from geoaudit.audit.costs import Work
from geoaudit.audit.fulfilling import Fulfilling
from geoaudit.audit.measuring import Options, Progress, Timings
from geoaudit.audit.order import node, ordered
from geoaudit.audit.plan import Planned, measurement_key, resolve
from geoaudit.audit.store import Store
from geoaudit.errors import GeoauditError, NothingToMeasure
from geoaudit.measures.definition import Against, Measure, Role
from geoaudit.measures.table import dotted, get
from geoaudit.model.checkpoint import Checkpoint
from geoaudit.model.size import Size, size
from geoaudit.records import Measurement


class MeasuringStopped(Exception):
    """An error that is no verdict (out of memory, a defect) ended the measuring of a checkpoint earlier in this run."""


class Auditor:
    """Measures what is planned and hands out measurements. Imports torch only when something must be measured."""

    def __init__(self, checkpoints: list[Checkpoint], options: Options, say: Progress) -> None:
        self.options = options
        self.store = Store(options.store)
        self.say = say
        self.timings = Timings()
        self.checkpoints = Checkpoints(checkpoints, options, self.timings.spent)
        self._fulfilling = Fulfilling(self.checkpoints, self.store, say, self.timings)
        self._finished: set[str] = set()
        """Checkpoints whose measuring ended."""
        self.lay_plan: Callable[[str], None] = lambda name: None
        """Plans everything that will be asked of a checkpoint, so that it can be measured before it is asked for."""

    @property
    def warnings(self) -> list[str]:
        """Lines of other libraries, caught while measuring."""
        return self._fulfilling.warnings

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
                self._fulfilling.held.keep(self._still_to_come)
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
        return self._fulfilling.left(name, self.unmeasured(name))

    def _still_to_come(self, source: Checkpoint) -> bool:
        """Whether a checkpoint that may yet be measured is this model, or an adapter of it."""
        asked = source.kind, source.path
        return any(
            ((one.base or one).kind, (one.base or one).path) == asked and name not in self._finished
            for name, one in self.checkpoints.named.items()
        )

    def facts(self, name: str) -> dict[str, Any]:
        """What measuring found out about a checkpoint that the record shows (rendered template, threads)."""
        found: dict[str, Any] | None = self.store.get(facts_key(self.subject(name)))
        return found or {}

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
                self._fulfilling.held.keep(self._still_to_come)

    def _measured(self, name: str, *, wait: bool) -> bool:
        """Measure what is planned of a checkpoint and not in the store; False where another process holds a lock."""
        with self._locked(name, wait=wait) as locked:
            todo = self.unmeasured(name) if locked else []
            if todo:
                self._fulfilling.measure(name, todo)
        return locked

    @contextmanager
    def _locked(self, name: str, *, wait: bool) -> Iterator[bool]:
        """The locks of all checkpoints that measuring this one reaches; False where one is taken and not waited for.

        Always in the same order, so that two processes that reach for each other's checkpoints cannot wait in a circle.
        """
        from filelock import FileLock, Timeout

        reached = {name, *(one for one, _ in self._fulfilling.nodes(name, self.unmeasured(name)))}
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


def itself(role: Role) -> str:
    """What a checkpoint is, with which there is nothing to compare."""
    if role == "named":
        return "itself the checkpoint that is named"
    return "itself the reference" if role == "reference" else "the first of its trajectory"
