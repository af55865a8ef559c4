"""A record's file: written in one step, read with every earlier version brought up to this one, refused if edited."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geoaudit.audit import provenance
from geoaudit.audit.migrate import migrate
from geoaudit.audit.record_parts import measurements_of
from geoaudit.errors import RequestError
from geoaudit.records import Measurement


def write(record: Mapping[str, Any], path: Path) -> None:
    """Write the record atomically; NaN is refused, so that nothing reads it as a number."""
    write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path, *, sealed: bool = True) -> dict[str, Any]:
    """A record from its file, brought up to this version.

    Args:
        path: where it lies.
        sealed: whether a record whose content is not what it was written with is refused.

    Raises:
        RequestError: there is none, it is of a version that is not known here, or it was edited.
    """
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise RequestError(f"cannot read the record {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict) or type(record.get("geoaudit_record")) is not int:
        got = record.get("geoaudit_record") if isinstance(record, dict) else type(record).__name__
        raise RequestError(f"{path} is not a geoaudit record (geoaudit_record is {got!r})")
    if sealed and provenance.is_intact(record) is False:
        raise RequestError(
            f"{path} was changed after it was written: its content is not what its content_sha256 says. Nothing is "
            "decided from it; take the record as the audit wrote it (`geoaudit verify` says what differs)"
        )
    try:
        return migrate(record)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RequestError(f"{path} is not a whole record: {type(error).__name__}: {error}") from None


PARTS: Mapping[str, type] = {
    **dict.fromkeys(("checkpoints", "measurements", "assertions", "suites", "trajectories"), list),
    **dict.fromkeys(("completions", "environment", "exit", "measures", "options", "profile", "provenance"), dict),
}
"""What every record has."""


def whole(path: Path, *, sealed: bool = True) -> tuple[dict[str, Any], dict[str, Measurement]]:
    """A record and its measurements, to compare with or to decide from; `sealed` as in `read`.

    Raises:
        RequestError: as `read`, or a part of it is missing or is none.
    """
    found = read(path, sealed=sealed)
    try:
        for part, kind in PARTS.items():
            if not isinstance(found[part], kind):
                raise TypeError(f"{part} is no {'list' if kind is list else 'mapping'}")
        for name, one in found["completions"].items():
            if not isinstance(one, dict) or not isinstance(one.get("rows"), list):
                raise TypeError(f"completions {name!r} have no rows")
        for one in found["checkpoints"]:
            str(one["name"])
        return found, measurements_of(found)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RequestError(f"{path} is not a whole record: {type(error).__name__}: {error}") from None
