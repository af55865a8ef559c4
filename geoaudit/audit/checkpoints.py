"""The checkpoints of an audit: what each is, by its content, and which of them belong together."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from geoaudit import judges
from geoaudit.audit.baseline import PREFIX, Against, RecordBaseline
from geoaudit.audit.environment import Environment
from geoaudit.audit.measuring import Options
from geoaudit.audit.plan import Planned
from geoaudit.audit.store import Store
from geoaudit.audit.trajectory import Place, Trajectories, Trajectory, check_reference, group
from geoaudit.errors import GeoauditError, NothingToMeasure
from geoaudit.measures.bench import GENERATION_BATCH, Contract
from geoaudit.measures.definition import Role
from geoaudit.measures.table import MEASURES
from geoaudit.model import manifest
from geoaudit.model.batches import MOST_TOKENS, token_budget
from geoaudit.model.checkpoint import Checkpoint
from geoaudit.model.identity import Identity, identify
from geoaudit.model.size import kv_values, size
from geoaudit.records import Measurement, digest

LONGEST = 200
"""Characters of an option that are repeated in a command."""


@dataclass
class Subject:
    """One checkpoint of the audit."""

    checkpoint: Checkpoint
    identity: Identity
    contract: Contract
    training: manifest.TrainingManifest | None
    trained_on: frozenset[str]
    planned: dict[str, Planned] = field(default_factory=dict)
    """Key -> measurement."""
    done: bool = False
    broken: str | None = None
    """What stopped the measuring, so that it is not tried again for each assertion."""
    missing: dict[str, Measurement] = field(default_factory=dict)
    """Key -> why there is no number. Kept for this run only: the next one tries again."""


class Checkpoints:
    """The checkpoints of an audit, each identified when it is first asked for.

    Args:
        checkpoints: in the order given.
        options: of the audit.
        spent: takes a phase and when it started.

    Raises:
        RequestError: the reference that the options name is not among them.
    """

    def __init__(
        self, checkpoints: Iterable[Checkpoint], options: Options, spent: Callable[[str, float], None]
    ) -> None:
        self.named = {checkpoint.name: checkpoint for checkpoint in checkpoints}
        self.baseline = ""
        """Name of the checkpoint that is measured as the baseline: one of `named`, and none of `names`."""
        if isinstance(options.baseline, Checkpoint):
            self.baseline = f"{PREFIX}{options.baseline.name}"
            self.named[self.baseline] = replace(options.baseline, name=self.baseline)
        self.options = options
        self._spent = spent
        self._subjects: dict[str, Subject] = {}
        if options.reference is not None:
            check_reference(options.reference, self.names)

    @property
    def names(self) -> list[str]:
        """The audited checkpoints, in the order given."""
        return [name for name in self.named if name != self.baseline]

    @cached_property
    def trajectories(self) -> Trajectories:
        """Which checkpoints are of one run, and what each is compared with."""
        return Trajectories((_place(self.named[name]) for name in self.names), self.options.reference)

    def of(self, name: str) -> Trajectory:
        """The trajectory of a checkpoint; the baseline's is its own."""
        if name == self.baseline:
            return group([Place(name)])[0]
        return self.trajectories.of(name)

    def compared(self, name: str, role: Role, named: str = "") -> str | None:
        """`Trajectories.against`, for the baseline too.

        Raises:
            NothingToMeasure: the baseline is of no trajectory.
        """
        if name != self.baseline:
            return self.trajectories.against(name, role, named)
        if role == "named" and named in self.names:
            return named
        raise NothingToMeasure(
            f"a measure that compares with the {role} of a trajectory says nothing of a baseline, which is part of none"
        )

    def against(self) -> Against:
        """What change lines are compared with."""
        given = self.options.baseline
        return Against(
            _Live(self),
            given if isinstance(given, RecordBaseline) else self.baseline or None,
            self.options.allow_mismatch,
            self.options.noise,
            self.options.profile.name,
            _settings(self.options),
        )

    def family(self, name: str) -> tuple[str, ...]:
        """The checkpoints of the trajectory that share refusal tokens with one, itself among them, in order.

        Tokens are numbers, which mean the same only with the same tokenizer. One that cannot be identified is left out.
        """
        own = self.subject(name).identity.tokenizer_sha256
        found = []
        for member in self.of(name).names:
            with suppress(GeoauditError):
                if member == name or self.subject(member).identity.tokenizer_sha256 == own:
                    found.append(member)
        return tuple(found)

    def subject(self, name: str) -> Subject:
        """The checkpoint of that name, identified (weights are hashed the first time they are seen)."""
        if name not in self._subjects:
            checkpoint = self.named[name]
            started = time.monotonic()
            identity = identify(checkpoint, self.options.store)
            self._spent("identify", started)
            training = manifest.read(_folder(checkpoint))
            sets = training.prompt_sets.values() if training else ()
            self._subjects[name] = Subject(
                checkpoint=checkpoint,
                identity=identity,
                contract=Contract(
                    device=self.options.device.partition(":")[0],
                    dtype=self.options.dtype or checkpoint.dtype,
                    template_sha256=digest(self.options.template) if self.options.template else "",
                    system_sha256=digest(self.options.system) if self.options.system else "",
                    torch=_minor("torch"),
                    transformers=_minor("transformers"),
                    generation_batch=self.options.generation_batch or GENERATION_BATCH,
                    generation_tokens=self._batch_tokens(checkpoint),
                ),
                training=training,
                trained_on=frozenset(sha for one in sets for sha in one.prompts),
            )
        return self._subjects[name]

    def _batch_tokens(self, checkpoint: Checkpoint) -> int:
        """Padded tokens in a generated batch, by this machine's memory."""
        if not self.options.device.startswith("cpu"):
            return MOST_TOKENS  # an accelerator says when it is full, and the batch is halved
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        dtype = self.options.dtype or checkpoint.dtype
        width = 4 if dtype == "float32" else 2
        return token_budget(kv_values(checkpoint) * width, memory - size(checkpoint).parameters * width)


