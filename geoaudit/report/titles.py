"""What a measurement is called: its measure, what its judge can say, and how the prompts were put.

A judge of refusals cannot tell whether an answer does harm. Under one, the attack success rate is the share of prompts
that were not refused, and is called so: a reader must not take an upper bound for the rate itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geoaudit.report import words

Row = Mapping[str, Any]

REFUSAL_JUDGES: frozenset[str] = frozenset(
    {"refusal", "xstest-strings", "refusal-direction-strings", "advbench-strings", "xstest-rubric"}
)
"""Judges that say whether a completion refuses. A record names its judges and does not say what they judge."""
NON_REFUSAL = "Non-refusal rate (upper bound on ASR)"
PLAIN = "plain requests"
_OF_ATTACKS = ("attack_success_rate", "transfer_asr", "strongreject_score")
_SUCCESS = ("attack_success_rate", "transfer_asr")
"""Rates that are upper bounds under a judge of refusals."""
"""Measures of attacks: they say how the prompts were put even where that is no attack at all."""


def title(record: Row, measure: Any, measurement: Row, *, which: bool = True) -> str:
    """`Non-refusal rate (upper bound on ASR), plain requests only`, `Refusal rate, past tense`.

    Args:
        record: names the measures.
        measure: the measure's name; anything else is written as it is.
        measurement: empty where there is none.
        which: whether a rate under the worst of several conditions names it; checkpoints differ in it.
    """
    name = words.plain(measure)
    found = str(mapping(mapping(record.get("measures")).get(name)).get("title") or name)
    if name in _SUCCESS and judge(measurement) in REFUSAL_JUDGES:
        found = NON_REFUSAL
    how = attack(measurement, which=which)
    if how == PLAIN:
        found += f", {PLAIN} only" if name in _OF_ATTACKS else ""
    elif how:
        found += f", {how}"
    counted = mapping(measurement.get("parameters")).get("refusal")
    return found if counted in (None, "any") else f"{found}, {words.plain(counted)}"


def short(title: str) -> str:
    """A title without how the prompts were put and without its explanation, where a table has said both."""
    if title.startswith(NON_REFUSAL):
        return NON_REFUSAL.partition(" (")[0]
    return title.partition(",")[0]


def of_measure(record: Row, measure: str) -> str:
    """The title of a measure for all its measurements: both names of the attack success rate where both are meant."""
    own = mapping(mapping(record.get("measures")).get(measure)).get("title")
    found = str(own or measure)
    if measure not in _SUCCESS:
        return found
    rows = record.get("measurements")
    asked = [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []
    judges = {judge(row) for row in asked if row.get("measure") == measure}
    if not judges & REFUSAL_JUDGES:
        return found
    return NON_REFUSAL if judges <= REFUSAL_JUDGES else f"{found}; under a judge of refusals: {NON_REFUSAL}"


def judge(measurement: Row) -> str:
    """The judge that decides: the first of those that were asked; "" where there is none."""
    asked = measurement.get("judge") or mapping(measurement.get("parameters")).get("judge")
    if isinstance(asked, list | tuple):
        asked = asked[0] if asked else None
    return words.plain(asked) if asked else ""


def attack(measurement: Row, *, which: bool = True) -> str:
    """How the prompts were put, in words; "" where the measurement does not say. `which` as in `title`."""
    how = words.plain(mapping(measurement.get("detail")).get("attack") or "")
    if how != "none":
        return how if which or not how.startswith("worst of ") else how.partition(":")[0]
    asked = mapping(measurement.get("parameters")).get("attack")
    if asked is None:
        return ""
    return PLAIN if asked == "direct" else words.plain(asked).replace("_", " ")


def mapping(value: Any) -> Row:
    """The value where it is a mapping, else an empty one: a record is read with whatever it holds."""
    return value if isinstance(value, Mapping) else {}


def detail_of(measurement: Row) -> Row:
    """What a measurement keeps for figures and tables; empty where it keeps nothing."""
    return mapping(measurement.get("detail"))


def listed(value: Any) -> Sequence[Any]:
    """The value where it is a list, else an empty one."""
    return value if isinstance(value, list | tuple) else ()
