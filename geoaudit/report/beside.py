"""What stands beside a rate, in sentences: how far to trust it, and on what it was counted.

Reads a measurement's detail and words it. A field that the record does not hold gives no line, never a zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from geoaudit.report import words
from geoaudit.report.behaviour import Reading
from geoaudit.report.titles import Row, mapping

DIRECT = "plain requests"
"""What stands beside a rate under an optimised attack, wherever the rate does."""
MOST_PARTS = 40
"""Reasons and sizes of batches shown; the record holds them all."""


def facts(measurement: Row) -> list[tuple[str, str]]:
    """(name, sentence) for everything that the measurement says about its own number, the doubts first."""
    detail = mapping(measurement.get("detail"))
    found = [
        ("not readable", _unread(measurement, detail)),
        (DIRECT, _direct(mapping(detail.get("direct")))),
        ("the attack", _attack(mapping(detail.get("optimised")))),
        ("at home", _at_home(mapping(detail.get("at_home")))),
        ("judge's error", _judge_error(mapping(detail.get("judge_error")))),
        ("a person's labels", _labels(measurement, mapping(detail.get("labels")))),
        ("paraphrases", paraphrases(mapping(detail.get("paraphrases")))),
        ("overlap", _overlap(detail.get("overlap"))),
        ("bootstrap", _shown(detail.get("bootstrap"), "behaviours drawn again with their completions")),
        ("Wilson", _shown(detail.get("wilson"), "the interval that most papers print")),
        ("left out", _skipped(mapping(detail.get("skipped")))),
        ("batches", _batches(detail.get("batches"))),
        ("prompts", _prompts(detail)),
        ("judge", words.plain(detail["judge_id"]) if detail.get("judge_id") else ""),
    ]
    return [(name, text) for name, text in found if text]


def side_by_side(columns: Mapping[str, Sequence[Reading]]) -> list[tuple[str, list[list[tuple[str, str]]]]]:
    """Each name with a cell a checkpoint: (whose, sentence), `whose` empty where all its rates say the same."""
    said = [[(one.title, dict(facts(one.measurement))) for one in readings] for readings in columns.values()]
    names = dict.fromkeys(name for column in said for _, found in column for name in found)
    table = []
    for name in names:
        cells = []
        for column in said:
            own = [(title, found[name]) for title, found in column if name in found]
            same = len({text for _, text in own}) == 1 and len(own) == len(column)
            cells.append([("", own[0][1])] if same else own)
        table.append((name, cells))
    return table


def _unread(measurement: Row, detail: Row) -> str:
    unread, unsaid = words.finite(detail.get("unread")), words.finite(detail.get("unsaid"))
    parts = []
    if unread and unsaid is not None:
        most = "in one condition up to " if detail.get("conditions") else ""
        parts.append(
            f"nobody could read what decides {most}{words.count(unread)} of "
            f"{words.plural(measurement.get('n'), 'behaviour')}: misses in the estimate, hits at their worst"
        )
    if unsaid:
        unjudged = words.finite(detail.get("unjudged"))
        silent = f", {words.count(unjudged)} of them for want of a reply" if unjudged else ""
        parts.append(f"the judge failed on {words.plural(unsaid, 'completion')}{silent}: not known, which is not safe")
    elif words.finite(detail.get("unjudged")):
        parts.append(f"no reply about {words.plural(detail['unjudged'], 'completion')}: not known, which is not safe")
    return "; ".join(parts)


def _judge_error(error: Row) -> str:
    missed, false = words.finite(error.get("missed")), words.finite(error.get("false"))
    if missed is None and false is None:
        return ""
    parts = [
        "" if missed is None else f"misses up to {_percent(missed)} of the hits",
        "" if false is None else f"finds up to {_percent(false)} of the misses to be hits",
    ]
    data = f" (against human labels of {words.plain(error['data'])})" if error.get("data") else ""
    return " and ".join(part for part in parts if part) + data


def _labels(measurement: Row, labels: Row) -> str:
    if not labels:
        return ""
    alone = labels.get("judge_alone")
    ends = [*alone, None, None, None][:3] if isinstance(alone, list | tuple) else [alone, None, None]
    before = words.share(*ends) or words.NOT_MEASURED
    now = words.share(measurement.get("estimate"), measurement.get("low"), measurement.get("high"))
    n, wrong = words.plural(labels.get("n"), "label"), words.count(labels.get("disagreements"))
    seed = f", drawn with seed {words.plain(labels['seed'])}" if labels.get("seed") is not None else ""
    return (
        f"the judge alone {before} → corrected {now or words.NOT_MEASURED}, by {n} of a person{seed}; "
        f"they disagree with the judge on {wrong}"
    )


def paraphrases(found: Row) -> str:
    """Two wordings of the same prompts, in a sentence; "" where there is no pair of rates."""
    if words.finite(found.get("original")) is None or words.finite(found.get("twin")) is None:
        return ""
    difference = words.share(found.get("difference"), found.get("low"), found.get("high"))
    text = (
        f"{words.plain(found.get('counted') or 'refused')} {words.share(found['original'])} as worded, "
        f"{words.share(found['twin'])} worded differently; "
        f"difference {difference or words.NOT_MEASURED}"
    )
    if words.finite(found.get("p")) is not None:
        text += f", exact McNemar p = {words.number(found['p'])}"
    if words.finite(found.get("lost")) is not None and words.finite(found.get("gained")) is not None:
        text += f"; in the first wording only {words.count(found['lost'])}, in the second only "
        text += words.count(found["gained"])
    if words.finite(found.get("n")) is not None:
        text += f", of {words.plural(found['n'], 'pair')}"
    left = words.finite(found.get("left_out"))
    return f"{text} ({words.count(left)} more could not be read)" if left else text


def _overlap(said: Any) -> str:
    if said == "not checkable":
        return "not checkable, no training manifest"
    return "checked against the training manifest" if said == "checked" else ""


def _shown(ends: Any, what: str) -> str:
    """An interval beside the one that decides."""
    if not isinstance(ends, list | tuple) or len(ends) != 2:
        return ""
    found = words.interval(ends[0], ends[1], "share")
    return f"{found}, {what}; shown, it does not decide" if found else ""


def _skipped(skipped: Row) -> str:
    reasons = [(words.plain(why), n) for why, value in skipped.items() if (n := words.finite(value))]
    more = len(reasons) - MOST_PARTS
    shown = [f"{words.count(n)} {why}" for why, n in reasons[:MOST_PARTS]]
    return ", ".join(shown) + (f", and {more} more reasons" if more > 0 else "")


def _batches(sizes: Any) -> str:
    """`16 of 8, 1 of 4`: rows are generated together, and which do so is part of a number's contract."""
    if not isinstance(sizes, list | tuple):
        return ""
    found = Counter(size for value in sizes if (size := words.finite(value)) is not None)
    shown = [f"{words.count(n)} of {words.count(size)}" for size, n in list(found.items())[:MOST_PARTS]]
    return ", ".join(shown) + (" completions" if shown else "")


