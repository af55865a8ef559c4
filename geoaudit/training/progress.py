"""What a person sees while a run goes on: step, loss, tokens a second and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

EVERY = 5.0
"""Seconds between two lines, at least."""


class Progress(TrainerCallback):  # type: ignore[misc]
    """A line every few seconds, and one for the first and the last step.

    Args:
        steps: of the whole run.
        tokens: how many tokens the first k steps run, over all processes.
        say: shows a line; called by the first process only.
    """

    def __init__(self, steps: int, tokens: Callable[[int], int], say: Callable[[str], None]) -> None:
        self.steps = steps
        self.tokens = tokens
        self.say = say
        self.first = 0
        self.started = self.said = 0.0
        self.loss = float("nan")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.first = int(state.global_step)
        self.started = time.monotonic()
        if self.first and state.is_world_process_zero:
            self.say(f"resumed behind step {self.first}")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """One step was made."""
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        step, now = int(state.global_step), time.monotonic()
        if step - self.first > 1 and step < self.steps and now - self.said < EVERY:
            return
        self.said = now
        done, seconds = step - self.first, max(now - self.started, 1e-9)
        speed = (self.tokens(step) - self.tokens(self.first)) / seconds
        left = seconds / done * (self.steps - step)
        parts = "  ".join(f"{name} {value:.3f}" for name, value in logs.items() if name in ("clean", "away", "toward"))
        self.say(
            f"step {step}/{self.steps}  loss {logs['loss']:.3f}{'  ' + parts if parts else ''}  "
            f"{speed:,.0f} tokens/s  {lasting(left)} left"
        )


def lasting(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
