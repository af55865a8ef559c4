"""What an intervention costs, beside what its controls cost: rows of a table, and why there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.report import words
from geoaudit.report.titles import Row, listed, mapping


@dataclass(frozen=True)
class Cost:
    """One kind of damage."""

    name: str
    unedited: str
    """Without an edit, "" where that is what it is compared with."""
    edited: str
    controls: str
    """Mean, range and number of the controls."""


def missing(detail: Row) -> str:
    """Why damage was not read; "" where it was, or where nobody asked."""
    why = mapping(detail.get("damage")).get("missing")
    return words.plain(why) if why else ""


def read_on(detail: Row) -> str:
    """On what answers damage was read, as a sentence; "" where it was not."""
    found = mapping(detail.get("damage"))
    n, tokens = (words.finite(found.get(name)) for name in ("answers", "tokens"))
    if n is None or tokens is None:
        return ""
    return (
        f"KL over answers and perplexity: the unedited model's own answers to {words.plural(n, 'everyday request')}, "
        f"token by token, the first {words.count(tokens)} of each."
    )


def costs(detail: Row) -> list[Cost]:
    """What an intervention costs, from its record; a row without a number is left out."""
    damage = mapping(detail.get("damage"))
    matched = mapping(mapping(detail.get("controls")).get(words.plain(detail.get("decides", "kl_matched"))))
    n, tokens = (words.finite(damage.get(name)) for name in ("answers", "tokens"))
    found = [_row("KL at the first token, nats", "", detail.get("kl"), matched.get("kl"))]
    if n is not None and tokens is not None:
        so_far = f"first {words.plural(tokens, 'token')} of {words.plural(n, 'answer')}"
        low, high = (damage.get(f"kl_{end}") for end in ("low", "high"))
        found.append(_row(f"KL a token, {so_far}, nats", "", damage.get("kl"), damage.get("control_kl"), low, high))
        before = damage.get("perplexity_unedited")
        found.append(
            _row("Perplexity of these answers", before, damage.get("perplexity"), damage.get("control_perplexity"))
        )
    written = words.finite(damage.get("written"))
    if written is not None and words.finite(damage.get("broken")) is not None:
        name = f"Degenerate among {words.plural(written, 'answer')} that it writes itself"
        before = damage.get("broken_unedited")
        found.append(_row(name, before, damage.get("broken"), damage.get("control_broken"), unit="share"))
    return [row for row in found if not row.edited.startswith(words.NOT_MEASURED)]


def _row(
    name: str, before: Any, after: Any, controls: Any, low: Any = None, high: Any = None, *, unit: str = ""
) -> Cost:
    ends = words.interval(low, high, unit)
    return Cost(
        name,
        "" if words.finite(before) is None else words.number(before, unit),
        f"{words.number(after, unit)} {ends}".strip(),
        _spread([value for value in map(words.finite, listed(controls)) if value is not None], unit),
    )


def _spread(values: Sequence[float], unit: str) -> str:
    """`0.12 (0.05 to 0.31, 8)`: mean, range and number."""
    if not values:
        return ""
    mean = words.number(sum(values) / len(values), unit)
    return f"{mean} ({words.number(min(values), unit)} to {words.number(max(values), unit)}, {len(values)})"
