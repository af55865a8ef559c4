"""Remembering what was computed from files for as long as the files do not change."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def remembered(what: str, files: Sequence[Path], store: Path, compute: Callable[[], Any]) -> Any:
    """`compute()`, or what it gave when these files last looked as they do now.

    Args:
        what: name of the computation, with a version that changes when its meaning does.
        files: everything that `compute` reads. A file counts as unchanged by path, size and times of change.
        store: folder that keeps the values, one small JSON file each under `identity/`.
        compute: gives a JSON-able value.

    Returns:
        The value.
    """
    paths = [os.path.abspath(file) for file in files]
    key = hashlib.sha256(json.dumps([what, paths]).encode()).hexdigest()
    kept = store / "identity" / f"{key}.json"
    before = stamps(paths)
    try:
        old = json.loads(kept.read_text(encoding="utf-8"))
        if old["files"] == before:
            return old["value"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never written, or not readable any more: computed anew and written over
    value = compute()
    if stamps(paths) == before:  # else something wrote to the files meanwhile, and the value may be of neither state
        _write(kept, {"what": what, "files": before, "value": value})
    return value


def stamps(paths: Sequence[str | Path]) -> list[list[Any]]:
    """How files look now, by what does not have to be read: path, size and times of change."""
    stats = [(str(path), os.stat(path)) for path in paths]
    # the time of change catches a file replaced by another of its size and date (`cp -p`, `tar x`)
    return [[path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for path, stat in stats]


def _write(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False) as file:
        json.dump(value, file)
    os.replace(file.name, path)
