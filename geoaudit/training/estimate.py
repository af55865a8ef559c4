"""What a run will cost, found by making a few of its micro-steps: tokens, memory and time.

The real loop runs on the real data for some seconds, so that whatever a kind of training does in a step is in the
estimate; its weights and its folder are thrown away. Of the micro-steps that an optimiser step accumulates two are made
at most, since the others cost the same.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from platformdirs import user_cache_path
from transformers import TrainerCallback

from geoaudit.errors import RequestError
from geoaudit.model.architecture import causal_lm
from geoaudit.model.architecture import of as architecture_of
from geoaudit.model.load import resolve_device
from geoaudit.training import resuming, run, saving
from geoaudit.training.preparing import base_of, prepare
from geoaudit.training.progress import EVERY, lasting
from geoaudit.training.recipe import Recipe
from geoaudit.training.rows import Rows
from geoaudit.training.trainer import Training

TIMED = 8
"""Micro-steps that are enough, behind one that is not timed."""
SECONDS = 20.0
"""Seconds after which no further step is begun; three micro-steps are timed in any case, within `LIMIT`."""
LIMIT = 300.0
"""Seconds after which a micro-step is broken off wherever it is. A run whose first one takes longer has no estimate but
a bound: it takes longer than that."""


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
    """Seconds from the start of the command until the first step, but for the answers, and what the first takes longer
    than others."""
    answers: float
    """Seconds for a model's own answers that are not kept yet."""
    step: float
    """Mean seconds of a step."""
    micro_steps: int
    """Micro-steps of a step."""
    timed: int
    """Micro-steps that it was found on; 0: not even the first came to its end, and `step` is what it takes at least."""
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
        of = f"{self.micro_steps} micro-steps, " if self.micro_steps > 1 else ""
        timed = f"timed on {self.timed}" if self.timed else f"none ended within {lasting(LIMIT)}"
        parts = [f"{lasting(self.loading)} to load"]
        parts += [f"{lasting(self.answers)} for answers"] if self.answers else []
        parts += [f"{self.steps} steps of {self.step:.2f} s ({of}{timed})"]
        parts += [f"{lasting(self.probes)} for the monitor"] if self.probes else []
        saving = self.checkpoint * self.checkpoints + self.state * self.states
        parts += [f"{lasting(saving)} for {self.checkpoints} checkpoints and {self.states} states to resume from"]
        about = "about" if self.timed else "more than"
        return [
            f"steps    {self.steps:,} of {self.sequences // self.steps:,} sequences",
            f"tokens   {self.tokens:,}, {self.learnt:,} of them learnt",
            f"weights  {self.parameters:,}, {self.trained:,} of them trained",
            f"memory   {_bytes(self.peak_bytes)} at the peak of {self.timed + 1} micro-steps",
            f"disk     {kept}, {_bytes(self.resume_bytes)} to resume from",
            f"time     {about} {lasting(self.seconds)}: {', '.join(parts)}",
        ]


