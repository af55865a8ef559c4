"""What an optimised attack did, step by step, kept as JSON lines that `stored` replays as a fixed-source attack.

One line is one behaviour: `prompt` is the string with the lowest loss, `behavior_id`, `method` and `source_model` say
what it is for and where it was made, `trace` holds every step. Plain data: no model, no torch.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoaudit.attacks.jsonfile import Piece, lines
from geoaudit.attacks.jsonfile import read as read_text
from geoaudit.errors import BrokenCheckpoint, RequestError, did_you_mean

if TYPE_CHECKING:
    from geoaudit.attacks.target import Aim


@dataclass(frozen=True, slots=True)
class Step:
    """Where an attack stood after one step: loss and text belong together.

    Raises:
        BrokenCheckpoint: if the loss is no finite number, which no text of an unbroken model has.
    """

    step: int
    """0 is the start, before anything was optimised."""
    loss: float
    """Mean cross-entropy of the target's tokens behind `text`, in nats (`target.string_losses`)."""
    text: str
    """The user's turn as it is sent."""
    seconds: float
    """Wall time of this step alone; behaviours that share a batch share its time evenly."""
    tokens: int
    """Tokens that the model read for this behaviour in this step, padding and what a cache spared left out."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.loss):
            raise BrokenCheckpoint(
                f"the target's loss is {self.loss} at step {self.step} of an attack, so nothing can be optimised "
                "against this model: look for NaN in its weights, or load it in float32"
            )


@dataclass(frozen=True, slots=True)
class Trace:
    """An attack on one behaviour.

    Raises:
        RequestError: if there are no steps, or they do not go up.
    """

    attack: str
    """`gcg` or `autodan`: the method's name in a file."""
    aim: Aim
    source_model: str
    """Name of the model that it was made on."""
    settings: Mapping[str, Any]
    """What was asked for, JSON-able."""
    steps: tuple[Step, ...]
    """In order; not every step has to be kept."""
    stopped: str = ""
    """Why it ended early (such as `matched`); empty where its steps were spent."""
    source_sha256: str = ""
    """Identity of the source's weights, tokenizer and chat format, where it is known."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More that one attack has to say, JSON-able."""

    def __post_init__(self) -> None:
        numbers = [one.step for one in self.steps]
        if not numbers or numbers != sorted(set(numbers)):
            raise RequestError(f"the steps of a trace go up from the first, got {numbers} for {self.aim.id!r}")

    @property
    def best(self) -> Step:
        """The step with the lowest loss, the earliest of several."""
        return min(self.steps, key=lambda one: one.loss)

    @property
    def last(self) -> Step:
        """The step that it ended with."""
        return self.steps[-1]

    @property
    def lowered(self) -> bool:
        """Whether the loss fell below that of the start at all."""
        return self.best.loss < self.steps[0].loss

    @property
    def seconds(self) -> float:
        """Wall time of all steps."""
        return sum(one.seconds for one in self.steps)

    @property
    def tokens(self) -> int:
        """Tokens that the model read in all steps."""
        return sum(one.tokens for one in self.steps)

    def upto(self, budget: int) -> Trace:
        """The same attack as if it had had only `budget` steps."""
        kept = tuple(one for one in self.steps if one.step <= budget)
        whole = kept == self.steps
        return Trace(
            self.attack,
            self.aim,
            self.source_model,
            self.settings,
            kept,
            self.stopped if whole else "",
            self.source_sha256,
            self.extra,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary, which is a row that `stored` reads."""
        best = self.best
        return {
            "prompt": best.text,
            "behavior_id": self.aim.id,
            "behavior": self.aim.request,
            "method": self.attack,
            "source_model": self.source_model,
            "source_sha256": self.source_sha256,
            "target": self.aim.target,
            "loss": best.loss,
            "start_loss": self.steps[0].loss,
            "stopped": self.stopped,
            "settings": dict(self.settings),
            "extra": dict(self.extra),
            "trace": [asdict(one) for one in self.steps],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Trace:
        """The trace that `to_json` wrote.

        Raises:
            RequestError: if a key is missing or of another kind, or the prompt is not that of the best step.
        """
        from geoaudit.attacks.target import Aim  # here, because it brings torch

        for key in _KEYS:
            if key not in row:
                raise RequestError(f"no key {key!r}{did_you_mean(key, row)}; keys: {', '.join(row) or 'none'}")
        try:
            trace = cls(
                _text(row, "method"),
                Aim(_text(row, "behavior_id"), _text(row, "behavior"), _text(row, "target")),
                _text(row, "source_model"),
                dict(row["settings"]),
                tuple(_step(one) for one in row["trace"]),
                _text(row, "stopped") if "stopped" in row else "",
                _text(row, "source_sha256") if "source_sha256" in row else "",
                dict(row.get("extra", {})),
            )
        except (TypeError, ValueError, KeyError, BrokenCheckpoint) as error:
            raise RequestError(f"not a trace of an attack ({error}); write it again with `geoaudit attack`") from None
        if (row["prompt"], row["loss"]) != (trace.best.text, trace.best.loss):
            raise RequestError("prompt and loss are not those of the trace's best step: the line was changed by hand")
        return trace


Progress = Callable[[int, Sequence[Trace]], None]
"""Called after each step with its number and the traces of the batch so far."""

_KEYS = ("prompt", "behavior_id", "behavior", "method", "source_model", "target", "loss", "settings", "trace")


def write(path: Path, traces: Iterable[Trace]) -> None:
    """Replace `path` by these traces, one a line, in one step: a run that is stopped leaves the file it had."""
    rows = [json.dumps(one.to_json(), ensure_ascii=False, allow_nan=False) for one in traces]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{row}\n" for row in rows)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path) -> list[Trace]:
    """The traces of a file, in its order.

    Raises:
        DataMissing: if there is no such file.
        RequestError: if a line is not a trace; the message begins with file:line.
    """
    return [_trace(piece) for piece in lines(Path(path), read_text(Path(path)))]


def _trace(piece: Piece) -> Trace:
    if not isinstance(piece.value, dict):
        raise piece.wrong("expected an object, the trace of one behaviour")
    try:
        return Trace.from_json(piece.value)
    except RequestError as error:
        raise piece.wrong(str(error)) from None


def _step(row: Any) -> Step:
    number, tokens = row["step"], row["tokens"]
    if not (isinstance(number, int) and isinstance(tokens, int)):
        raise TypeError(f"step and tokens are whole numbers, got {number!r} and {tokens!r}")
    return Step(number, float(row["loss"]), _text(row, "text"), float(row["seconds"]), tokens)


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise TypeError(f"{key!r} must be text, got {type(value).__name__}")
    return value
