"""What the model did: labels by category for every set of completions, and a few example rows, their text withheld."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.report import words
from geoaudit.report.verdict import Row, rows

MOST_CATEGORIES = 40
"""Categories shown of a source; the record holds them all."""
MOST_EXAMPLES = 12
"""Example rows shown of a set of completions; more only where there are more labels."""
_SAME_COMPLETIONS = ("source", "judge", "n", "max_new_tokens")
"""Parameters that say which completions were counted; the attack `direct` asks the plain request, as no attack does."""


@dataclass(frozen=True)
class Reading:
    """One rate on one checkpoint: overall, and by category."""

    title: str
    measurement: Row

    @property
    def value(self) -> str:
        """`0.031 [0.012, 0.078]`, "" where there is none."""
        found = self.measurement
        if words.finite(found.get("estimate")) is None:
            return ""
        unit = str(found.get("unit") or "share")
        ends = words.interval(found.get("low"), found.get("high"), unit)
        return f"{words.number(found['estimate'], unit)} {ends}".strip()

    @property
    def counts(self) -> Row:
        """Label -> how many completions."""
        found = self._detail.get("counts")
        return found if isinstance(found, Mapping) else {}

    @property
    def categories(self) -> list[Row]:
        """All rows by category."""
        return rows(self._detail, "categories")

    def category(self, name: str) -> Row:
        """The row of a category, empty where there is none."""
        return next((row for row in self.categories if words.plain(row.get("category")) == name), {})

    @property
    def _detail(self) -> Row:
        found = self.measurement.get("detail")
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True)
class RateTable:
    """The labels of one source by category, checkpoints side by side, with every rate that was read from them."""

    source: str
    judge: str
    over_refusal: bool
    columns: Mapping[str, Sequence[Reading]]
    """Checkpoint -> its rates; they count the same labels."""
    categories: Sequence[str]
    left_out: int
    """Categories that the table does not show."""


def rate_tables(record: Row) -> list[RateTable]:
    """A table for each source, judge and contract, in the record's order, over-refusal last."""
    titles = record.get("measures") or {}
    grouped: dict[tuple[str, ...], dict[str, list[Reading]]] = {}
    for row in rows(record, "measurements"):
        if str(row.get("unit") or "").startswith("share"):
            parameters = row.get("parameters") if isinstance(row.get("parameters"), Mapping) else {}
            key = tuple(words.plain((parameters or {}).get(name)) for name in _SAME_COMPLETIONS)
            measure = words.plain(row.get("measure"))
            title = str((titles.get(measure) or {}).get("title") or measure)
            if (parameters or {}).get("refusal") not in (None, "any"):
                title += f", {words.plain((parameters or {})['refusal'])}"
            grouped.setdefault(key, {}).setdefault(words.plain(row.get("checkpoint")), []).append(Reading(title, row))
    return sorted((_table(key, columns) for key, columns in grouped.items()), key=lambda table: table.over_refusal)


def _table(key: Sequence[str], columns: Mapping[str, Sequence[Reading]]) -> RateTable:
    readings = [reading for column in columns.values() for reading in column]
    names = list(dict.fromkeys(words.plain(row.get("category")) for one in readings for row in one.categories))
    return RateTable(
        source=key[0],
        judge=key[1],
        over_refusal=any(one.measurement.get("measure") == "over_refusal_rate" for one in readings),
        columns=columns,
        categories=names[:MOST_CATEGORIES],
        left_out=max(0, len(names) - MOST_CATEGORIES),
    )


def share_of(row: Row) -> str:
    """`14 of 16 [0.64, 0.97]` for a category, two decimals for a handful of rows; "" where it has no n."""
    hits, n = words.finite(row.get("hits")), words.finite(row.get("n"))
    if hits is None or not n:
        return ""
    low, high = words.finite(row.get("low")), words.finite(row.get("high"))
    ends = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return f"{words.count(hits)} of {words.count(n)}{ends}"


@dataclass(frozen=True)
class Examples:
    """A few rows of one set of completions."""

    checkpoint: str
    source: str
    judge: str
    total: str
    rows: Sequence[Row]


def examples(record: Row) -> list[Examples]:
    """Rows of each set of completions with every label among them, text withheld."""
    found = record.get("completions") or {}
    return [
        Examples(
            words.plain(entry.get("checkpoint")),
            words.plain(entry.get("source")),
            words.plain(entry.get("judge")),
            words.count(entry.get("n")),
            few(rows(entry, "rows")),
        )
        for entry in found.values()
        if isinstance(entry, Mapping)
    ]


def few(found: Sequence[Row], most: int = MOST_EXAMPLES) -> list[Row]:
    """About `most` rows in their order: the labels take turns, so that each is represented."""
    queues: dict[Any, list[int]] = {}
    for index, row in enumerate(found):
        queues.setdefault(row.get("label"), []).append(index)
    chosen: list[int] = []
    turn = 0
    while len(chosen) < min(max(most, len(queues)), len(found)):
        chosen += [queue[turn] for queue in queues.values() if turn < len(queue)]
        turn += 1
    return [found[index] for index in sorted(chosen[: max(most, len(queues))])]