def dry_run(
    recipe: Recipe,
    *,
    progress: Callable[[str], None] = lambda line: None,
    store: Path | None = None,
    device: str = "auto",
    data: Path | None = None,
    started: float | None = None,
) -> Estimate:
    """Make a few micro-steps of a run in a folder that is thrown away, and say what the whole run costs.

    A model's own answers that are made on the way are kept for the run itself, and not counted.

    Args:
        recipe: what is trained.
        progress: shows a line.
        store: as for `train`.
        device: as for `train`.
        data: as for `train`.
        started: when the command began (`time.monotonic`): loading the libraries takes seconds; now if left out.

    Raises:
        RequestError: several processes, or what `train` raises before its first step.
    """
    if resuming.processes() > 1:
        raise RequestError("--dry-run makes its steps in one process: start it without torchrun or accelerate launch")
    started = time.monotonic() if started is None else started
    where = resolve_device(device)
    store = store if store is not None else user_cache_path("geoaudit")
    base = base_of(recipe)
    prepared = prepare(recipe, base, run="dry-run", store=store, device=where, data=data, say=progress, sample=True)
    parameters = [*prepared.model.parameters()]
    accumulated = recipe.accumulation(1)
    made = min(accumulated, 2)
    # saved at the end below, so that the saving is timed apart
    trial = recipe.model_copy(
        update={
            "checkpoints": (),
            "checkpoint_every": 0,
            "resume_every": 0,
            "reference": None,
            "steps": recipe.steps * accumulated // made,
            "batch": recipe.batch // accumulated * made,
            "micro_batch": recipe.batch // accumulated,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        timer = _Timer(accumulated, progress)
        monitors = run.monitors(recipe, prepared, out, out, data, progress)
        training = run.kind(recipe, data)(
            trial, prepared, out, say=lambda line: None, callbacks=[timer, *monitors], device=where
        )
        begun = time.monotonic()
        with timer.on(training):
            training.train()
        step = int(training.state.global_step)
        before = time.monotonic()
        checkpoint = saving.write(training, step)
        between = time.monotonic()
        resuming.save(training, step)
        behind = time.monotonic()
        checkpoint_bytes, resume_bytes = _size(checkpoint), _size(out / resuming.FOLDER)
    probes = 0.0
    if recipe.monitor is not None:
        probes = timer.before_first * (1 + recipe.steps // recipe.monitor.every)
    every = range(recipe.resume_every, recipe.steps, recipe.resume_every) if recipe.resume_every else ()
    states = {one for one in (*recipe.saved, *every) if 0 < one < recipe.steps}
    rows = prepared.rows
    width = None
    if recipe.recipe != "r2d2":  # whose micro-steps cost what the attacks do; others what their tokens do
        micro = int(trial.sequences)
        width = [_padded(rows, first, micro) for first in range(0, len(rows), micro)]
    mean = accumulated * _mean(timer.seconds, width) + _middle(timer.between)
    extra = max(0.0, timer.seconds[0] - mean / accumulated) if timer.seconds else 0.0
    return Estimate(
        steps=recipe.steps,
        sequences=len(rows),
        tokens=rows.tokens(recipe.steps),
        learnt=sum(sum(rows[index].learnt) for index in range(len(rows))),
        parameters=sum(one.numel() for one in parameters),
        trained=sum(one.numel() for one in parameters if one.requires_grad),
        loading=begun - started - prepared.answers_made + extra,
        answers=prepared.answers_left,
        step=mean if timer.seconds else accumulated * LIMIT,
        micro_steps=accumulated,
        timed=max(len(timer.seconds) - 1, min(len(timer.seconds), 1)),
        probes=probes,
        checkpoints=len(recipe.saved),
        checkpoint=between - before,
        states=len(states),
        state=behind - between,
        checkpoint_bytes=checkpoint_bytes,
        resume_bytes=resume_bytes,
        peak_bytes=_peak(where),
    )


class _TooLongError(Exception):
    """A micro-step is broken off."""


class _Timer(TrainerCallback):  # type: ignore[misc]
    """Seconds of each micro-step, and what stands between them; stops training when there are enough.

    Args:
        micro_steps: of a step of the run.
        say: shows a line.
    """

    def __init__(self, micro_steps: int, say: Callable[[str], None]) -> None:
        self.micro_steps = micro_steps
        self.say = say
        self.seconds: list[float] = []
        """Of each micro-step: forward and backward pass and whatever belongs to them."""
        self.between: list[float] = []
        """Of each step but the first, what its micro-steps did not take: reading batches, the optimiser, logging."""
        self.before_first = 0.0
        self.begun = self.started = self.last = self.said = 0.0
        self.counted = 0

    @contextmanager
    def on(self, training: Training) -> Iterator[None]:
        """Micro-steps inside the context are timed, and broken off at the limit."""
        original = training.training_step

        def timed(*args: Any, **kwargs: Any) -> Any:
            before = time.monotonic()
            loss = original(*args, **kwargs)
            self.seconds.append(time.monotonic() - before)
            self._tell()
            return loss

        def look(*args: Any) -> None:
            if self.started and time.monotonic() - self.started > LIMIT:
                raise _TooLongError

        lm = causal_lm(training.model)
        handle = lm.get_submodule(architecture_of(lm).decoder).register_forward_pre_hook(look)
        training.training_step = timed
        try:
            yield
        except _TooLongError:
            self.say(f"timing stopped after {lasting(LIMIT)}")
        finally:
            handle.remove()
            del training.training_step  # the class's own is seen again

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock of what stands before the first step."""
        self.begun = time.monotonic()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock of the steps."""
        if not self.started:
            self.started = self.last = self.said = time.monotonic()
            self.before_first = self.started - self.begun
            of = f" of {self.micro_steps} a step" if self.micro_steps > 1 else ""
            self.say(f"timing a few micro-steps{of}, {lasting(LIMIT)} at most")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """See whether it is enough."""
        now = time.monotonic()
        if self.counted:  # the first reads its batches before the clock starts
            self.between.append(now - self.last - sum(self.seconds[self.counted :]))
        self.last, self.counted = now, len(self.seconds)
        timed = len(self.seconds) - 1
        if timed >= TIMED or (timed >= 3 and now - self.started > SECONDS) or now - self.started > LIMIT:
            control.should_training_stop = True
        return control

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self.said > EVERY:
            self.said = now
            self.say(f"micro-step {len(self.seconds)}: {self.seconds[-1]:.1f} s")


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0


def _mean(seconds: Sequence[float], widths: Sequence[int] | None) -> float:
    """Seconds of a mean micro-step of the run, by the median of those that were timed.

    Args:
        seconds: of the first micro-steps; of the very first only where there is no other.
        widths: tokens of every micro-step of the run, with padding: the median is that of a token. None where seconds
            do not hang on them.
    """
    behind = min(1, len(seconds) - 1)
    if widths is None or not seconds:
        return _middle(seconds[behind:])
    of_a_token = [took / width for took, width in list(zip(seconds, widths, strict=False))[behind:]]
    return _middle(of_a_token) * sum(widths) / len(widths)


def _padded(rows: Rows, first: int, micro: int) -> int:
    """Tokens of the micro-batch that begins with row `first`, with its padding."""
    lengths = [len(rows[place].ids) for place in range(first, min(first + micro, len(rows)))]
    return max(lengths) * len(lengths)


def _peak(device: str) -> int:
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated())
    # kilobytes, but on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _bytes(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
