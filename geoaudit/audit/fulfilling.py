"""Needs fulfilled and measurements computed from them: the work on one checkpoint, once nobody else is at it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Set
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

from geoaudit.audit.attempts import Attempts, unraised
from geoaudit.audit.checkpoints import Checkpoints, facts_key
from geoaudit.audit.costs import Work, seconds_per_unit, works
from geoaudit.audit.measuring import (
    Benches,
    Chats,
    Progress,
    Timings,
    clock,
    every,
    facts_of,
    open_bench,
    quiet,
)
from geoaudit.audit.order import Node, node, ordered
from geoaudit.audit.plan import Planned
from geoaudit.audit.store import Store
from geoaudit.errors import BrokenCheckpoint, GeoauditError, NothingToMeasure
from geoaudit.measures.bench import Bench, Contract
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
from geoaudit.model.held import Held
from geoaudit.model.size import Size, size
from geoaudit.records import Flag, Measurement, digest

SLOW = 2.0
"""Seconds after which a phase says how far it is."""
FOLLOWS = (Examination, SubspaceAblation, Intervention, EditedCompletions, Damage, Transfer, CosineProfiles)
"""Needs that look at what a search, or the cells of prompts, found. Where that is nothing they have nothing to look
at, and the measure says so from the rows before them."""


class Fulfilling:
    """Opens checkpoints, one model at a time, and makes measurements of them.

    Args:
        checkpoints: of the audit.
        store: where rows and measurements are kept.
        say: where lines on progress go.
        timings: what each phase took.
    """

    def __init__(self, checkpoints: Checkpoints, store: Store, say: Progress, timings: Timings) -> None:
        self.checkpoints = checkpoints
        self.options = checkpoints.options
        self.store = store
        self.say = say
        self.timings = timings
        self.warnings: list[str] = []
        """Lines of other libraries."""
        self.tried = Attempts(checkpoints)
        self.held = Held(self.options.store, self.options.device)
        self._chats = Chats(self.options, timings.spent)

    def left(self, name: str, planned: Iterable[Planned]) -> list[tuple[Work, float]]:
        """What measurements of a checkpoint still take, also of others that they need, with the seconds it takes."""
        nodes = [one for one in self.nodes(name, planned) if self.tried.untried(one)]
        left = works(nodes, lambda one: self._size(one).n_layers, self.options.judging.data)
        return [(work, work.units * self._pace(work)) for work in left]

    def nodes(self, name: str, planned: Iterable[Planned]) -> list[Node]:
        """Every need of some measurements of a checkpoint, in the order in which they are fulfilled."""
        return ordered((node(name, need) for one in planned for need in one.needs), self.checkpoints.family, last=name)

    def measure(self, name: str, todo: list[Planned]) -> None:
        """Make measurements of a checkpoint, and keep each as soon as it is there."""
        left = self.left(name, todo)
        self.say(f"{name}: {len(todo)} measurements to make, about {clock(sum(seconds for _, seconds in left))}")
        benches = Benches(self._open)
        with quiet(self.warnings), closing(benches):
            for work, expected in left:
                self._fulfil(benches, work, expected)
            # Before the measurements: once they are all there nothing opens the checkpoint again.
            for one in {name, *(work.checkpoint for work, _ in left)}:
                with suppress(GeoauditError):  # a tokenizer or a template that is broken: every measurement says so
                    self.store.put(facts_key(self.checkpoints.subject(one)), facts_of(benches.of(one)))
            evidence = self._evidence(name, benches)
            started = time.monotonic()
            for planned in todo:
                self._compute(planned, evidence, benches.of(name).unjudged)
            self.timings.spent("measure", started)

    def _open(self, name: str, benches: Benches) -> Bench:
        subject = self.checkpoints.subject(name)
        return open_bench(
            subject.checkpoint,
            subject.identity,
            subject.contract,
            self.options,
            self.store,
            chats=self._chats,
            held=self.held,
            trained_on=subject.trained_on,
            others=benches.of,
            trajectory=lambda: [benches.of(one) for one in self.tried.answering(name)],
            say=self.say,
            spent=self.timings.spent,
        )

    def _evidence(self, name: str, benches: Benches) -> Evidence:
        subject, bench = self.checkpoints.subject(name), benches.of(name)

        def of(need: Need) -> Any:
            failed = node(name, need)
            if failed in self.tried.failed:
                raise unraised(self.tried.said(failed, name))
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
        why = self.tried.why_not(work.node)
        if why is not None:
            self.tried.failed[work.node] = why
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
            self.tried.failed[work.node] = unraised(error)
            self.say(f"{label}: nothing to measure: {error}")
            return
        self.tried.made.add(work.node)
        started += self.timings.get("load", 0.0) - loading  # a time of its own, and not the pace of this work
        seconds = time.monotonic() - started
        self.timings.spent(work.phase, started)
        if bench.made > made and bench.found == found and seconds > 1:
            parameters = self._size(work.checkpoint).parameters
            self.store.put(self._pace_key(bench.contract, parameters, work.phase), seconds / work.units)

    def _without(self, one: Planned) -> tuple[Flag, ...]:
        """A note for what was found with refusal tokens that not every checkpoint of the trajectory had a say in."""
        searched = {name for name, need in self.nodes(one.checkpoint, [one]) if isinstance(need, CandidateSearch)}
        silent = {member: why for name in searched for member, why in self.tried.silent(name).items()}
        return tuple(
            Flag(
                "incomplete-refusal-tokens",
                "note",
                f"the refusal tokens are those of the rest of the trajectory: {member} gave no answers ({why})",
            )
            for member, why in silent.items()
        )

    def _compute(self, one: Planned, evidence: Evidence, unjudged: Set[Judged]) -> None:
        subject = self.checkpoints.subject(one.checkpoint)

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
            error = self.tried.failed.get(there)
            if error is not None and (isinstance(error, BrokenCheckpoint) or not isinstance(there[1], FOLLOWS)):
                # may be the machine's fault: the next run tries again
                subject.missing[one.key] = missing(self.tried.said(there, one.checkpoint))
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
        contract = self.checkpoints.subject(work.checkpoint).contract
        parameters = self._size(work.checkpoint).parameters
        timed = self.store.get(self._pace_key(contract, parameters, work.phase))
        return float(timed) if timed is not None else seconds_per_unit(parameters, contract.device)

    @staticmethod
    def _pace_key(contract: Contract, parameters: int, phase: str) -> str:
        return digest(["pace", contract.device, contract.dtype, parameters, phase, os.cpu_count()])

    def _size(self, name: str) -> Size:
        return size(self.checkpoints.named[name])