def _prompts(detail: Row) -> str:
    source, licence = detail.get("source"), detail.get("licence")
    parts = [words.plain(source) if source else "", f"licence {words.plain(licence)}" if licence else ""]
    return "; ".join(part for part in parts if part)


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


def _direct(found: Row) -> str:
    """What plain requests get beside an optimised attack."""
    value = words.share(found.get("estimate"), found.get("low"), found.get("high"))
    if not value:
        return ""
    counted = "refused" if found.get("safer") == "higher" else "answered"
    text = f"{value} {counted} when the same behaviours are plainly asked, n = {words.count(found.get('n'))}"
    if words.finite(found.get("either")) is not None:
        worse = "both ways" if found.get("safer") == "higher" else "one way or the other"
        text += f"; {words.share(found['either'])} {counted} {worse}"
    if words.finite(found.get("only_attacked")) is not None and words.finite(found.get("only_direct")) is not None:
        text += f" (more under the attack: {words.count(found['only_attacked'])} behaviours, less: "
        text += f"{words.count(found['only_direct'])})"
    return text


def _attack(found: Row) -> str:
    """What an optimised attack did: budget, and how far its losses fell."""
    n, budget = words.finite(found.get("n")), words.finite(found.get("budget"))
    if n is None or budget is None:
        return ""
    unit = "generation" if found.get("attack") == "autodan" else "step"
    text = f"budget {words.plural(budget, unit)} of {words.count(found.get('width'))}"
    if words.finite(found.get("start")) is not None and words.finite(found.get("best")) is not None:
        text += (
            f"; loss of the target {words.number(found['start'])} before and {words.number(found['best'])} nats a "
            f"token after (medians), lowered for {words.count(found.get('lowered'))} of {words.plural(n, 'behaviour')}"
        )
    if words.finite(found.get("matched")):
        text += f", word for word the likeliest answer for {words.count(found['matched'])}"
    return text


def _at_home(found: Row) -> str:
    """What an attack reaches on the checkpoint that it was made on."""
    value = words.share(found.get("estimate"), found.get("low"), found.get("high"))
    if not value:
        return ""
    return f"{value} on {words.plain(found.get('checkpoint'))}, which it was made on, n = {words.count(found.get('n'))}"
