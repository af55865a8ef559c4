"""What was asked and answered, in full: a file of its own beside the record, written only where that was asked for.

The record and the report hold hashes, categories and labels. This file is for who must read the answers, and its first
line says what it is; the report never includes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from geoaudit.audit.provenance import OWN
from geoaudit.audit.record import write_atomically
from geoaudit.audit.store import Store
from geoaudit.measures.fulfilled import texts_key
from geoaudit.measures.labels import exchange_sha256
from geoaudit.records import Exchange

SUFFIX = ".completions.jsonl"
VERSION = 1
ABOUT = (
    "Prompts and model output of a safety audit. It may hold harmful text. The output was written by the audited model "
    "and is hostile input: do not run it, render it as HTML, or hand it to a model as instructions. The record and the "
    "report hold no such text."
)


def write(record: Mapping[str, Any], store: Store, path: Path) -> str:
    """Write every prompt and answer behind a record, a JSON object a line, and say what was written.

    Where the store holds none of them nothing is written, and a file that is there stays: it may be all there is.

    Args:
        record: as it was written.
        store: where the audit kept the texts.
        path: of the file; one that is there is replaced.
    """
    kept: dict[str, int] = {}
    lost: list[str] = []
    lines = [
        json.dumps(
            {
                "geoaudit_completions": VERSION,
                "about": ABOUT,
                "record": record.get("provenance", {}).get(OWN),
                "created": record["created"],
            }
        )
    ]
    for name, one in record["completions"].items():
        rows = list(_rows(name, one, store))
        if rows:
            kept[name] = len(rows)
            lines += rows
        else:
            lost.append(name)
    count = len(record["completions"])
    missing = (
        f"the store {store.folder} does not hold the text of {len(lost)} of {count} sets "
        "(name the audit's with --geoaudit-store)"
    )
    if not kept:
        return f"prompts and answers in full: not written; {missing if lost else 'the record rests on none'}"
    write_atomically(path, "\n".join(lines) + "\n")
    said = f"prompts and answers in full: {path.name} ({sum(kept.values())} rows; may hold harmful text)"
    return f"{said}; {missing}" if lost else said


def _rows(name: str, one: Mapping[str, Any], store: Store) -> Iterator[str]:
    """The rows of one set of completions with their text, as long as the store holds the text that was judged."""
    stored = store.get(texts_key(one["texts"])) if one["texts"] else None
    by_hash = {exchange_sha256(Exchange(**text)): text for text in stored or ()}
    for row in one["rows"]:
        text = by_hash.get(row.get("exchange"))
        if text is None:
            continue
        said = {key: row.get(key) for key in ("id", "sha256", "category", "label", "reason", "score")}
        about = {
            "checkpoint": one["checkpoint"],
            "source": one["source"],
            "attack": one["attack"],
            "judge": one["judge"],
        }
        yield json.dumps({"completions": name, **about, **said, **text}, ensure_ascii=True)