class _Live:
    """What surrounds checkpoints that are measured now."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints

    @property
    def trajectories(self) -> Trajectories:
        """Of the audit."""
        return self.checkpoints.trajectories

    def environment(self, name: str) -> Environment:
        """Of a checkpoint that was measured."""
        subject = self.checkpoints.subject(name)
        facts = Store(self.checkpoints.options.store).get(facts_key(subject)) or {}
        versions = {measure.name: measure.version for measure in MEASURES.values()}
        template = facts.get("template", {}).get("sha256")
        return Environment.live(asdict(subject.contract), template, judges.rules_sha256(), versions)

    def identity(self, name: str) -> str:
        """Of a checkpoint's content."""
        return self.checkpoints.subject(name).identity.id


def _settings(options: Options) -> tuple[str, ...]:
    """The options that decide what is measured, as they are given; a long text is for the person to give again."""
    given = {
        "dtype": options.dtype,
        "template": options.template,
        "system": options.system,
        "data": options.judging.data and str(options.judging.data),
    }
    return tuple(
        f"--geoaudit-{name}={value if len(value) < LONGEST else '...'}" for name, value in given.items() if value
    )


def facts_key(subject: Subject) -> str:
    """Where the store keeps what only an opened checkpoint tells."""
    contract = subject.contract
    return digest(["facts", subject.identity.id, contract.template_sha256, contract.system_sha256])


def _place(checkpoint: Checkpoint) -> Place:
    """Where a checkpoint belongs, by its folder and its manifest."""
    try:
        training = manifest.read(_folder(checkpoint))
    except GeoauditError:  # said where the checkpoint is identified
        training = None
    lies = checkpoint.kind in ("directory", "adapter")
    folder = checkpoint.path.parent.resolve() / checkpoint.path.name if lies else None
    place = Place(checkpoint.name, folder.as_posix() if folder else None, checkpoint.model_type)
    if training is None:
        return place
    return replace(place, run=training.run, step=training.step, reference=training.reference)


def _folder(checkpoint: Checkpoint) -> Path:
    return checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent


def _minor(package: str) -> str:
    found = re.match(r"\d+\.\d+", version(package))
    return found.group(0) if found else version(package)
