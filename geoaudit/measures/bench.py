"""A checkpoint on the bench: fulfils needs through the row store, loading the model only when a row is missing.

Rows are keyed by what determines them (checkpoint id, rendered token ids, generation and edit contract, dtype, device
kind, library versions, our own order of computing) and never by a path or a name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from geoaudit.errors import RequestError
from geoaudit.judges.setup import JudgeSetup
from geoaudit.measures.inputs import AS_AUDITED, ChatSetting, Source, load_source
from geoaudit.measures.needs import (
    Beliefs,
    CandidateSearch,
    Categories,
    Cells,
    Completions,
    CosineProfiles,
    Damage,
    EditedCompletions,
    Elsewhere,
    Examination,
    Intervention,
    Inversion,
    Judged,
    Need,
    Optimised,
    Probe,
    Projections,
    SubspaceAblation,
    Transfer,
)
from geoaudit.model.batches import MOST_TOKENS
from geoaudit.model.numerics import VERSION as NUMERICS
from geoaudit.records import PromptSet, digest

if TYPE_CHECKING:
    import numpy as np

    from geoaudit.model.chat import Chat
    from geoaudit.model.loaded import LoadedModel

Row = TypeVar("Row")

GENERATION_BATCH = 64
"""Prompts in one generated batch. Part of the contract: greedy text in bf16 depends on it."""
REFERENCE_JUDGE = "refusal"
"""Says which of the model's own answers are refusals, where refusal scores are made and checked."""
PROBE_BLOCKS = 32
"""Fixed blocks of prompts in which moments are kept for the bootstrap."""

FULFILLED_BY: Mapping[type, tuple[str, str]] = {
    Completions: ("completing", "completions"),
    Judged: ("judging", "judged"),
    Probe: ("activations", "probe"),
    Categories: ("activations", "categories"),
    Cells: ("activations", "cells"),
    Projections: ("activations", "projections"),
    Beliefs: ("believing", "beliefs"),
    CandidateSearch: ("searching", "candidate_search"),
    Examination: ("searching", "examination"),
    SubspaceAblation: ("searching", "subspace_ablation"),
    Transfer: ("searching", "transfer"),
    Inversion: ("inverting", "inversion"),
    Intervention: ("intervening", "intervention"),
    EditedCompletions: ("edited_text", "edited_completions"),
    Damage: ("damaging", "damage"),
    CosineProfiles: ("profiles", "profiles"),
    Optimised: ("optimising", "optimised"),
}
"""What fulfils each need: module of this room and function of a bench and a need, imported at first use."""


class Rows(Protocol):
    """What the bench needs of the store."""

    def get(self, key: str) -> Any | None:
        """The JSON-able value under `key`, or None."""

    def put(self, key: str, value: Any) -> None:
        """Write `value` under `key`, atomically."""

    def get_arrays(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays under `key`, or None."""

    def put_arrays(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays under `key`, atomically."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What, besides checkpoint and prompt, a number depends on."""

    device: str
    """Kind of device: cpu, cuda, mps."""
    dtype: str
    template_sha256: str
    """Of a template that was named on the command line; empty for the checkpoint's own."""
    system_sha256: str
    torch: str
    """Minor version, e.g. 2.13."""
    transformers: str
    generation_batch: int = GENERATION_BATCH
    generation_tokens: int = MOST_TOKENS
    """Padded tokens in a generated batch, prompts and answers together; less where memory is small."""
    probe_blocks: int = PROBE_BLOCKS
    numerics: int = NUMERICS
    """How this package computes a pass."""


def _alone(name: str) -> Bench:
    raise RequestError(f"there is no other checkpoint {name!r} to read from")


@dataclass
class Bench:
    """One checkpoint under one contract."""

    checkpoint_id: str
    contract: Contract
    rows: Rows
    open_chat: Callable[[ChatSetting], Chat]
    """Reads the tokenizer only."""
    open_model: Callable[[], LoadedModel]
    """Loads the weights; called when a row is missing."""
    make_room: Callable[[], None] = lambda: None
    """Lets go of what is kept in memory for the next model: a judge needs it."""
    judging: JudgeSetup = field(default_factory=JudgeSetup)
    trained_on: frozenset[str] = frozenset()
    """SHA-256 of the prompts in the checkpoint's training manifest."""
    progress: Callable[[int, int], None] = lambda done, total: None
    """Called with (prompts or candidates done, in all) inside a need."""
    others: Callable[[str], Bench] = _alone
    """The bench of another checkpoint of this audit, by its name."""
    trajectory: Callable[[], list[Bench]] | None = None
    """The benches of this checkpoint's trajectory, itself among them, in order; None: it is alone."""
    made: int = 0
    """Rows that had to be measured."""
    found: int = 0
    """Rows that were in the store."""
    unjudged: set[Judged] = field(default_factory=set)
    """Needs whose judge gave no answer to some: what rests on them is not kept."""
    edits: dict[Intervention, Any] = field(default_factory=dict)
    """What interventions edit into the model (`preparing.prepared`): scores, text and damage are of the same edits."""
    _fulfilled: dict[Need, Any] = field(default_factory=dict)
    _chats: dict[ChatSetting, Chat] = field(default_factory=dict)

    @property
    def data(self) -> Path | None:
        """Folder of the benchmark files."""
        return self.judging.data

    @property
    def chat(self) -> Chat:
        """How instructions are rendered where the suite says nothing."""
        return self.chat_under(AS_AUDITED)

    def chat_under(self, setting: ChatSetting) -> Chat:
        """How instructions are rendered under a suite's setting."""
        if setting not in self._chats:
            self._chats[setting] = self.open_chat(setting)
        return self._chats[setting]

    @cached_property
    def loaded(self) -> LoadedModel:
        """The model, loaded at first use."""
        return self.open_model()

    def release(self) -> None:
        """Let go of the model. It is loaded again where a later row is missing."""
        self.__dict__.pop("loaded", None)

    def family(self) -> list[Bench]:
        """The benches of the trajectory, itself among them."""
        return [self] if self.trajectory is None else self.trajectory()

    def prompts(self, source: Source) -> PromptSet:
        """The whole prompt set of a source, in its fixed order."""
        return load_source(source, self.data)

    def fulfil(self, need: Need) -> Any:
        """The evidence for one need: what its class says that it gives.

        Raises:
            NothingToMeasure: if the checkpoint cannot give it (NaN activations, no post-instruction tokens, ...).
        """
        if need not in self._fulfilled:
            if isinstance(need, Elsewhere):
                self._fulfilled[need] = self.others(need.checkpoint).fulfil(need.need)
            else:
                module, name = FULFILLED_BY[type(need)]
                self._fulfilled[need] = getattr(import_module(f"geoaudit.measures.{module}"), name)(self, need)
        return self._fulfilled[need]

    def get_row(self, key: str) -> Any | None:
        """A row from the store, counted."""
        return self._counted(self.rows.get(key))

    def get_arrays(self, key: str) -> dict[str, np.ndarray] | None:
        """Arrays from the store, counted."""
        return self._counted(self.rows.get_arrays(key))

    def put_arrays(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Arrays into the store."""
        self.rows.put_arrays(key, arrays)

    def _counted(self, row: Row | None) -> Row | None:
        if row is None:
            self.made += 1
        else:
            self.found += 1
        return row

    def key(self, kind: str, *parts: Any) -> str:
        """Hash of a row's kind, of what determines it, and of checkpoint and contract."""
        return digest([kind, self.checkpoint_id, asdict(self.contract), *parts])
