"""What a record was made from, by hash: suites, prompt sets, checkpoints, this package, and the record's own content.

A hash is no signature: who changes a record can change it too. It tells an accident and a careless edit from the record
as it was written; `geoaudit verify` measures again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import geoaudit

OWN = "content_sha256"
"""Where the hash of the record's other content stands, in its provenance."""
_APART = ("__pycache__", "assertions")


def of(
    measurements: Iterable[Mapping[str, Any]],
    suites: Iterable[Mapping[str, str]],
    checkpoints: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """The provenance of a record, without the hash of its own content (`sealed` adds that)."""
    prompts = sorted({(name, sha) for one in measurements for name, sha in one["inputs"].items()})
    return {
        "package": {"version": geoaudit.__version__, "sha256": package_sha256()},
        "suites": [{"file": suite["file"], "sha256": suite["sha256"]} for suite in suites],
        "prompt_sets": [{"name": name, "sha256": sha} for name, sha in prompts],
        "checkpoints": [{"name": one["name"], "id": one["id"]} for one in checkpoints],
    }


@cache
def package_sha256() -> str:
    """Hash over the package's own files as installed: source, templates and data, each with its path."""
    root = Path(geoaudit.__file__).resolve().parent
    found = hashlib.sha256()
    for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix()):
        inside = path.relative_to(root)
        if path.is_file() and path.suffix != ".pyc" and not set(inside.parts) & set(_APART):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found.update(f"{inside.as_posix()}\0{content}\n".encode())
    return found.hexdigest()


def sha256(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value as it would be read back from a file, lone surrogates and all.

    Raises:
        ValueError: NaN or an infinity.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with the hash of its content, as it will be read back from its file.

    Raises:
        ValueError: NaN or an infinity.
    """
    plain: dict[str, Any] = json.loads(json.dumps(record, allow_nan=False))
    plain["provenance"] = {**plain.get("provenance", {}), OWN: content_sha256(plain)}
    return plain


def content_sha256(record: Mapping[str, Any]) -> str:
    """Hash of everything in a record but this hash."""
    provenance = {name: value for name, value in record.get("provenance", {}).items() if name != OWN}
    return sha256({**record, "provenance": provenance})


def is_intact(record: Mapping[str, Any]) -> bool | None:
    """Whether a record's content is what it was written with; None where it does not say."""
    provenance = record.get("provenance")
    said = provenance.get(OWN) if isinstance(provenance, Mapping) else None
    if said is None:
        return None
    try:
        return bool(said == content_sha256(record))
    except ValueError:  # NaN was written into it
        return False
