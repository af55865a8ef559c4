"""The state that a killed run goes on from: `OUT/.resume/<step>/`, the latest one only.

Trained weights and AdamW's moments in full precision as safetensors; schedule, random generators, loss history and what
the kind of training keeps as JSON. Nothing is pickled. With it a resumed run makes the same weights as one that was
never stopped (in float32; tested).
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from geoaudit.errors import BrokenCheckpoint, RequestError

if TYPE_CHECKING:
    from geoaudit.training.trainer import Training

FOLDER = ".resume"
_STATE = "trainer_state.json"
"""`Trainer`'s own name for its state, which it reads from this folder."""
_WEIGHTS, _MOMENTS, _OPTIMISER = "weights.safetensors", "moments.safetensors", "optimiser.json"


def processes() -> int:
    """Processes of this run (`torchrun` and `accelerate launch` say so in the environment)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("RANK", "0"))


def step_of(state: Path) -> int:
    """The step that a state was saved at."""
    return int(state.name)


def latest(out: Path) -> Path | None:
    """The folder of the latest whole state, or None."""
    found = [path for path in (out / FOLDER).glob("*") if path.name.isdigit() and (path / _STATE).is_file()]
    return max(found, key=step_of, default=None)


def save(training: Training, step: int) -> None:
    """Save the state behind a step; every process calls it. Sharded optimisers (DeepSpeed, FSDP) are not saved."""
    if training.is_deepspeed_enabled or training.is_fsdp_enabled:
        return
    folder = training.out / FOLDER
    part = folder / f"{step}.part"
    if training.is_world_process_zero():
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        training.state.save_to_json(str(part / _STATE))
        save_file(_trained(training), part / _WEIGHTS)
        _save_optimiser(training, part)
    training.accelerator.wait_for_everyone()
    own = {"random": _random_state(), "extra": training.extra_state(), "processes": processes()}
    _write(part / _own(), own)
    training.accelerator.wait_for_everyone()
    if training.is_world_process_zero():
        shutil.rmtree(folder / str(step), ignore_errors=True)
        part.rename(folder / str(step))
        clear(folder, keep=step)
    training.accelerator.wait_for_everyone()


def clear(folder: Path, keep: int | None = None) -> None:
    """Remove the states in `OUT/.resume`, but one."""
    for path in folder.glob("*"):
        if path.is_dir() and path.name != str(keep):
            shutil.rmtree(path, ignore_errors=True)


def load_weights(training: Training, state: Path) -> None:
    """Put the trained weights back, as they were.

    Raises:
        BrokenCheckpoint: the state is of another model.
    """
    saved = load_file(state / _WEIGHTS)
    trained = {name: weight for name, weight in training.model.named_parameters() if weight.requires_grad}
    if {name: weight.shape for name, weight in saved.items()} != {name: w.shape for name, w in trained.items()}:
        raise BrokenCheckpoint(f"{state} is of another model than the recipe's: start anew with --fresh")
    with torch.no_grad():
        for name, weight in trained.items():
            weight.copy_(saved[name])


def load_optimiser(training: Training, state: Path) -> None:
    """AdamW's moments and the schedule."""
    written = _read(state / _OPTIMISER)
    moments: dict[int, dict[str, Any]] = {}
    for name, tensor in load_file(state / _MOMENTS).items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = tensor
    training.optimizer.load_state_dict({"state": moments, "param_groups": written["groups"]})
    training.lr_scheduler.load_state_dict(written["schedule"])


def load_random(training: Training, state: Path) -> None:
    """The random generators of this process, and what its kind of training keeps.

    Raises:
        RequestError: the state is of another number of processes.
    """
    path = state / _own()
    own = _read(path) if path.is_file() else {}
    if own.get("processes") != processes():
        raise RequestError(
            f"{state.parent.parent} holds a run of another number of processes than {processes()}: resume it with as "
            "many as before, or start anew with --fresh"
        )
    training.load_extra_state(own["extra"])
    _set_random_state(own["random"])


def _own() -> str:
    return f"process{rank()}.json"


def _trained(training: Training) -> dict[str, torch.Tensor]:
    named: Iterable[tuple[str, torch.nn.Parameter]] = training.model.named_parameters()
    return {name: weight.detach().cpu().contiguous() for name, weight in named if weight.requires_grad}


def _save_optimiser(training: Training, part: Path) -> None:
    state = training.optimizer.state_dict()
    moments = {
        f"{index}.{key}": tensor.detach().cpu().contiguous()
        for index, kept in state["state"].items()
        for key, tensor in kept.items()
    }
    save_file(moments, part / _MOMENTS)
    _write(part / _OPTIMISER, {"groups": state["param_groups"], "schedule": training.lr_scheduler.state_dict()})


def _random_state() -> dict[str, Any]:
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    found = {
        "python": random.getstate(),
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, gauss],
        "torch": _text(torch.get_rng_state()),
    }
    if torch.cuda.is_available():
        found["cuda"] = _text(torch.cuda.get_rng_state())
    return found


def _set_random_state(state: dict[str, Any]) -> None:
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    name, numbers, *rest = state["numpy"]
    np.random.set_state((name, np.array(numbers, dtype=np.uint32), *rest))
    torch.set_rng_state(_bytes(state["torch"]))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(_bytes(state["cuda"]))


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
