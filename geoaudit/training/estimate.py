"""What a run will cost, found by making a few of its steps: tokens, memory and time.

The real loop runs on the real data for some seconds, so that whatever a kind of training does in a step is in the
estimate; its weights and its folder are thrown away.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from transformers import TrainerCallback

from geoaudit.errors import RequestError
from geoaudit.model.load import resolve_device
from geoaudit.training import resuming, run, saving
from geoaudit.training.progress import lasting
from geoaudit.training.recipe import Recipe
from geoaudit.training.rows import Rows

TIMED = 8
"""Steps that are timed at most, behind one that is not."""
SECONDS = 15.0
"""Seconds after which no further step is timed; three are in any case."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The cost of a run; seconds, bytes and counts are of the whole run in one process."""

    steps: int
    sequences: int
    tokens: int
    """Run through the model, padding not counted."""
    learnt: int
    """Of them those with a loss."""
    parameters: int
    trained: int
    loading: float
    """Seconds until the first step, but for the answers."""
    answers: float
    """Seconds for a model's own answers that are not kept yet."""
    step: float
    """Mean seconds of a step."""
    timed: int
    """Steps that it was found on."""
    probes: float
    """Seconds of the monitor, where the recipe has one."""
    checkpoints: int
    checkpoint: float
    """Seconds to write one."""
    states: int
    """States to resume from; only the latest is kept."""
    state: float
    """Seconds to write one."""
    checkpoint_bytes: int
    resume_bytes: int
    peak_bytes: int
    """Most memory of this process: the device's where there is one, else the resident set."""

    @property
    def seconds(self) -> float:
        """The whole run."""
        saving = self.checkpoint * self.checkpoints + self.state * self.states
        return self.loading + self.answers + self.step * self.steps + self.probes + saving

    def lines(self) -> list[str]:
        """For a terminal."""
        kept = f"{self.checkpoints} checkpoints of {_bytes(self.checkpoint_bytes)}"
        parts = [f"{lasting(self.loading)} to load"]
        parts += [f"{lasting(self.answers)} for answers"] if self.answers else []
        parts += [f"{self.steps} steps of {self.step:.2f} s (timed on {self.timed})"]
        parts += [f"{lasting(self.probes)} for the monitor"] if self.probes else []
        saving = self.checkpoint * self.checkpoints + self.state * self.states
        parts += [f"{lasting(saving)} for {self.checkpoints} checkpoints and {self.states} states to resume from"]
        return [
            f"steps    {self.steps:,} of {self.sequences // self.steps:,} sequences",
            f"tokens   {self.tokens:,}, {self.learnt:,} of them learnt",
            f"weights  {self.parameters:,}, {self.trained:,} of them trained",
            f"memory   {_bytes(self.peak_bytes)} at the peak of {self.timed + 1} steps",
            f"disk     {kept}, {_bytes(self.resume_bytes)} to resume from",
            f"time     about {lasting(self.seconds)}: {', '.join(parts)}",
        ]


def dry_run(
    recipe: Recipe,
    *,
    progress: Callable[[str], None] = lambda line: None,
    store: Path | None = None,
    device: str = "auto",
    data: Path | None = None,
) -> Estimate:
    """Make a few steps of a run in a folder that is thrown away, and say what the whole run costs.

    A model's own answers that are made on the way are kept for the run itself.

    Raises:
        RequestError: several processes, or what `train` raises before its first step.
    """
    if resuming.processes() > 1:
        raise RequestError("--dry-run makes its steps in one process: start it without torchrun or accelerate launch")
    started = time.monotonic()
    where = resolve_device(device)
    store = store if store is not None else user_cache_path("geoaudit")
    base = run.base_of(recipe)
    prepared = run.prepare(recipe, base, run="dry-run", store=store, device=where, data=data, say=progress, sample=True)
    parameters = [*prepared.model.parameters()]
    # saved at the end below, so that the saving is timed apart
    trial = recipe.model_copy(update={"checkpoints": (), "checkpoint_every": 0, "resume_every": 0, "reference": None})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        timer = _Timer()
        monitors = run.monitors(recipe, prepared, out, out, data, progress)
        training = run.kind(recipe, data)(
            trial, prepared, out, say=lambda line: None, callbacks=[timer, *monitors], device=where
        )
        begun = time.monotonic()
        training.train()
        step = int(training.state.global_step)
        before = time.monotonic()
        checkpoint = saving.write(training, step)
        between = time.monotonic()
        resuming.save(training, step)
        behind = time.monotonic()
        checkpoint_bytes, resume_bytes = _size(checkpoint), _size(out / resuming.FOLDER)
    first, *rest = timer.seconds
    timed = rest or [first]
    probes = 0.0
    if recipe.monitor is not None:
        probes = timer.before_first * (1 + recipe.steps // recipe.monitor.every)
    every = range(recipe.resume_every, recipe.steps, recipe.resume_every) if recipe.resume_every else ()
    states = {one for one in (*recipe.saved, *every) if 0 < one < recipe.steps}
    rows = prepared.rows
    mean = sum(timed) / len(timed)
    if recipe.recipe != "r2d2":  # whose steps cost what its attacks do; others what their tokens do
        width = [_padded(rows, step, training.args.train_batch_size) for step in range(recipe.steps)]
        places = range(1, 1 + len(rest)) if rest else range(1)
        mean = _mean_step(timed, [width[i] for i in places], width)
    return Estimate(
        steps=recipe.steps,
        sequences=len(rows),
        tokens=rows.tokens(recipe.steps),
        learnt=sum(sum(rows[index].learnt) for index in range(len(rows))),
        parameters=sum(one.numel() for one in parameters),
        trained=sum(one.numel() for one in parameters if one.requires_grad),
        loading=begun - started + max(0.0, first - mean),
        answers=prepared.answers_left,
        step=mean,
        timed=len(timed),
        probes=probes,
        checkpoints=len(recipe.saved),
        checkpoint=between - before,
        states=len(states),
        state=behind - between,
        checkpoint_bytes=checkpoint_bytes,
        resume_bytes=resume_bytes,
        peak_bytes=_peak(where),
    )


class _Timer(TrainerCallback):  # type: ignore[misc]
    """Seconds of each step; stops training when there are enough."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.before_first = 0.0
        self.started = self.last = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.started = self.last = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self.seconds:  # what stands between steps, reading the next batch, belongs to a step
            self.before_first = time.monotonic() - self.last
            self.last = self.started = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        now = time.monotonic()
        self.seconds.append(now - self.last)
        self.last = now
        timed = len(self.seconds) - 1
        if timed >= TIMED or (timed >= 3 and now - self.started > SECONDS):
            control.should_training_stop = True
        return control


def _mean_step(seconds: Sequence[float], widths: Sequence[int], every: Sequence[int]) -> float:
    """Seconds of a mean step of the run, by the tokens of those that were timed.

    Args:
        seconds: of the timed steps.
        widths: their tokens, with padding.
        every: the tokens of all steps.
    """
    return sum(seconds) / sum(widths) * sum(every) / len(every)


def _padded(rows: Rows, step: int, micro: int) -> int:
    """Tokens of a step with the padding of its micro-batches."""
    lengths = [len(rows[step * rows.batch + place].ids) for place in range(rows.batch)]
    return sum(max(lengths[i : i + micro]) * micro for i in range(0, len(lengths), micro))


def _peak(device: str) -> int:
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated())
    # kilobytes, but on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _bytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
