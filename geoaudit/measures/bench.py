"""A checkpoint on the bench: fulfils needs through the row store, loading the model only when a row is missing.

Rows are keyed by what determines them (checkpoint id, rendered token ids, generation and edit contract, dtype, device
kind, library versions, our own order of computing) and never by a path or a name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from geoaudit import judges
from geoaudit.attacks.cases import Cases
from geoaudit.attacks.make import cases
from geoaudit.attacks.stored import cases_sha256
from geoaudit.errors import BrokenCheckpoint, NothingToMeasure, RequestError
from geoaudit.judges.setup import JudgeSetup
from geoaudit.judges.text import without_thoughts
from geoaudit.measures.fulfilled import CompletedPrompts, EditedPrompts, JudgedPrompts, texts_key
from geoaudit.measures.needs import (
    Beliefs,
    CandidateSearch,
    Categories,
    Cells,
    ChatSetting,
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
    Source,
    SubspaceAblation,
    Transfer,
)
from geoaudit.model.batches import MOST_TOKENS, plan
from geoaudit.model.numerics import VERSION as NUMERICS
from geoaudit.prompts.files import load_file
from geoaudit.prompts.sources import load as load_named
from geoaudit.records import Completion, Judgement, PromptSet, digest

if TYPE_CHECKING:
    import numpy as np

    from geoaudit.model.chat import Chat, Rendered
    from geoaudit.model.loaded import LoadedModel

Row = TypeVar("Row")

GENERATION_BATCH = 64
"""Prompts in one generated batch. Part of the contract: greedy text in bf16 depends on it."""
REFERENCE_JUDGE = "refusal"
"""Says which of the model's own answers are refusals, where refusal scores are made and checked."""
JUDGED_AT_ONCE = 32
"""Exchanges that a slow judge reads before its judgements are stored."""
PROBE_BLOCKS = 32
"""Fixed blocks of prompts in which moments are kept for the bootstrap."""

