"""What a run is trained on: conversations from files, from UltraChat, from a model's own answers, and refusals.

Every source becomes examples of one kind (`rows.Example`) with the hashes of the prompts in them; the manifest lists
those that the run really draws, so that an audit can tell a scored prompt that was trained on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from geoaudit.errors import DataMissing, RequestError
from geoaudit.model.chat import Chat
from geoaudit.model.manifest import TrainedOn
from geoaudit.prompts.files import load_file
from geoaudit.prompts.sources import load as load_source
from geoaudit.records import PromptSet, digest
from geoaudit.training.blocks import PROMPT_FILES, ULTRACHAT, Source
from geoaudit.training.conversations import ROLES, answered, conversations, cut
from geoaudit.training.recipe import Recipe
from geoaudit.training.rows import Example, Rows, drawn, packed

REFUSED = "tune-harmful"
"""The source whose prompts bring refusals; benchmarks have the opening there that an attack aims at."""

Answers = Callable[[Source, PromptSet], list[tuple[str, bool]]]
"""Gives each prompt's answer and whether it ended, from the model that a source names."""


@dataclass
class Collected:
    """Every example that a recipe's sources have, before any is drawn."""

    examples: list[Example] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    """Name of each source, by number."""
    hashes: list[str] = field(default_factory=list)
    """SHA-256 of each source."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Reason -> conversations left out."""
    refusals: int | None = None
    """Number of the source of refusals."""

    def add(self, name: str, sha256: str, examples: Sequence[Example | None]) -> None:
        """One source; None stands for a conversation of which nothing is left to learn."""
        kept = [one for one in examples if one is not None]
        if not kept:
            raise RequestError(f"source {name!r} has nothing to learn from: every answer is cut off by max_length")
        if len(kept) < len(examples):
            reason = f"{name}: no answer within max_length"
            self.skipped[reason] = len(examples) - len(kept)
        while name in self.names:  # the same file twice, say with another n
            name += "'"
        self.names.append(name)
        self.hashes.append(sha256)
        self.examples += kept


def collect(recipe: Recipe, chat: Chat, answers: Answers, data: Path | None = None) -> Collected:
    """The examples of every source of a recipe.

    Args:
        recipe: what is trained.
        chat: how conversations are rendered.
        answers: answers prompts for the sources that ask a model.
        data: folder of the benchmark files, for sources by name.

    Raises:
        DataMissing: a file or a data set is not there.
        RequestError: a file is not what it should be, or nothing is left to learn.
    """
    found = Collected()
    everything = recipe.loss == "all"

    def cut_all(examples: Iterator[Example]) -> list[Example | None]:
        return [cut(one, recipe.max_length, everything=everything) for one in examples]

    for number, source in enumerate(recipe.data):
        if source.answers is not None:
            prompts = prompt_set(recipe, source.answers, "harmless", source.column, data).first(source.n)
            pairs = zip(prompts.prompts, answers(source, prompts), strict=True)
            made = (
                answered(chat, prompt.text, text, ended=ended, source=number)
                for prompt, (text, ended) in pairs
                if text.strip()
            )
            found.add(prompts.name, prompts.sha256, cut_all(made))
        else:
            name, rows = _messages(recipe, source)
            sha256 = digest([list(row) for row in rows])
            found.add(name, sha256, cut_all(conversations(chat, rows, source=number)))
    if recipe.refusals is not None:
        asked = recipe.refusals
        prompts = prompt_set(recipe, asked.prompts, "harmful", asked.column, data).first(asked.n)
        found.refusals = len(recipe.data)
        texts = _refusals(prompts, asked.wordings, recipe.seed)
        refused = (
            answered(chat, prompt.text, text, source=len(recipe.data))
            for prompt, text in zip(prompts.prompts, texts, strict=True)
        )
        found.add(prompts.name, prompts.sha256, cut_all(refused))
    return found


