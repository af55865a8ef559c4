"""Who said what the completions are: each judge of an audit with its card, its errors, and who disagreed with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geoaudit.report import titles, words
from geoaudit.report.titles import Row, detail_of, listed, mapping
from geoaudit.report.verdict import rows

SAYS: Mapping[str, str] = {
    "refusal": "whether a completion refuses, in full or in part; not whether an answer does harm",
    "harm": "whether a completion does what the harmful request asked for",
    "score": "how far a completion helps with a forbidden request, from 0 to 1",
    "utility": "how far a completion helps with an ordinary request",
}
"""What a judge labels, by the kind that the record gives."""
FIELDS: Mapping[str, str] = {
    "labels": "labels",
    "language": "language",
    "limits": "known limits",
    "made": "how it was made",
    "licence": "licence",
}
"""Parts of a judge's card, in the order of the page."""
MOST_AGREEMENTS = 6
"""Comparisons with people that are shown of a card; the record holds them all."""


@dataclass(frozen=True)
class Judge:
    """One judge of the audit."""

    name: str
    card: Row
    """As the record has it; empty where it has none."""
    measurements: tuple[Row, ...]
    """Those that it decides."""
    lines: int
    """Assertions that rest on it."""
    flips: int
    """Of these, how many another judge would have decided otherwise."""
    asked: int
    """Completions that it read."""
    failed: int
    """Of these, how many it gave no verdict on."""

    @property
    def says(self) -> str:
        """What it can say."""
        own = words.plain(self.card.get("says") or "")
        found = SAYS.get("refusal" if own == "none" and self.name in titles.REFUSAL_JUDGES else own, "")
        return found or "the record does not say what it labels"

    @property
    def ids(self) -> list[str]:
        """Its rules or weights, by hash."""
        found = [detail_of(row).get("judge_id") for row in self.measurements]
        return list(dict.fromkeys(words.plain(one) for one in found if one))

    @property
    def fields(self) -> list[tuple[str, str]]:
        """(name, text) of its card."""
        return [(text, words.plain(self.card[name])) for name, text in FIELDS.items() if self.card.get(name)]

    @property
    def errors(self) -> list[tuple[str, str]]:
        """(measures, how often it errs in what they count, against people), once each."""
        found: dict[str, dict[str, None]] = {}
        for row in self.measurements:
            text = _error(mapping(detail_of(row).get("judge_error")))
            if text:
                found.setdefault(text, {})[words.plain(row.get("measure"))] = None
        return [(", ".join(measures), text) for text, measures in found.items()]

    @property
    def agreements(self) -> list[tuple[str, str, str]]:
        """(set, question, how often it agrees with people) of its card."""
        made = []
        for row in rows(self.card, "agreement")[:MOST_AGREEMENTS]:
            numbers = [words.finite(row.get(name)) for name in ("found", "positives", "left", "negatives")]
            if None in numbers:
                continue
            found, positives, left, negatives = (int(number) for number in numbers if number is not None)
            text = f"finds {found:,} of {positives:,}, leaves {left:,} of {negatives:,} alone"
            seen = "; these rows were seen while it was made" if row.get("seen") else ""
            made.append((words.plain(row.get("data")), words.plain(row.get("question")), f"{text}{seen}"))
        return made

    @property
    def beside(self) -> list[str]:
        """Other judges that read the same completions, and how far they agree."""
        found: dict[str, list[tuple[float, float]]] = {}
        for row in self.measurements:
            for one in rows(detail_of(row), "agreement"):
                pair = [words.plain(name) for name in listed(one.get("judges"))]
                share, n = words.finite(one.get("agreement")), words.finite(one.get("n"))
                if len(pair) == 2 and pair[0] == self.name and share is not None and n:
                    found.setdefault(pair[1], []).append((share, n))
        said = []
        for name, pairs in found.items():
            total = sum(n for _, n in pairs)
            agreed = sum(share * n for share, n in pairs)
            said.append(f"{name} agrees on {words.count(round(agreed))} of {words.count(total)} labels")
        return said


def judges(record: Row) -> list[Judge]:
    """Every judge that decided a measurement, in the record's order."""
    decided: dict[str, list[Row]] = {}
    for row in rows(record, "measurements"):
        name = titles.judge(row)
        if name and detail_of(row).get("counts"):
            decided.setdefault(name, []).append(row)
    given = mapping(record.get("judges"))
    made = []
    for name, own in decided.items():
        keys = {words.plain(row.get("key")) for row in own}
        lines = [one for one in rows(record, "assertions") if words.plain(one.get("measurement")) in keys]
        flips = sum(any(_flip(flag) for flag in rows(one, "flags")) for one in lines)
        sets: dict[str, Row] = {}
        for row in own:  # several measurements read one set of completions
            sets.setdefault(words.plain(detail_of(row).get("completions") or row.get("key")), detail_of(row))
        asked = sum(_whole(n) for one in sets.values() for n in mapping(one.get("counts")).values())
        failed = sum(_whole(one.get("unsaid")) for one in sets.values())
        made.append(Judge(name, mapping(given.get(name)), tuple(own), len(lines), flips, asked, failed))
    return made


def _flip(flag: Row) -> bool:
    return flag.get("name") == "judge-flip" and flag.get("effect") == "stops"


def _whole(value: Any) -> int:
    return round(words.finite(value) or 0)


def _error(found: Row) -> str:
    missed, false = words.finite(found.get("missed")), words.finite(found.get("false"))
    if missed is None and false is None:
        return ""
    parts = [
        "" if missed is None else f"misses up to {words.exact(round(100 * missed, 1))} % of what people find",
        "" if false is None else f"finds up to {words.exact(round(100 * false, 1))} % of what people do not",
    ]
    data = f", on {words.plain(found['data'])}" if found.get("data") else ""
    return " and ".join(part for part in parts if part) + data
