"""A model's own answers to harmless prompts, as training data; kept in the store, so that no run makes them twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import PartialState

from geoaudit.audit.store import Store
from geoaudit.errors import RequestError
from geoaudit.model.chat import Chat
from geoaudit.model.checkpoint import Checkpoint, resolve
from geoaudit.model.generate import complete_halving
from geoaudit.model.identity import identify
from geoaudit.model.load import load
from geoaudit.model.loaded import LoadedModel
from geoaudit.records import PromptSet, digest
from geoaudit.training import resuming
from geoaudit.training.blocks import Source
from geoaudit.training.recipe import Recipe

BATCH = 64
VERSION = 1


class Answering:
    """Answers the prompts of a source, greedily, from the base before it is trained or from a model that is named.

    With several processes the first one answers and the others read what it kept.

    Args:
        recipe: what is trained.
        base: its base.
        model: the base in memory, on the CPU and in eval mode.
        tokenizer: its tokenizer.
        chat: the format that is trained.
        store: folder that keeps the answers.
        device: where answers are made.
        say: shows a line.
        sample: to estimate a run: answers one batch of what is not kept yet, takes its answers for the others', and
            adds up in `seconds_left` what those would have cost.
    """

    def __init__(
        self,
        recipe: Recipe,
        base: Checkpoint,
        model: Any,
        tokenizer: Any,
        chat: Chat,
        *,
        store: Path,
        device: str,
        say: Callable[[str], None],
        sample: bool = False,
    ) -> None:
        self.recipe = recipe
        self.base = base
        self.own = (model, tokenizer, chat)
        self.folder = store
        self.store = Store(store)
        self.device = device
        self.say = say
        self.sample = sample
        self.seconds_left = self.seconds_made = 0.0

    def __call__(self, source: Source, prompts: PromptSet) -> list[tuple[str, bool]]:
        """Each prompt's answer, and whether the model ended it."""
        if resuming.processes() == 1:
            return self._answer(source, prompts)
        with PartialState().main_process_first():
            return self._answer(source, prompts)

    def _answer(self, source: Source, prompts: PromptSet) -> list[tuple[str, bool]]:
        checkpoint = self._named(source)
        loaded: LoadedModel | None = None
        found: list[tuple[str, bool]] = []
        cost: float | None = None
        """Seconds of the batch that was answered; none yet."""
        identity = identify(checkpoint, self.folder).id
        for start in range(0, len(prompts), BATCH):
            batch = prompts.prompts[start : start + BATCH]
            key = digest(
                [
                    ["training answers", VERSION, identity, self.own[2].sha256 if source.model is None else ""],
                    [self.recipe.weights, self.device.partition(":")[0], source.max_new_tokens],
                    [torch.__version__, transformers.__version__],
                    [prompt.text for prompt in batch],
                ]
            )
            kept = self.store.get(key)
            if kept is None and self.sample and cost is not None:
                self.seconds_left += cost * len(batch) / BATCH
                kept = found[-BATCH:][: len(batch)]
            if kept is None:
                started = time.monotonic()
                loaded = loaded or self._loaded(source, checkpoint)
                rendered = [loaded.chat.render(prompt.text) for prompt in batch]
                made, _ = complete_halving(
                    loaded, rendered, [prompt.id for prompt in batch], max_new_tokens=source.max_new_tokens
                )
                kept = [[one.text, one.stopped] for one in made]
                self.store.put(key, kept)
                cost = time.monotonic() - started
                self.seconds_made += cost
                self.say(f"answers of {checkpoint.name}: {start + len(batch)}/{len(prompts)}")
            found += [(str(text), bool(stopped)) for text, stopped in kept]
        if loaded is not None:
            loaded.model.to("cpu")
        return found

    def _named(self, source: Source) -> Checkpoint:
        if source.model is None:
            return self.base
        found = resolve(self.recipe.beside(source.model))
        if len(found) != 1:
            raise RequestError(f"model {source.model!r} means {len(found)} checkpoints, and one answers")
        return found[0]

    def _loaded(self, source: Source, checkpoint: Checkpoint) -> LoadedModel:
        """The model that answers, on the device; the base under the chat format that is trained."""
        if source.model is None:
            model, tokenizer, chat = self.own
        else:
            model, tokenizer = load(checkpoint, store=self.folder, device="cpu", dtype=self.recipe.weights)
            chat = Chat(tokenizer)
        return LoadedModel(model.to(self.device), tokenizer, chat)
