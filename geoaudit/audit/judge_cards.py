"""What a record keeps of its judges: the card of each, so that a report can say how far to trust it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from geoaudit import judges


def cards(measurements: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The card of every known judge that the measurements name, those asked beside the first too; JSON-able.

    Args:
        measurements: of a record.
    """
    named: dict[str, None] = {}
    for one in measurements:
        detail = one.get("detail") or {}
        for name in (one.get("judge"), *(row.get("judge") for row in detail.get("judges", ()))):
            if name in judges.JUDGES:
                named[name] = None
    return {name: _card(name) for name in named}


def _card(name: str) -> dict[str, Any]:
    info = judges.info(name)
    card = info.card
    return {
        "kind": info.kind,
        "says": info.says,
        "labels": card.labels,
        "language": card.language,
        "limits": card.limits,
        "licence": card.licence,
        "made": card.made,
        "domain": list(card.domain),
        "agreement": [
            {
                "data": one.data,
                "question": one.question,
                "found": one.found,
                "positives": one.positives,
                "left": one.left,
                "negatives": one.negatives,
                "seen": one.seen,
            }
            for one in card.agreement
        ],
    }
