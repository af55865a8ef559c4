"""The store: rows and measurements in one SQLite file, every write a transaction.

A killed run loses what was not yet written and nothing else. Text and numbers are JSON; arrays are safetensors bytes;
nothing is ever unpickled. Opening the store imports neither torch nor numpy.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoaudit.errors import RequestError

if TYPE_CHECKING:
    import numpy as np

VERSION = 1


class Store:
    """A folder with `rows.sqlite3`, `locks/` and `converted/`. Safe to use from several processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / f"rows-{VERSION}.sqlite3"
        try:
            (folder / "locks").mkdir(parents=True, exist_ok=True)
            self._do("CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: Exception) -> RequestError:
        return RequestError(
            f"the store {self.folder} cannot be used: {error}. Name another with --geoaudit-store, "
            f"or delete {self.path}"
        )

    def _do(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        # A connection for each call: the file may be shared by forked workers, and a call costs under a millisecond.
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._unusable(error) from None

    def _get(self, key: str) -> bytes | None:
        found = self._do("SELECT value FROM rows WHERE key = ?", key)
        return bytes(found[0][0]) if found else None

    def _put(self, key: str, value: bytes) -> None:
        self._do("INSERT OR REPLACE INTO rows (key, value) VALUES (?, ?)", key, value)

    def get(self, key: str) -> Any | None:
        """The JSON-able value under `key`, or None."""
        value = self._get(key)
        return None if value is None else json.loads(value)

    def put(self, key: str, value: Any) -> None:
        """Write a JSON-able value; NaN is refused (ValueError)."""
        self._put(key, json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass"))

    def get_arrays(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays under `key`, or None."""
        value = self._get(key)
        if value is None:
            return None
        from safetensors.numpy import load

        return load(value)

    def put_arrays(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays under `key`."""
        from numpy import ascontiguousarray
        from safetensors.numpy import save

        self._put(key, save({name: ascontiguousarray(array) for name, array in arrays.items()}))

    def lock_path(self, name: str) -> Path:
        """The file on which processes that measure the same checkpoint wait for each other."""
        return self.folder / "locks" / f"{name}.lock"
