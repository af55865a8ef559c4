"""What the model did: labels by category for every set of completions, and a few example rows, their text withheld."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from geoaudit.report import titles, words
from geoaudit.report.titles import Row, detail_of, mapping
from geoaudit.report.verdict import rows

MOST_CATEGORIES = 40
"""Categories shown of a source; the record holds them all."""
LEAST_EXAMPLES, MOST_EXAMPLES = 4, 12
"""Example rows shown of a set of completions; more only where there are more labels."""
MOST_ROWS = 160
"""Example rows shown of all sets; where there are many sets, each shows fewer."""
ELSEWHERE = ("benign_utility", "refusal_depth", "paraphrase_gap")
"""Measures of behaviour that are no rate by category: they have tables of their own."""
_SAME_COMPLETIONS = ("n", "max_new_tokens", "chat")
"""Parameters that say which completions were counted, beside source, attack and judge."""
_OF_ATTACK = (
    *("attacks", "method", "source_model", "k", "format", "system", "samples", "temperature", "seed"),
    *("budget", "width", "initial"),
)
"""Parameters that say which under an attack; the attack `direct` asks the plain request, and reads none of them."""


@dataclass(frozen=True)
class Reading:
    """One rate on one checkpoint: overall, and by category."""

    title: str
    measurement: Row

    @property
    def value(self) -> str:
        """`0.031 [0.012, 0.078]`, "" where there is none."""
        found = self.measurement
        return words.share(found.get("estimate"), found.get("low"), found.get("high"))

    @property
    def short(self) -> str:
        """The title without what stands above a row of a category already."""
        return titles.short(self.title)

    @property
    def n(self) -> str:
        """`n = 128`, or `n = 40 behaviours, 200 completions` where an attack makes several of one behaviour."""
        n, cases = self.measurement.get("n"), words.finite(self.detail.get("cases"))
        if cases is None or cases == words.finite(n):
            return f"n = {words.count(n)}"
        return f"n = {words.plural(n, 'behaviour')}, {words.plural(cases, 'completion')}"

    @property
    def counts(self) -> Row:
        """Label -> how many completions."""
        return mapping(self.detail.get("counts"))

    @property
    def categories(self) -> list[Row]:
        """All rows by category."""
        return rows(self.detail, "categories")

    def category(self, name: str) -> Row:
        """The row of a category, empty where there is none."""
        return next((row for row in self.categories if words.plain(row.get("category")) == name), {})

    @property
    def detail(self) -> Row:
        """What the measurement keeps for figures and tables."""
        return mapping(self.measurement.get("detail"))


@dataclass(frozen=True)
class RateTable:
    """The labels of one source under one attack by category, checkpoints side by side, with their rates."""

    source: str
    attack: str
    """How the prompts were put; "" where the record does not say."""
    judge: str
    how: str
    """What else tells these completions from others: how long they are, which stored attacks."""
    over_refusal: bool
    columns: Mapping[str, Sequence[Reading]]
    """Checkpoint -> its rates; they count the same labels."""
    categories: Sequence[str]
    left_out: int
    """Categories that the table does not show."""
    others: Mapping[str, Sequence[Reading]] = field(default_factory=dict)
    """Checkpoints that are not shown in full, of many."""
    order: Sequence[str] = ()
    """All checkpoints, as a reader meets them."""

    def narrowed(self, names: Sequence[str], order: Sequence[str]) -> RateTable:
        """With labels, facts and conditions for these checkpoints, and a baseline; of the others the rates."""
        others = {name: found for name, found in self.columns.items() if name in order and name not in names}
        kept = {name: found for name, found in self.columns.items() if name not in others}
        return replace(self, columns=kept, others=others, order=order) if others else self

    @property
    def everyone(self) -> dict[str, Reading]:
        """Every checkpoint with the rate that is given by category: any but broken text, where there is one."""
        found = {}
        every = {**self.columns, **self.others}
        places = {name: place for place, name in enumerate(self.order)}
        for name, readings in sorted(every.items(), key=lambda part: places.get(part[0], len(places))):
            kinds = [one for one in readings if one.measurement.get("measure") != "degenerate_rate"]
            found[name] = (kinds or list(readings))[0]
        return found


def rate_tables(record: Row) -> list[RateTable]:
    """A table for each source, attack, judge and contract, in the record's order, over-refusal last.

    Those of one source stand together, and of these those under one attack, whatever the judge.
    """
    grouped: dict[tuple[str, ...], dict[str, list[Reading]]] = {}
    for row in rows(record, "measurements"):
        measure = words.plain(row.get("measure"))
        asked = bool(mapping(row.get("parameters")).get("source") or mapping(detail_of(row).get("counts")))
        if asked and measure not in ELSEWHERE and words.is_share(str(row.get("unit") or "")):
            column = grouped.setdefault(_key(row), {}).setdefault(words.plain(row.get("checkpoint")), [])
            column.append(Reading(titles.title(record, measure, row), row))
    places: dict[tuple[str, ...], int] = {}
    for key in grouped:
        places.setdefault(key[:1], len(places))
        places.setdefault(key[:2], len(places))
    tables = sorted(grouped.items(), key=lambda part: (places[part[0][:1]], places[part[0][:2]]))
    return sorted((_table(key, columns) for key, columns in tables), key=lambda table: table.over_refusal)


def _key(measurement: Row) -> tuple[str, ...]:
    parameters = mapping(measurement.get("parameters"))
    asked = words.plain(parameters.get("attack"))
    how = titles.attack(measurement, which=False)
    names = _SAME_COMPLETIONS if asked in ("none", "direct") else (*_SAME_COMPLETIONS, *_OF_ATTACK)
    source = words.plain(parameters.get("source"))
    return source, how, titles.judge(measurement), *(words.plain(parameters.get(name)) for name in names)


def _table(key: Sequence[str], columns: Mapping[str, Sequence[Reading]]) -> RateTable:
    readings = [reading for column in columns.values() for reading in column]
    names = list(dict.fromkeys(words.plain(row.get("category")) for one in readings for row in one.categories))
    first = mapping(readings[0].measurement.get("parameters"))
    tokens, chat = words.finite(first.get("max_new_tokens")), mapping(first.get("chat"))
    how = [
        "" if tokens is None else f"up to {words.plural(tokens, 'new token')}",
        f"prompts of {words.plain(first['attacks'])}" if first.get("attacks") else "",
        f"chat: {words.plain(chat)}" if chat else "",
    ]
    return RateTable(
        source=key[0],
        attack=f"{key[1]} only" if key[1] == titles.PLAIN else key[1],
        judge=key[2] or "none",
        how=" · ".join(part for part in how if part),
        over_refusal=any(one.measurement.get("measure") == "over_refusal_rate" for one in readings),
        columns=columns,
        categories=names[:MOST_CATEGORIES],
        left_out=max(0, len(names) - MOST_CATEGORIES),
    )


def few_of(row: Row) -> str:
    """`14/16` for a category among many; "" where it has no n."""
    hits, n = words.finite(row.get("hits")), words.finite(row.get("n"))
    if hits is None or not n:
        return ""
    return f"{words.count(hits) if hits.is_integer() else f'{hits:.1f}'}/{words.count(n)}"


def share_of(row: Row) -> str:
    """`14 of 16 [0.64, 0.97]` for a category, two decimals for a handful of rows; "" where it has no n.

    Hits of behaviours with several completions are means, so that they need not be whole: `12.4 of 16`.
    """
    hits, n = words.finite(row.get("hits")), words.finite(row.get("n"))
    if hits is None or not n:
        return ""
    low, high = words.finite(row.get("low")), words.finite(row.get("high"))
    ends = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return f"{words.count(hits) if hits.is_integer() else f'{hits:.1f}'} of {words.count(n)}{ends}"


@dataclass(frozen=True)
class Examples:
    """A few rows of one set of completions."""

    checkpoint: str
    source: str
    attack: str
    """How the prompts were put; "" where the record does not say."""
    judge: str
    total: str
    rows: Sequence[Row]

    @property
    def methods(self) -> bool:
        """Whether any row names the method of a stored attack."""
        return any(row.get("method") for row in self.rows)


def examples(record: Row) -> list[Examples]:
    """Rows of each set of completions with every label among them, text withheld."""
    sets = [entry for entry in mapping(record.get("completions")).values() if isinstance(entry, Mapping)]
    most = max(LEAST_EXAMPLES, min(MOST_EXAMPLES, MOST_ROWS // max(len(sets), 1)))
    return [
        Examples(
            words.plain(entry.get("checkpoint")),
            words.plain(entry.get("source")),
            words.plain(entry["attack"]) if entry.get("attack") else "",
            words.plain(entry.get("judge")),
            words.count(entry.get("n")),
            few(rows(entry, "rows"), most),
        )
        for entry in sets
    ]


def few(found: Sequence[Row], most: int = MOST_EXAMPLES) -> list[Row]:
    """About `most` rows in their order: the labels take turns, so that each is represented."""
    queues: dict[str, list[int]] = {}
    for index, row in enumerate(found):
        queues.setdefault(words.plain(row.get("label")), []).append(index)
    chosen: list[int] = []
    turn = 0
    while len(chosen) < min(max(most, len(queues)), len(found)):
        chosen += [queue[turn] for queue in queues.values() if turn < len(queue)]
        turn += 1
    return [found[index] for index in sorted(chosen[: max(most, len(queues))])]


def labels(tables: Iterable[RateTable], samples: Iterable[Examples]) -> list[str]:
    """The known labels that occur, in the order of the legend."""
    readings = [reading for table in tables for column in table.columns.values() for reading in column]
    counted = [reading.counts for reading in readings]
    counted += [mapping(row.get("counts")) for reading in readings for row in nested(reading.detail)]
    seen: set[Any] = {label for counts in counted for label, n in counts.items() if (words.finite(n) or 0) > 0}
    seen |= {words.plain(row.get("label")) for sample in samples for row in sample.rows}
    return [label for label in words.LABELS if label in seen]


def nested(detail: Row) -> list[Row]:
    """Every row of a measurement's tables that counts labels of its own."""
    return [row for name in ("categories", "judges", "conditions", "methods") for row in rows(detail, name)]
