"""`Monitor`: the refusal carrier followed through anyone's training with `transformers.Trainer`.

::

    trainer = Trainer(model, args, train_dataset=data, processing_class=tokenizer, callbacks=[Monitor(every=10)])

Every few steps the dense probe of arXiv 2604.27019 is read from the weights in memory, and a curve is written beside
the run. The weights are not touched: training with and without it gives the same bits (tested).

Rows go to the store under the keys of an audit's own (kinds *means* and *search*) but for the checkpoint's id, which
names the tensors as they are in memory. A model in training is not the file that is saved from it (an adapter in
float32 on a base in bfloat16, say), so an audit of the saved checkpoint measures again; a run that is resumed finds
what it read of the same weights before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from pydantic import ValidationError
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from geoaudit.audit.store import Store
from geoaudit.carriers.select import Row
from geoaudit.errors import GeoauditError, MissingTemplate, NothingToMeasure, RequestError, UnknownName
from geoaudit.geometry.directions import cosine
from geoaudit.measures.bench import Bench, Contract
from geoaudit.model import architecture
from geoaudit.model.chat import Chat
from geoaudit.model.loaded import LoadedModel
from geoaudit.records import digest
from geoaudit.training import curve as curves
from geoaudit.training.curve import Curve, Point
from geoaudit.training.dense import HALVES, Reading, key_of, library, number, prompts_of, read, refusal_ids
from geoaudit.training.in_memory import WeightsInMemory, check_whole
from geoaudit.training.monitor_settings import Bound, MonitorSettings
from geoaudit.training.untouched import untouched

_GO_ON, _STOP, _FAILED = 0, 1, 2
_OF_THE_ANCHOR = ("cosine_to_anchor", "anchor_site_cosine")


class Monitor(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Reads the dense probe every few optimiser steps, keeps a curve of it, and stops training on a broken bound.

    Only the first process probes; the others wait for it at each probe, and all stop together. Full and LoRA training,
    with gradient checkpointing, accumulation, autocast, and DDP or DeepSpeed up to stage 2. Sharded parameters (FSDP,
    ZeRO-3) are refused: one process cannot run the model alone.

    Args:
        settings: what to read and when; or give its fields as keywords (`every=5, preset="tiny", stop=[...]`).
        out: folder of the curve (`monitor.json`, `.csv`, `.html`); None for `monitor/` in the Trainer's output folder.
        store: folder of the rows, shared with audits; None for the user's cache.
        tokenizer: where the Trainer has no `processing_class`.
        data: folder of the benchmark files, where a source is one of them.
        say: takes the line that is printed after each probe; None for the terminal, beside the progress bar.
        fields: of `MonitorSettings`.

    Raises:
        RequestError: settings that cannot be right; at the start of training, those that do not fit the model.
    """

    def __init__(
        self,
        settings: MonitorSettings | None = None,
        *,
        out: str | Path | None = None,
        store: str | Path | None = None,
        tokenizer: Any = None,
        data: Path | None = None,
        say: Callable[[str], None] | None = None,
        **fields: Any,
    ) -> None:
        if settings is not None and fields:
            raise RequestError(f"give settings, or {', '.join(sorted(fields))} as keywords, not both")
        self.settings = settings if settings is not None else _settings(fields)
        self.curve: Curve | None = None
        """What was read so far; None before training starts, and in every process but the first."""
        self._out = Path(out) if out is not None else None
        self._store_folder = Path(store) if store is not None else user_cache_path("geoaudit")
        self._tokenizer = tokenizer
        self._data = data
        self._say = say or _beside_the_bar

    # --- events -----------------------------------------------------------------------------------------------------

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set up, go on with the curve of a run that is resumed, and probe the weights as they come."""

        def begin() -> bool:
            curve = self._set_up(kwargs["model"], kwargs.get("processing_class"), args, state)
            due = self.settings.at_start and not curve.points
            page = self._folder / curves.HTML
            self._say(curves.opening(curve, state.global_step, state.max_steps, self.settings, now=due, page=page))
            return self._probe(kwargs["model"], state) if due else False

        self._together(begin, args, state, control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Probe where one is due."""
        last = self.settings.at_end and state.global_step >= state.max_steps > 0
        if state.global_step % self.settings.every == 0 or last:
            self._together(lambda: self._probe(kwargs["model"], state), args, state, control)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say what the probes cost."""
        if self.curve is None:
            return
        self._say(curves.closing(self._kept(self.curve), self._folder / curves.HTML))

    def _together(
        self, probe: Callable[[], bool], args: TrainingArguments, state: TrainerState, control: TrainerControl
    ) -> None:
        """Run a probe in the first process, and do in every process what follows from it.

        A process that stopped, or raised, alone would leave the others waiting for its gradients.
        """
        outcome, failure = _GO_ON, None
        if state.is_world_process_zero:
            try:
                outcome = _STOP if probe() else _GO_ON
            except BaseException as error:
                outcome, failure = _FAILED, error
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            told = torch.tensor([outcome], device=args.device)
            torch.distributed.broadcast(told, 0)
            outcome = int(told.item())
        if failure is not None:
            raise failure
        if outcome == _FAILED:
            raise GeoauditError("the monitor failed in the first process: see its message")
        if outcome == _STOP:
            control.should_training_stop = True

    # --- setting up -------------------------------------------------------------------------------------------------

    def _set_up(self, model: nn.Module, tokenizer: Any, args: TrainingArguments, state: TrainerState) -> Curve:
        """Everything that can be wrong is found here, before the first step."""
        check_whole(model)
        blocks = architecture.causal_lm(model).get_submodule(architecture.of(model).blocks)
        tokenizer = self._tokenizer if self._tokenizer is not None else tokenizer
        if tokenizer is None:
            raise RequestError("the monitor needs a tokenizer: give the Trainer a processing_class, or the monitor one")
        self._chat = _chat(tokenizer, self.settings)
        positions, layers = library(self.settings, len(list(blocks.children())), self._chat.n_post)
        refusal_ids(self.settings, tokenizer)
        self._prompts = prompts_of(self.settings, self._data)
        self._store = Store(self._store_folder)
        self._weights = WeightsInMemory()
        self._folder = self._out if self._out is not None else Path(str(args.output_dir)) / "monitor"
        about = {
            "settings": self.settings.contract,
            "prompts": self._prompts.inputs,
            "chat": self._chat.sha256,
            "positions": list(positions),
            "layers": list(layers),
        }
        bounds = tuple(bound.model_dump(mode="json", exclude={"patience"}) for bound in self.settings.stop)
        self.curve = Curve(about, bounds=bounds)
        self._anchor: Reading | None = None
        self._previous: Reading | None = None
        self._clock = time.perf_counter()
        old = curves.read(self._folder) if state.global_step > 0 else None
        if old is not None:
            differ = sorted(key for key in about if old.about.get(key) != about[key])
            if differ:
                raise RequestError(
                    f"the curve in {self._folder / curves.JSON} was read with other {', '.join(differ)}, so it cannot "
                    "be gone on with: give the monitor what it had, or another folder (out)"
                )
            self.curve = replace(self.curve, points=old.before(state.global_step).points, seconds=old.seconds)
            for point in self.curve.points:
                self._previous = self._stored(point)
                self._anchor = self._previous if point.anchor else self._anchor
        return self.curve

    def _stored(self, point: Point) -> Reading | None:
        """What the store still has of an earlier probe: its directions, and the site in use."""
        assert self.curve is not None
        kept = self._store.get_arrays(point.row) if point.row else None
        if kept is None:
            return None
        position, layer = point.value("position"), point.value("layer")
        place = None if position is None or layer is None else Row(int(position), int(layer))
        positions, layers = self.curve.about["positions"], self.curve.about["layers"]
        return Reading(tuple(positions), tuple(layers), kept["directions"], (), place, point.admissible, {})

    # --- a probe ----------------------------------------------------------------------------------------------------

    def _probe(self, model: nn.Module, state: TrainerState) -> bool:
        """Read, compare, write; whether training is to stop."""
        assert self.curve is not None
        started, step = time.perf_counter(), state.global_step
        loss = next((entry["loss"] for entry in reversed(state.log_history) if "loss" in entry), None)
        reading, why, row = None, "", ""
        with untouched(model):
            bench = self._bench(model)
            try:
                reading = read(bench, self.settings, self._prompts)
            except NothingToMeasure as error:  # the weights and not the request: the next probe may read them
                why = str(error)
            else:
                row = key_of(bench, self.settings, self._prompts)
                self._store.put_arrays(row, {"directions": reading.directions})
        usable = reading if reading is not None and reading.used is not None else None
        is_anchor = usable is not None and step >= self.settings.anchor and not self._has_anchor
        if is_anchor:
            self._anchor = usable
        point = Point(
            step=step,
            values={
                **(reading.values if reading is not None else {}),
                **(self._compared(usable) if usable is not None else {}),
                "loss": number(loss),
            },
            admissible=usable is not None and usable.admissible,
            anchor=is_anchor,
            why_missing=why,
            candidates=reading.candidates if reading is not None else (),
            row=row,
        )
        self._previous = usable
        point = replace(point, broken=tuple(str(bound) for bound in self._broken(point)))
        point = replace(point, seconds=time.perf_counter() - started)
        curve = self._kept(self.curve.with_point(point))
        self._say(curves.sentence(curve))
        stopping = [bound for bound in self.settings.stop if _broken_for_long(bound, curve)]
        for bound in stopping:
            when = f"at step {step}" if step else "behind its first step"  # a Trainer always makes one
            self._say(f"monitor: training stops {when}: it broke the bound {bound}")
        return bool(stopping)

    def _bench(self, model: nn.Module) -> Bench:
        loaded = LoadedModel(model, self._chat.tokenizer, self._chat)
        contract = Contract(
            device=loaded.device.type,
            dtype=str(loaded.dtype).removeprefix("torch."),
            template_sha256=digest(self.settings.template) if self.settings.template else "",
            system_sha256=digest(self.settings.system) if self.settings.system else "",
            torch=_minor("torch"),
            transformers=_minor("transformers"),
            probe_blocks=HALVES,
        )
        own = self._weights.id(model)
        return Bench(own, contract, self._store, open_chat=lambda setting: self._chat, open_model=lambda: loaded)

    def _kept(self, curve: Curve) -> Curve:
        """The curve with the time that has passed, written."""
        now = time.perf_counter()
        self.curve = replace(curve, seconds=curve.seconds + now - self._clock)
        self._clock = now
        curves.write(self.curve, self._folder)
        return self.curve

    # --- other probes -----------------------------------------------------------------------------------------------

    @property
    def _has_anchor(self) -> bool:
        """Whether an earlier probe is the anchor; its directions may be gone from the store all the same."""
        return self.curve is not None and any(point.anchor for point in self.curve.points)

    def _compared(self, reading: Reading) -> dict[str, float | None]:
        """Cosines with the anchor and with the probe before."""
        assert reading.used is not None
        own = reading.direction(reading.used)
        found: dict[str, float | None] = {}
        if self._previous is not None and self._previous.used is not None:
            found["cosine_to_previous"] = _cosine(own, self._previous.direction(self._previous.used))
        if self._anchor is not None and self._anchor.used is not None:
            then = self._anchor.direction(self._anchor.used)
            found["cosine_to_anchor"] = _cosine(own, then)
            found["anchor_site_cosine"] = _cosine(reading.direction(self._anchor.used), then)
        return found

    def _broken(self, point: Point) -> list[Bound]:
        """Bounds that a point breaks; one on a change does not concern probes that have nothing to be compared with."""
        assert self.curve is not None
        first = all(one.step >= point.step for one in self.curve.points)
        exempt = {"cosine_to_previous"} if first else set()
        if point.step < self.settings.anchor:
            exempt.update(_OF_THE_ANCHOR)
        return [
            bound
            for bound in self.settings.stop
            if bound.quantity not in exempt and not bound.holds(point.value(bound.quantity))
        ]


def _broken_for_long(bound: Bound, curve: Curve) -> bool:
    """Whether as many probes in a row as its patience broke a bound."""
    last = curve.points[-bound.patience :]
    return len(last) == bound.patience and all(str(bound) in point.broken for point in last)


def _chat(tokenizer: Any, settings: MonitorSettings) -> Chat:
    try:
        chat = Chat(tokenizer, settings.template, settings.system)
    except MissingTemplate:
        raise MissingTemplate(
            "the tokenizer has no chat template: give the monitor one (template='chatml', 'zephyr' or Jinja text)"
        ) from None
    if chat.n_post == 0:
        raise RequestError(
            "the chat template has no tokens behind the instruction, where directions are read: give the monitor "
            "another (template='chatml', say)"
        )
    return chat


def _settings(fields: dict[str, Any]) -> MonitorSettings:
    try:
        return MonitorSettings(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            raise UnknownName.among("setting of the monitor", name, MonitorSettings.model_fields) from None
        raise RequestError(f"monitor: {name}{': ' if name else ''}{first['msg']}, got {first['input']!r}") from None


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    try:
        return number(cosine(a, b))
    except NothingToMeasure:  # the site holds no direction any more
        return None


def _minor(package: str) -> str:
    return ".".join(version(package).split(".")[:2])


def _beside_the_bar(line: str) -> None:
    from tqdm import tqdm  # type: ignore[import-untyped]

    tqdm.write(line)
