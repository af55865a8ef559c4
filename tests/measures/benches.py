"""Benches on planted checkpoints, and a store in memory that can be killed: what tests of measures share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load, save

from geoaudit.measures.bench import Bench, Contract
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.inputs import ChatSetting
from geoaudit.model.chat import Chat
from geoaudit.model.checkpoint import resolve
from geoaudit.model.load import load as load_checkpoint
from geoaudit.model.loaded import LoadedModel
from tests.model.planted import Planted


class Killed(BaseException):
    """The process ended here; nothing catches it."""


class MemoryRows:
    """Rows in a dictionary, as bytes. `lives`: how many writes there are before the process is killed by one."""

    def __init__(self, lives: int | None = None) -> None:
        self.rows: dict[str, bytes] = {}
        self.lives = lives
        self.written: list[str] = []

    def _put(self, key: str, value: bytes) -> None:
        if self.lives is not None and len(self.written) >= self.lives:
            raise Killed
        self.written.append(key)
        self.rows[key] = value

    def get(self, key: str) -> Any | None:
        return json.loads(self.rows[key]) if key in self.rows else None

    def put(self, key: str, value: Any) -> None:
        self._put(key, json.dumps(value, allow_nan=False).encode())

    def get_arrays(self, key: str) -> dict[str, np.ndarray] | None:
        return load(self.rows[key]) if key in self.rows else None

    def put_arrays(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._put(key, save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))

    def again(self) -> MemoryRows:
        """What the next process finds."""
        other = MemoryRows()
        other.rows = dict(self.rows)
        return other


SHARED = MemoryRows()
"""Rows of planted models that no test changes: what one test measured the others read."""


@cache
def _loaded(folder: Path, dtype: str) -> tuple[Any, Any]:
    (checkpoint,) = resolve(str(folder))
    return load_checkpoint(checkpoint, store=folder, device="cpu", dtype=dtype)


def open_bench(
    planted: Planted,
    rows: Any = None,
    *,
    dtype: str = "float32",
    template: str | None = None,
    system: str | None = None,
    trained_on: Iterable[str] = (),
    open_model: Callable[[], LoadedModel] | None = None,
    **contract: Any,
) -> Bench:
    """A bench on a planted checkpoint; the model is loaded once a test session."""
    model, tokenizer = _loaded(planted.folder, dtype)
    chat = Chat(tokenizer, template, system)

    def open_chat(setting: ChatSetting) -> Chat:
        if setting == ChatSetting():
            return chat
        own_system = system if setting.system is None else setting.system
        return Chat(tokenizer, setting.template or template, own_system, thinking=setting.thinking)

    return Bench(
        checkpoint_id=planted.folder.parent.name,
        contract=Contract("cpu", dtype, "", "", "2", "5", **contract),
        rows=MemoryRows() if rows is None else rows,
        open_chat=open_chat,
        open_model=open_model or (lambda: LoadedModel(model, tokenizer, chat)),
        trained_on=frozenset(trained_on),
    )


def never() -> LoadedModel:
    """For a bench whose rows are all there."""
    raise AssertionError("the model was opened")


def evidence_of(bench: Bench, name: str = "ckpt") -> Evidence:
    """What measures are given; whatever a comparison is made with is the same checkpoint again."""
    bench.others = lambda other: bench
    found = Evidence(
        name,
        bench.fulfil,
        bench.trained_on,
        other=lambda other: replace(found, checkpoint=other),
        chat=bench.chat_under,
    )
    return found
