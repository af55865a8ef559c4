"""What of the benchmark data is there, and fetching the rest from its pinned official source."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from geoaudit.errors import DataMissing, UnknownName
from geoaudit.prompts import pinned
from geoaudit.prompts.benchmarks import BENCHMARKS
from geoaudit.prompts.pinned import PinnedFile, data_directory

TIMEOUT = 30.0
"""Seconds to wait for the server at each step."""
LARGEST = 4 * 2**20
"""Bytes; the largest pinned file is 0.2 MB, and what is longer cannot be it."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One pinned file in one data folder."""

    file: PinnedFile
    benchmarks: tuple[str, ...]
    """Names that are loaded from it."""
    path: Path
    state: Literal["present", "absent", "different", "unreadable"]
    """*different*: something is there, but not the pinned content."""
    sha256: str | None
    """Of what is there; None where nothing can be read."""


def status(data: Path | None = None) -> list[FileStatus]:
    """Every pinned file and whether the data folder has it. Reads the files, changes nothing.

    Args:
        data: The data folder; None for GEOAUDIT_DATA or the user's cache.
    """
    files: dict[PinnedFile, list[str]] = {}
    for benchmark in BENCHMARKS.values():
        for file in (benchmark.file, benchmark.targets, benchmark.openings):
            if file is not None:
                files.setdefault(file, []).append(benchmark.name)
    return [_status(file, tuple(benchmarks), data_directory(data)) for file, benchmarks in files.items()]


def fetch(name: str, data: Path | None = None, *, opener: Callable[..., Any] = urllib.request.urlopen) -> Path:
    """Have the files of a benchmark in the data folder: nothing to do if it is there, else download, check, move in.

    The download goes to a temporary file beside its place and is moved there in one step after its SHA-256 was found
    right; a failed one leaves nothing behind. A different file that is in its place is never overwritten.

    Args:
        name: A benchmark.
        data: The data folder, made if need be; None for GEOAUDIT_DATA or the user's cache.
        opener: `urllib.request.urlopen` or a stand-in: called with the address and `timeout`, gives a context manager.

    Returns:
        Where the file of its prompts is.

    Raises:
        UnknownName: if there is no such benchmark.
        DataMissing: if it cannot be fetched; the message says why and what else can be done.
    """
    if name not in BENCHMARKS:
        raise UnknownName.among("benchmark", name, BENCHMARKS)
    benchmark = BENCHMARKS[name]
    path = _fetch(benchmark.file, name, data, opener)
    for file in (benchmark.targets, benchmark.openings):
        if file is not None:
            _fetch(file, name, data, opener)
    return path


def _fetch(file: PinnedFile, name: str, data: Path | None, opener: Callable[..., Any]) -> Path:
    path = data_directory(data) / file.path
    if path.exists():
        pinned.read(file, name, data)
        return path
    if file.url is None:
        raise DataMissing(f"benchmark {name!r} has no pinned address. {pinned.how_to_get(file, name)}")
    content = _download(file, file.url, opener)
    got = hashlib.sha256(content).hexdigest()
    if got not in file.sha256:
        raise DataMissing(
            f"{file.url} gave another file than the pinned one: SHA-256 is {got}, expected {' or '.join(file.sha256)}. "
            "Nothing was kept; a proxy may have answered in its place."
        )
    _move_in(path, content)
    return path


def _status(file: PinnedFile, benchmarks: tuple[str, ...], folder: Path) -> FileStatus:
    path = folder / file.path
    try:
        got = hashlib.sha256(path.read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return FileStatus(file, benchmarks, path, "absent", None)
    except OSError:
        return FileStatus(file, benchmarks, path, "unreadable", None)
    return FileStatus(file, benchmarks, path, "present" if got in file.sha256 else "different", got)


def _download(file: PinnedFile, url: str, opener: Callable[..., Any]) -> bytes:
    try:
        with opener(url, timeout=TIMEOUT) as response:
            content: bytes = response.read(LARGEST + 1)
    except (OSError, http.client.HTTPException) as error:
        # URLError, HTTPError and timeouts are OSErrors; some have no text of their own.
        reason = str(error) or type(error).__name__
        raise DataMissing(
            f"could not download {url}: {reason}. Without a network, put the file at {file.path} in a folder of "
            f"your own and name the folder with `--geoaudit-data DIR` or {pinned.ENVIRONMENT}."
        ) from error
    return content


def _move_in(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataMissing(
            f"cannot write {path}: {error.strerror or error}. Name another folder with `--geoaudit-data DIR` or "
            f"{pinned.ENVIRONMENT}."
        ) from error