READ_INSIDE: Mapping[type, tuple[str, str]] = {
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
"""Needs that are read inside a model: module of this room and function of a bench and a need, imported at first use."""


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
        return self.chat_under(ChatSetting())

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
            match need:
                case Completions():
                    self._fulfilled[need] = self._complete(need)
                case Judged():
                    self._fulfilled[need] = self._judge(need)
                case Elsewhere():
                    self._fulfilled[need] = self.others(need.checkpoint).fulfil(need.need)
                case _:
                    module, name = READ_INSIDE[type(need)]
                    read = getattr(import_module(f"geoaudit.measures.{module}"), name)
                    self._fulfilled[need] = read(self, need)
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

    def _complete(self, need: Completions) -> CompletedPrompts:
        prompts = self.prompts(need.source).first(need.n)
        made = self._cases(need, prompts)
        if not made.cases:
            raise NothingToMeasure(
                f"no stored attack is for a behaviour of {prompts.name!r} ({_listed(made.skipped)}); name the source "
                "that the attacks were made for (source: jailbreakbench, say)"
            )
        # an attack file, or the checkpoint that text was optimised against, counts by its cases and not by its name
        attack = replace(need.attack, file="", initial="", checkpoint="")
        asked = [asdict(attack), asdict(need.chat), cases_sha256(made.cases)]
        key = self.key("completed", need.max_new_tokens, prompts.sha256, *asked)
        try:
            chat = self.chat_under(_under(need))
        except RequestError as error:
            if need.attack.system is None:
                raise
            # a template that insists on its own system prompt, or has no place for one: this attack cannot be made
            return CompletedPrompts(prompts, (), (), key, skipped={str(error): len(prompts)})
        rendered = [chat.render(case.text, case.prefill, need.attack.k) for case in made.cases]
        seeds = [case.seed for case in made.cases]
        done: dict[int, list[Any]] = {}
        sizes: list[int] = []
        for batch in plan(
            [len(one.ids) for one in rendered],
            need.max_new_tokens,
            rows=self.contract.generation_batch,
            tokens=self.contract.generation_tokens,
        ):
            # The whole batch is one row: greedy text in bf16 depends on its neighbours, so a batch is never completed
            # in part, and an interrupted one is redone whole.
            ids = [list(rendered[index].ids) for index in batch]
            drawn = [need.attack.temperature, [seeds[index] for index in batch]] if need.attack.temperature else []
            row = self.key("completions", need.max_new_tokens, ids, *drawn)
            stored = self._counted(self.rows.get(row))
            if stored is None:
                stored = self._generate([rendered[index] for index in batch], need, [seeds[index] for index in batch])
                self.rows.put(row, stored)
            done |= dict(zip(batch, stored["rows"], strict=True))
            sizes += stored["batches"]
            self.progress(len(done), len(rendered))
        completions = tuple(
            Completion(case.id, *done[index])  # text, tokens, whether it stopped, first token
            for index, case in enumerate(made.cases)
        )
        completed = CompletedPrompts(
            prompts,
            made.cases,
            completions,
            key,
            tuple(one.prefill for one in rendered),
            made.skipped,
            tuple(sizes),
            digest([[list(one.ids) for one in rendered], seeds]),
        )
        texts = texts_key(completed.key)
        if self.rows.get(texts) is None:  # for people who label: a record holds no text
            self.rows.put(texts, [asdict(exchange) for exchange in completed.exchanges])
        return completed

    def _cases(self, need: Completions, prompts: PromptSet) -> Cases:
        """What is put to the model; of an adaptive attack what was optimised, here or on another checkpoint."""
        if need.optimised is None:
            return cases(need.attack, prompts, self.data)
        found: Cases = self.fulfil(need.optimised).cases
        return found

    def _generate(self, rendered: list[Rendered], need: Completions, seeds: list[int | None]) -> dict[str, Any]:
        from geoaudit.model.generate import complete_halving

        completions, sizes = complete_halving(
            self.loaded,
            rendered,
            [str(i) for i in range(len(rendered))],
            max_new_tokens=need.max_new_tokens,
            temperature=need.attack.temperature,
            seeds=seeds,
        )
        rows = [[one.text, one.n_tokens, one.stopped, one.first_token] for one in completions]
        return {"rows": rows, "batches": list(sizes)}

    def _judge(self, need: Judged) -> JudgedPrompts:
        """Judgements through the store, each exchange once; what a judge could not answer is asked again next time."""
        completed: CompletedPrompts | EditedPrompts = self.fulfil(need.completions)
        judge = judges.get(need.judge, self.judging)
        judge_id = judge.id
        if judges.info(need.judge).kind == "offline":
            return JudgedPrompts(tuple(judge(completed.exchanges)), judge_id)
        exchanges = [  # a thought is no part of the answer; one that was cut off leaves none
            replace(exchange, completion=without_thoughts(exchange.completion) or "")
            for exchange in completed.exchanges
        ]
        server = self.judging.endpoint.url if self.judging.endpoint and need.judge in judges.ENDPOINTS else ""
        keys = [digest(["judgement", judge_id, digest(server), asdict(exchange)]) for exchange in exchanges]
        stored: dict[str, Any] = {key: self._counted(self.rows.get(key)) for key in dict.fromkeys(keys)}
        missing = {key: exchange for key, exchange in zip(keys, exchanges, strict=True) if stored[key] is None}
        if missing and judges.info(need.judge).kind == "model":
            self.release()
            self.make_room()
        try:
            asked = list(missing.items())
            for start in range(0, len(asked), JUDGED_AT_ONCE):  # what is judged is kept, whatever happens next
                part = asked[start : start + JUDGED_AT_ONCE]
                for (key, _), judgement in zip(part, judge([exchange for _, exchange in part]), strict=True):
                    stored[key] = asdict(judgement)
                    if judgement.label != "unjudged":
                        self.rows.put(key, stored[key])
                self.progress(start + len(part), len(asked))
        except BrokenCheckpoint as error:  # the judge's weights and not the audited ones
            raise NothingToMeasure(f"the judge {need.judge} cannot judge: {error}") from error
        finally:
            if hasattr(judge, "close"):
                judge.close()
        judgements = tuple(Judgement(**stored[key]) for key in keys)
        if any(one.label == "unjudged" for one in judgements):
            self.unjudged.add(need)
        return JudgedPrompts(judgements, judge_id, tuple(getattr(judge, "caveats", ())))


def _under(need: Completions) -> ChatSetting:
    """The setting of a need, under its attack's system prompt where it has one."""
    return need.chat if need.attack.system is None else replace(need.chat, system=need.attack.system)


def _listed(skipped: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in skipped.items())


def load_source(source: Source, data: Path | None) -> PromptSet:
    """The whole prompt set of a source, in its fixed order."""
    if source.file:
        return load_file(
            Path(source.file),
            text_column=source.column,
            label=source.label,
            category_column=source.category or None,
        )
    return load_named(source.name, data=data)
