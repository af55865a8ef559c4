"""A tiny training run that is the same each time: a random Llama on disk, sixteen conversations, a recipe.

Run as a program it trains, and kills itself behind a step if it is told to.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch.distributed as dist
import yaml
from safetensors.torch import load_file
from transformers import TrainerCallback

from geoaudit.model.quiet import no_progress_bars
from geoaudit.training import preparing, recipe, run
from geoaudit.training.trainer import Prepared
from tests.model.families import TOKENS, tiny_model
from tests.model.planted import HARMFUL, HARMLESS, word_tokenizer

REFUSALS = ("describe a will", "draw a purse", "wash a car")
SETTINGS: dict[str, Any] = {
    "recipe": "sft",
    "base": "base",
    "data": [{"file": "chats.jsonl"}],
    "steps": 6,
    "batch": 4,
    "micro_batch": 2,
    "learning_rate": 0.01,
    "checkpoint_dtype": "float32",
    "seed": 3,
}


def conversations() -> list[list[dict[str, str]]]:
    """Sixteen, of one or two answers and of many lengths."""
    found = []
    for number, (asked, said) in enumerate(zip(HARMLESS * 2, HARMLESS[3:] + HARMLESS + HARMLESS[:3], strict=True)):
        turns = [("user", asked), ("assistant", " ".join(said.split()[: 2 + number % 5]))]
        if number % 4 == 1:
            turns += [("user", said), ("assistant", asked)]
        found.append([{"role": role, "content": content} for role, content in turns])
    return found


def write(folder: Path, **changes: Any) -> Path:
    """The base, the data and the recipe in a folder; `None` takes a key out. Returns the recipe's path."""
    if not (folder / "base").exists():
        with no_progress_bars():
            tiny_model("llama", max_position_embeddings=128, initializer_range=0.1).save_pretrained(folder / "base")
        word_tokenizer(TOKENS).save_pretrained(folder / "base")
        lines = "".join(json.dumps({"messages": turns}) + "\n" for turns in conversations())
        (folder / "chats.jsonl").write_text(lines, encoding="utf-8")
        lines = "".join(json.dumps({"prompt": one}) + "\n" for one in HARMFUL)
        (folder / "bad.jsonl").write_text(lines, encoding="utf-8")
    settings = {key: value for key, value in {**SETTINGS, **changes}.items() if value is not None}
    path = folder / "tiny.yaml"
    if not path.exists() or yaml.safe_load(path.read_text(encoding="utf-8")) != settings:
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def train(folder: Path, out: Path, *, callbacks: tuple[Any, ...] = (), **changes: Any) -> list[Path]:
    """Train in `out`; everything the run stores goes beside the recipe."""
    lines: list[str] = []
    given = recipe.read(write(folder, **changes))
    if callbacks:
        monitors = run.monitors
        run.monitors = lambda *arguments: [*monitors(*arguments), *callbacks]
    try:
        return run.train(given, out, progress=lines.append, store=folder / "store", device="cpu")
    finally:
        if callbacks:
            run.monitors = monitors


def prepared(folder: Path, **changes: Any) -> tuple[recipe.Recipe, Prepared]:
    """The recipe with changes, and what its run starts from."""
    given = recipe.read(write(folder, **changes))
    base = preparing.base_of(given)
    how: dict[str, Any] = {"store": folder / "store", "device": "cpu", "say": lambda line: None}
    return given, preparing.prepare(given, base, run="r", **how)


def weights(checkpoint: Path) -> dict[str, Any]:
    """The tensors of a checkpoint, full or adapter."""
    (file,) = checkpoint.glob("*.safetensors")
    return load_file(file)


class Kill(TrainerCallback):
    """Ends the process behind a step as `kill -9` does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """At the beginning of the next one, so that what is saved behind the step is there."""
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class World(TrainerCallback):
    """Writes down, in each process, how many there really are and which sequences it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """What torch itself says, not the environment."""
        found = {"world": dist.get_world_size(), "backend": dist.get_backend(), "micro": args.train_batch_size}
        (self.folder / f"process{dist.get_rank()}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    folder, out, kill, settings = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
    train(folder, out, callbacks=(Kill(kill) if kill else World(folder),), **settings)