def arranged(recipe: Recipe, found: Collected) -> tuple[Rows, dict[str, TrainedOn]]:
    """The run's sequences in their order, and what they hold for the manifest."""
    n = recipe.steps * recipe.batch
    sources = [one.source for one in found.examples]
    share = recipe.refusals.share if recipe.refusals is not None and recipe.refusals.share else 0.0
    fixed = found.refusals if share else None
    if recipe.packing:
        order = drawn(sources, len(sources), recipe.seed, refusals=fixed, share=share)
        blocks, used = packed(found.examples, order, recipe.max_length, n)
        rows = Rows(blocks, range(n), recipe.batch)
        seen = {index for index, times in enumerate(used) if times}
    else:
        order = drawn(sources, n, recipe.seed, refusals=fixed, share=share)
        rows = Rows(found.examples, order, recipe.batch)
        seen = rows.drawn()
    sets: dict[str, TrainedOn] = {}
    for number, name in enumerate(found.names):
        hashes = [sha for i in sorted(seen) if sources[i] == number for sha in found.examples[i].prompts]
        if hashes:
            prompts = tuple(dict.fromkeys(hashes))
            sets[name] = TrainedOn(sha256=found.hashes[number], n=len(prompts), prompts=prompts)
    return rows, sets


def prompt_set(
    recipe: Recipe, name: str, label: Literal["harmful", "harmless"], column: str, data: Path | None
) -> PromptSet:
    """Prompts by a source's name or from a file beside the recipe.

    Raises:
        UnknownName: no such source.
        DataMissing: no such file.
        RequestError: prompts of the wrong kind.
    """
    if Path(name).suffix.lower() in PROMPT_FILES:
        return load_file(recipe.folder / name, text_column=column, label=label)
    found = load_source(name, data=data)
    if any(prompt.label != label for prompt in found.prompts):
        raise RequestError(f"source {name!r} holds {found.prompts[0].label} prompts, and {label} ones belong here")
    return found


def _refusals(prompts: PromptSet, wordings: Sequence[str], seed: int) -> list[str]:
    """What refuses each prompt: a wording drawn for it, or its own target."""
    if wordings:
        chance = random.Random(f"{seed} wordings")
        return [chance.choice(wordings) for _ in prompts.prompts]
    if prompts.name != REFUSED:
        raise RequestError(
            f"the prompts of {prompts.name!r} bring no refusals of their own: list some under refusals.wordings"
        )
    return [prompt.target for prompt in prompts.prompts]


def _messages(recipe: Recipe, source: Source) -> tuple[str, list[tuple[dict[str, str], ...]]]:
    """A source of conversations: its name and their turns."""
    if source.ultrachat is not None:
        return f"{ULTRACHAT}/{source.ultrachat}", _ultrachat(source.ultrachat, source.n)
    path = recipe.folder / str(source.file)
    return path.name, list(_first(_lines(path), source.n))


def _lines(path: Path) -> Iterator[tuple[dict[str, str], ...]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataMissing(f"cannot read the conversations {path}: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise RequestError(f"{path}:{number}: not JSON: {error}") from None
        yield _turns(row.get("messages") if isinstance(row, dict) else None, f"{path}:{number}")


def _turns(messages: Any, where: str) -> tuple[dict[str, str], ...]:
    """Checked turns of one conversation."""
    if not isinstance(messages, list) or not messages:
        raise RequestError(f'{where}: each row is {{"messages": [{{"role": ..., "content": ...}}, ...]}}')
    turns: list[dict[str, str]] = []
    for turn in messages:
        role = turn.get("role") if isinstance(turn, dict) else None
        content = turn.get("content") if isinstance(turn, dict) else None
        if role not in ROLES or not isinstance(content, str):
            raise RequestError(
                f"{where}: every message has a role ({', '.join(ROLES)}) and text as content, got {str(turn)[:80]}"
            )
        turns.append({"role": role, "content": content})
    if not any(turn["role"] == "assistant" for turn in turns):
        raise RequestError(f"{where}: a conversation has no answer: no message of role 'assistant'")
    return tuple(turns)


def _ultrachat(split: str, n: int | None) -> list[tuple[dict[str, str], ...]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise DataMissing(
            f"{ULTRACHAT} by name needs the library datasets (pip install datasets); or write its rows to a JSONL file "
            "of messages and name that with `file`"
        ) from None
    try:
        rows: Any = load_dataset(ULTRACHAT, split=split)
    except Exception as error:  # network, hub and cache each raise their own
        raise DataMissing(
            f"{ULTRACHAT} is neither in the cache nor to be had from the hub: {str(error).splitlines()[0]}. Name a "
            "JSONL file of messages with `file`"
        ) from error
    every = (_turns(row["messages"], f"{ULTRACHAT}/{split} row {i}") for i, row in enumerate(rows))
    return list(_first(every, n))


def _first(rows: Iterator[tuple[dict[str, str], ...]], n: int | None) -> Iterator[tuple[dict[str, str], ...]]:
    for number, row in enumerate(rows):
        if number == n:
            return
        yield row
