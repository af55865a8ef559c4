"""What a record was made from, for who wants to make it again: hashes, settings, every measurement's key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.report import titles, words
from geoaudit.report.titles import Row, listed, mapping
from geoaudit.report.verdict import rows

OPTIONS: Mapping[str, str] = {
    "dtype": "dtype",
    "template": "chat template",
    "system": "system prompt",
    "reference": "reference",
    "labels": "a person's labels",
    "judge_models": "models of judges",
    "judge_quantise": "judges quantised",
    "endpoint_model": "model of the endpoint",
}
"""Settings of the run that are no part of a suite, in words."""


def hashes(record: Row) -> list[tuple[str, str, str]]:
    """(kind, name, SHA-256 or identity) of everything that the record says it was made from, each once."""
    found = mapping(record.get("provenance"))
    package = mapping(found.get("package"))
    made = (
        [("package", f"geoaudit {words.plain(package.get('version'))}", words.plain(package.get("sha256")))]
        if package
        else []
    )
    for name, kind, label, sha in (
        ("suites", "suite", "file", "sha256"),
        ("prompt_sets", "prompt set", "name", "sha256"),
        ("checkpoints", "checkpoint", "name", "id"),
    ):
        made += [(kind, words.plain(row.get(label)), words.plain(row.get(sha))) for row in rows(found, name)]
    if found.get("content_sha256"):
        made.append(("record", "its own content, this hash apart", words.plain(found["content_sha256"])))
    return list(dict.fromkeys(made))


def options(record: Row) -> list[tuple[str, str]]:
    """(setting, value) of those that were not left at their default."""
    found = mapping(record.get("options"))
    return [
        (OPTIONS.get(name, name.replace("_", " ")), words.plain(value))
        for name, value in found.items()
        if value not in (None, "", {}, [], False)
    ]


def baseline(record: Row) -> list[tuple[str, str]]:
    """(field, value) of what changes were measured against; empty where there was no baseline."""
    found = mapping(record.get("baseline"))
    named = {"spec": "given as", "id": "identity", "created": "made", "name": "name"}
    shown = [(named[name], words.plain(found[name])) for name in named if found.get(name)]
    if found:
        shown.append(
            ("kind", "a record of an earlier audit" if found.get("record") else "a checkpoint, measured in this audit")
        )
    return shown


MOST_RECORDS = 3
"""Records of a replay that are named; more are counted."""


def replayed(record: Row) -> str:
    """That the verdict was taken on the numbers of earlier records, of which and when; "" where it was not."""
    found = mapping(record.get("replayed"))
    if not found:
        return ""
    names = list(dict.fromkeys(words.plain(one.get("file")) for one in rows(found, "records")))
    shown = ", ".join(names[:MOST_RECORDS]) + (
        f" and {len(names) - MOST_RECORDS} more" if len(names) > MOST_RECORDS else ""
    )
    when = f" on {words.plain(found['created'])}" if found.get("created") else ""
    return f"A replay: decided{when} on the numbers of {shown or 'earlier records'}; nothing was measured for it."


@dataclass(frozen=True)
class Made:
    """One measure under one set of parameters, with every checkpoint that it was measured on."""

    first: Row
    cells: Sequence[Row]

    @property
    def inputs(self) -> list[tuple[str, str]]:
        """(name, first digits of the hash) of everything that was put in."""
        found: dict[str, Any] = {}
        for row in self.cells:
            found.update({str(name): sha for name, sha in mapping(row.get("inputs")).items()})
        return [(name, words.plain(sha)[:16]) for name, sha in found.items()]


def made(record: Row) -> list[Made]:
    """Every measurement, those of one measure with the same parameters together, in the record's order."""
    grouped: dict[str, list[Row]] = {}
    for row in rows(record, "measurements"):
        key = words.plain([row.get("measure"), titles.judge(row), mapping(row.get("parameters"))])
        grouped.setdefault(key, []).append(row)
    return [
        Made(next((r for r in own if words.finite(r.get("estimate")) is not None), own[0]), own)
        for own in grouped.values()
    ]


CONVENTIONS = ("convention", "rule", "form", "operator", "scope", "statistic", "score", "refusal")
"""Parameters that say which of several definitions in use a number follows."""


def conventions(record: Row, measure: str) -> list[str]:
    """Which definition the numbers of a measure follow, how their intervals were made, and the measure's version."""
    own = [row for row in rows(record, "measurements") if words.plain(row.get("measure")) == measure]
    found = []
    for name in CONVENTIONS:
        values = dict.fromkeys(words.plain(value) for row in own if (value := mapping(row.get("parameters")).get(name)))
        found += [f"{name}: {', '.join(values)}"] if values else []
    made = dict.fromkeys(words.plain(row["interval"]).partition(":")[0] for row in own if row.get("interval"))
    made.pop("none", None)
    found += [f"interval: {'; '.join(made)}"] if made else []
    version = mapping(mapping(record.get("measures")).get(measure)).get("version")
    return found + ([f"version {words.plain(version)}"] if version else [])


def key(row: Row) -> str:
    """The key without the checkpoint's name, which stands beside it."""
    found, name = words.plain(row.get("key")), words.plain(row.get("checkpoint"))
    return found.removeprefix(f"{name}/")


def signed_by(record: Row) -> bool:
    """Whether the record carries a hash of its own content."""
    return bool(mapping(record.get("provenance")).get("content_sha256"))


def shared_template(checkpoints: Sequence[Row]) -> bool:
    """Whether all checkpoints were asked under one chat template and one system prompt."""
    found = {words.plain([mapping(row.get("template")).get("sha256"), row.get("system_prompt")]) for row in checkpoints}
    return len(found) == 1 and len(listed(checkpoints)) > 1
