"""What an audit tested and what it did not, in plain words, from the record alone.

What is not in the record was not tested: no line here comes from what an audit usually does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geoaudit.report import changes, plainly, titles, words
from geoaudit.report.plainly import ATTACKS, BEHAVIOUR, BRIEFLY, SOURCES
from geoaudit.report.titles import Row, detail_of, mapping
from geoaudit.report.verdict import checkpoint_names, rows

_OF_THE_SAME_TEXT = ("degenerate_rate", "paraphrase_gap")
"""Measures that put no question of their own."""
MOST = 12
"""Kinds of question listed; the assertions below hold them all."""
NEVER = "conversations of several turns, tools, images, documents: geoaudit puts one request at a time"


@dataclass(frozen=True)
class Item:
    """One line of a list."""

    name: str
    text: str


def tested(record: Row) -> list[Item]:
    """Checkpoints, what was asked of them under which conditions, and what was read inside them."""
    names = checkpoint_names(record)
    found = [Item("checkpoints", _checkpoints(record, names))]
    asked: dict[str, list[Row]] = {}
    inside: dict[str, None] = {}
    for row in _measured(record):
        if _measure(row) in BEHAVIOUR:
            if _measure(row) not in _OF_THE_SAME_TEXT:
                asked.setdefault(_question(row), []).append(row)
        else:
            inside[titles.of_measure(record, words.plain(row.get("measure")))] = None
    questions = [f"{text}{_on(names, group)}" for text, group in asked.items()]
    more = len(questions) - MOST
    found += [Item("asked of them" if not index else "", text) for index, text in enumerate(questions[:MOST])]
    if more > 0:
        found.append(Item("", f"and {words.plural(more, 'more kind')} of question"))
    if inside:
        listed = list(inside)
        shown = ", ".join(f"{name[:1].lower()}{name[1:]}" if not name[:2].isupper() else name for name in listed[:MOST])
        rest = f", and {len(listed) - MOST} more" if len(listed) > MOST else ""
        found.append(Item("read inside them", f"{shown}{rest}: how refusal is carried, not whether it happens"))
    return found


def untested(record: Row) -> list[Item]:
    """What nobody may conclude anything about, the most important first."""
    names = checkpoint_names(record)
    found: list[Item] = []
    measured = _measured(record)
    if record.get("status") != "complete":
        found.append(Item("the rest of this audit", "it stopped before its end; what it had not reached is missing"))
    unanswered = _unanswered(record)
    if unanswered:
        found.append(Item("what came out invalid", unanswered))
    harmful = [row for row in measured if _harm(row)]
    if not harmful:
        found.append(Item("harmful requests", "none was put to the model: nothing here says whether it refuses them"))
    elif lacking := _lacking(names, harmful):
        found.append(Item("harmful requests", f"not put to {_list(lacking)}"))
    if harmful:
        attempted = {
            name: frozenset[str]().union(*(plainly.tried(r) for r in own)) for name, own in _by(harmful).items()
        }
        nowhere = [name for name in ATTACKS if not any(name in tried for tried in attempted.values())]
        partly = [
            name for name in ATTACKS if name not in nowhere and any(name not in attempted.get(one, ()) for one in names)
        ]
        if nowhere:
            found.append(Item("ways of attacking", f"{', '.join(BRIEFLY[name] for name in nowhere)}: none tried"))
        if partly:
            found.append(Item("", f"{', '.join(BRIEFLY[name] for name in partly)}: tried on some checkpoints only"))
    found += _judging(harmful)
    behaviour = {words.plain(row.get("measure")) for row in measured}
    if "over_refusal_rate" not in behaviour:
        found.append(Item("safe requests", "whether it refuses safe requests that only sound harmful"))
    if "benign_utility" not in behaviour:
        found.append(Item("usefulness", "whether its answers to ordinary requests are any good"))
    found += _conditions(record, harmful)
    silent = [name for name, own in _by(measured).items() if any(_unchecked(row) for row in own)]
    if silent:
        found.append(
            Item("prompts seen in training", f"could not be ruled out for {_list(silent)}: no training manifest")
        )
    if any(changes.kind(row) == changes.CHANGE for row in rows(record, "assertions")):
        noisy = [row for row in rows(record, "assertions") if changes.kind(row) == changes.CHANGE]
        if any("noise" in (result := mapping(row.get("result"))) and not result.get("noise") for row in noisy):
            found.append(Item("noise", "how far the same checkpoint differs from itself was not measured"))
    else:
        found.append(Item("changes", "no assertion compares a checkpoint with an earlier release"))
    found.append(Item("never tested here", NEVER))
    return found


def asks_harm(record: Row) -> bool:
    """Whether any harmful request was put to a model and counted."""
    return any(_harm(row) for row in _measured(record))


def ways(record: Row) -> frozenset[str]:
    """The ways in which harmful requests were put to every checkpoint, by the names of `ATTACKS`."""
    found = _by([row for row in _measured(record) if _harm(row)])
    tried = [
        frozenset[str]().union(*(plainly.tried(row) for row in found.get(name, [])))
        for name in checkpoint_names(record)
    ]
    return frozenset.intersection(*tried) if tried else frozenset()


def _measure(row: Row) -> str:
    return words.plain(row.get("measure"))


def _harm(row: Row) -> bool:
    return _measure(row) in {*plainly.OF_ATTACKS, "refusal_rate", "refusal_depth"} and plainly.harmful(row)


def _measured(record: Row) -> list[Row]:
    """Measurements with a number, of the checkpoints of this audit."""
    names = set(checkpoint_names(record))
    return [
        row
        for row in rows(record, "measurements")
        if words.finite(row.get("estimate")) is not None and words.plain(row.get("checkpoint")) in names
    ]


def _by(found: Sequence[Row]) -> dict[str, list[Row]]:
    made: dict[str, list[Row]] = {}
    for row in found:
        made.setdefault(words.plain(row.get("checkpoint")), []).append(row)
    return made


def _lacking(names: Sequence[str], found: Sequence[Row]) -> list[str]:
    have = _by(found)
    return [name for name in names if name not in have]


def _on(names: Sequence[str], found: Sequence[Row]) -> str:
    lacking = _lacking(names, found)
    return f" (not of {_list(lacking)})" if lacking else ""


def _list(names: Sequence[str]) -> str:
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _checkpoints(record: Row, names: Sequence[str]) -> str:
    runs = [row for row in rows(record, "trajectories") if len(titles.listed(row.get("checkpoints"))) > 1]
    if len(names) > 4 and runs:
        said = [f"{words.plain(row.get('name'))} ({_steps(row)})" for row in runs]
        members = {words.plain(one) for row in runs for one in titles.listed(row.get("checkpoints"))}
        alone = [name for name in names if name not in members]
        return f"{len(names)}: {_list([*said, *alone])}"
    return f"{len(names)}: {', '.join(names)}" if names else "none"


def _steps(row: Row) -> str:
    names = titles.listed(row.get("checkpoints"))
    steps = [step for name in names if (step := words.finite(mapping(row.get("steps")).get(name))) is not None]
    span = f", steps {words.count(min(steps))} to {words.count(max(steps))}" if len(steps) > 1 else ""
    return f"{words.plural(len(names), 'checkpoint')}{span}"


def _question(row: Row) -> str:
    n = words.finite(row.get("n"))
    size = "" if n is None else f"{words.count(n)} "
    measure = _measure(row)
    if measure == "benign_utility":
        what = f"{size}ordinary requests, their answers graded"
    elif measure == "refusal_depth":
        what = f"{size}harmful requests with more and more of an answer put into its mouth"
    else:
        what = f"{size}{plainly.asking(row) if measure != 'over_refusal_rate' else plainly.source(row)}"
        if mapping(row.get("parameters")).get("attack") == "worst":
            what = f"{size}{plainly.source(row)} asked plainly and in every way that costs nothing"
    judge = titles.judge(row)
    return f"{what}, judge {judge}" if judge else what


def _unanswered(record: Row) -> str:
    found = [row for row in rows(record, "assertions") if words.outcome_of(row) == "invalid"]
    if not found:
        return ""
    keys = {words.plain(row.get("key")): row for row in rows(record, "measurements")}
    compared = sum(changes.kind(row) != changes.BOUND for row in found)
    single = [row for row in found if changes.kind(row) == changes.BOUND]
    missing = sum(
        words.finite(keys.get(words.plain(row.get("measurement")), {}).get("estimate")) is None for row in single
    )
    doubted = len(single) - missing
    parts = [
        f"{missing} could not be measured" if missing else "",
        f"{doubted} {'has' if doubted == 1 else 'have'} a number that must not be trusted" if doubted else "",
        f"{compared} on changes or whole runs could not be decided" if compared else "",
    ]
    return f"{words.plural(len(found), 'assertion')}: {_list([part for part in parts if part])}"


def _judging(harmful: Sequence[Row]) -> list[Item]:
    if not harmful:
        return []
    judges = list(dict.fromkeys(titles.judge(row) for row in harmful if titles.judge(row)))
    found = []
    if judges and set(judges) <= titles.REFUSAL_JUDGES:
        found.append(
            Item("harm", f"whether answers do harm: {_list(judges)} only tells refusals from answers, so that rates of "
                 "answering are upper bounds")
        )  # fmt: skip
    if not any(len(rows(detail_of(row), "judges")) > 1 for row in harmful):
        found.append(Item("judges", "whether another judge, or a person, would have said the same"))
    return found


def _conditions(record: Row, harmful: Sequence[Row]) -> list[Item]:
    found = []
    if harmful and all(plainly.tried(row) <= {"direct"} for row in harmful):
        found.append(
            Item("conditions", "any other template, system prompt or decoding: all requests were put under one")
        )
    sources = {words.plain(mapping(row.get("parameters")).get("source") or "") for row in rows(record, "measurements")}
    sources -= {"none"}
    if sources:
        unknown = sorted(sources - set(SOURCES))
        text = "every prompt set used is in English"
        if unknown:
            text = f"the record does not say in which languages the prompts of {_list(unknown)} are"
        found.append(Item("other languages", text))
    return found


def _unchecked(row: Row) -> bool:
    return detail_of(row).get("overlap") == "not checkable"
