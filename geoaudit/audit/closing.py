"""What the end of an audit says: its outcomes counted, its files as seen from here, labels that fitted nothing."""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import Any

from geoaudit.audit.decide import OUTCOMES
from geoaudit.measures.labels import Labels, population_sha256


def unused(labels: Labels, result: dict[str, Any]) -> list[str]:
    """A line for each sample of labels that was drawn from other completions than those of this audit."""
    there = {
        population_sha256(row["exchange"] for row in found["rows"] if "exchange" in row)
        for found in result["completions"].values()
    }
    return [
        f"labels of {len(sample.answers)} completions ({sample.question}) fit nothing in this run: the model, the "
        "prompts or the answers are others than those that were labelled"
        for sample in labels.samples
        if sample.population not in there
    ]


def in_order(nodeid: str) -> list[str | int]:
    """A key that sorts step50 before step100; the same under xdist, where items report in any order."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", nodeid)]


def relative(file: str) -> str:
    """A file as seen from here; one that lies elsewhere as it is."""
    path = os.path.relpath(file)
    return file if path.startswith("..") else path


def reason(
    verdicts: list[dict[str, Any]], code: int, missing: list[str], uncollected: list[str], lost: list[str]
) -> str:
    """Why the run ended with its exit code, in a line."""
    counts = Counter(one["outcome"] for one in verdicts)
    parts = [f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]]
    if missing:
        parts.append(f"{len(missing)} not decided")
    parts += [f"{name} could not be collected" for name in uncollected]
    parts += [f"{len(lost)} worker{'s' if len(lost) > 1 else ''} lost"] if lost else []
    green = len(parts) == 1 and counts["passed"] > 0
    meaning = {
        0: "every assertion passed" if green else "inconclusive was allowed",
        1: "another test did not pass" if green else "not every assertion passed",
        2: "interrupted",
    }
    return f"{', '.join(parts)}" + (f" ({meaning[code]})" if code in meaning else "")
