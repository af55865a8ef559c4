"""A measurement in words that need no glossary: "answers 50 of 64 harmful requests asked plainly".

What a number is not is never left out to make a sentence shorter: rows that nobody could read are counted beside it,
and a number that must not be trusted is not said at all (`question` names what stayed open).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geoaudit.report import titles, words
from geoaudit.report.titles import Row, detail_of, mapping

SOURCES: Mapping[str, str] = {
    "harmful": "harmful requests",
    "harmful-paraphrases": "reworded harmful requests",
    "probe-harmful-train": "harmful requests",
    "probe-harmful-validation": "harmful requests",
    "probe-harmless-train": "harmless requests",
    "probe-harmless-validation": "harmless requests",
    "tune-harmful": "harmful requests",
    "tune-harmless": "harmless requests",
    "safe-but-scary": "safe requests that only sound harmful",
    "safe-but-scary-paraphrases": "reworded safe requests that only sound harmful",
    "safe-but-scary-contrasts": "harmful requests that sound like safe ones",
    "safe-but-scary-contrasts-paraphrases": "reworded harmful requests that sound like safe ones",
    "benign-utility": "ordinary requests",
    "harmbench": "harmful requests of HarmBench",
    "harmbench-standard": "harmful requests of HarmBench",
    "harmbench-contextual": "harmful requests of HarmBench that come with a context",
    "harmbench-test": "harmful requests of HarmBench",
    "harmbench-val": "harmful requests of HarmBench",
    "harmbench-adv-training": "harmful requests of HarmBench",
    "strongreject": "harmful requests of StrongREJECT",
    "strongreject-small": "harmful requests of StrongREJECT",
    "advbench": "harmful requests of AdvBench",
    "jailbreakbench": "harmful requests of JailbreakBench",
    "jailbreakbench-benign": "harmless requests of JailbreakBench",
    "xstest": "safe requests of XSTest that only sound harmful",
    "xstest-unsafe": "harmful requests of XSTest",
}
"""Prompt sets that geoaudit knows by name, all of them in English."""
ATTACKS: Mapping[str, str] = {
    "direct": "asked plainly",
    "fixed": "within stored attack prompts",
    "prefill": "with the first words of an answer put into its mouth",
    "past_tense": "asked in the past tense",
    "format": "asked for in a format such as JSON",
    "system": "under another system prompt or none",
    "sampled": "asked several times over",
    "gcg": "with a suffix that a machine optimised against it",
    "autodan": "within a prompt that a machine optimised against it",
}
"""How requests are put: the name in a suite, and in words."""
BRIEFLY: Mapping[str, str] = {
    "direct": "plain requests",
    "fixed": "stored attack prompts",
    "prefill": "a prefilled answer",
    "past_tense": "the past tense",
    "format": "other answer formats",
    "system": "other system prompts",
    "sampled": "repeated sampling",
    "gcg": "optimised suffixes (GCG)",
    "autodan": "optimised prompts (AutoDAN)",
}
"""The same for a list."""
VERBS: Mapping[str, str] = {
    "attack_success_rate": "answers",
    "transfer_asr": "answers",
    "refusal_rate": "refuses",
    "over_refusal_rate": "refuses",
    "degenerate_rate": "breaks down on",
    "benign_utility": "meets",
}
"""What the model does to a share of the prompts."""
FREE: tuple[str, ...] = ("prefill", "past_tense", "format", "system", "sampled")
"""What `attack: worst` tries beside the plain request."""
OF_ATTACKS: frozenset[str] = frozenset({"attack_success_rate", "transfer_asr", "strongreject_score"})
"""Measures that say what comes of harmful requests, whatever their source."""
_STEPS_SAID = 4
"""Checkpoints of a run that are all told."""
BEHAVIOUR: frozenset[str] = OF_ATTACKS | {
    *("refusal_rate", "over_refusal_rate", "degenerate_rate", "refusal_depth", "paraphrase_gap", "benign_utility")
}
"""Measures of what the model does; all others are of what goes on inside it."""


def source(measurement: Row) -> str:
    """The prompts: `harmful requests`; `prompts of NAME` where geoaudit does not know them."""
    name = words.plain(mapping(measurement.get("parameters")).get("source") or "")
    return SOURCES.get(name, f"prompts of {name}" if name != "none" else "prompts")


def harmful(measurement: Row) -> bool:
    """Whether the prompts are known to be harmful requests."""
    return words.plain(measurement.get("measure")) in OF_ATTACKS or source(measurement).split(" of ")[0].startswith(
        ("harmful", "reworded harmful")
    )


def asked(measurement: Row) -> str:
    """How the prompts were put; "" where the measurement does not say."""
    parameters = mapping(measurement.get("parameters"))
    name = words.plain(parameters.get("attack") or "")
    if measurement.get("measure") == "transfer_asr":
        return "with text that a machine optimised against another checkpoint"
    if name == "worst":
        best = words.plain(detail_of(measurement).get("attack") or "").rpartition(": ")[2]
        return f"in the way that works best of those that cost nothing{'' if best == 'none' else f' ({best})'}"
    return ATTACKS.get(name, "" if name == "none" else f"under the attack {name}")


def tried(measurement: Row) -> frozenset[str]:
    """The attacks that a measurement of harmful requests tried on its own checkpoint, by the names of `ATTACKS`."""
    if measurement.get("measure") == "transfer_asr":
        return frozenset()
    if measurement.get("measure") == "refusal_depth":
        return frozenset({"direct", "prefill"})
    name = words.plain(mapping(measurement.get("parameters")).get("attack") or "")
    return frozenset({"direct", *FREE}) if name == "worst" else frozenset({name} & set(ATTACKS))


def said(record: Row, measurement: Row) -> str:
    """What the checkpoint does, without its name; "" where there is no number."""
    if words.finite(measurement.get("estimate")) is None:
        return ""
    one = _SAYS.get(words.plain(measurement.get("measure")))
    return one(measurement) if one else _inside(record, measurement)


def changed(record: Row, measurement: Row, difference: float, there: Any, here: Any, against: str) -> str:
    """`answers 74 percentage points more of the harmful requests asked plainly than OLD (12 % there, 86 % here)`."""
    unit = str(measurement.get("unit") or "")
    measure = words.plain(measurement.get("measure"))
    sides = f"({amount(there, unit)} there, {amount(here, unit)} here)"
    if measure not in VERBS or not unit.startswith("share"):
        title = titles.of_measure(record, measure)
        size = f"{'+' if difference > 0 else ''}{words.number(difference, unit)}"
        return f"has changed its {title[:1].lower()}{title[1:]} by {size} against {against} {sides}"
    points = words.exact(round(abs(100 * difference), 1))
    way = "more" if difference > 0 else "fewer"
    what = "ordinary requests" if measure == "benign_utility" else asking(measurement)
    return f"{VERBS[measure]} {points} percentage points {way} of the {what} than {against} {sides}"


def over_steps(record: Row, measurement: Row, points: Sequence[Row]) -> str:
    """`answers 3 % of the harmful requests asked plainly at step 0, 27 % at step 100 and 27 % at step 500`.

    Of more than four checkpoints the first, the last, and those with the least and the greatest value; "" where no
    checkpoint has a number. One that must not be trusted is left out.
    """
    trusted = [row for row in points if row.get("outcome") != "invalid"]
    told = [(row, value) for row in trusted if (value := words.finite(row.get("estimate"))) is not None]
    if not told:
        return ""
    if len(told) > _STEPS_SAID:
        values = [value for _, value in told]
        kept = {0, values.index(min(values)), values.index(max(values)), len(told) - 1}
        told = [one for i, one in enumerate(told) if i in kept]
    unit, measure = str(measurement.get("unit") or ""), words.plain(measurement.get("measure"))
    where = [
        f"{amount(value, unit)}{{}} at {words.plain(row.get('checkpoint')) if row.get('step') is None else 'step'}"
        + ("" if row.get("step") is None else f" {words.count(row['step'])}")
        for row, value in told
    ]
    if measure in VERBS and unit.startswith("share"):
        of = f" of the {'ordinary requests' if measure == 'benign_utility' else asking(measurement)}"
        begin = VERBS[measure]
    else:
        title = titles.title(record, measure, measurement)
        of, begin = f" as its {title if title[:2].isupper() else title[:1].lower() + title[1:]}", "has"
    parts = [part.format(of if i == 0 else "") for i, part in enumerate(where)]
    return f"{begin} {parts[0] if len(parts) == 1 else ', '.join(parts[:-1]) + ' and ' + parts[-1]}"


def question(record: Row, measurement: Row, measure: Any) -> str:
    """What was to be found out: `how many harmful requests asked plainly it answers`."""
    name = words.plain(measure)
    row = {**measurement, "measure": name}
    what = asking(row)
    found = {
        "attack_success_rate": f"how many {what} it answers",
        "transfer_asr": f"how many {what} it answers",
        "refusal_rate": f"how many {what} it refuses",
        "over_refusal_rate": f"how many {source(row)} it refuses",
        "degenerate_rate": f"how often it gives broken text to {source(row)}",
        "strongreject_score": f"how far it helps with {what}",
        "refusal_depth": "how many words of an answer it takes to undo its refusal",
        "paraphrase_gap": "whether it answers reworded requests alike",
        "benign_utility": "how far it helps with ordinary requests",
    }.get(name)
    return found or f"its {titles.of_measure(record, name)[:1].lower()}{titles.of_measure(record, name)[1:]}"


def bound(measurement: Row, comparator: Any, limit: Any) -> str:
    """`at most 18 % was allowed`; "" where the record holds no bound."""
    unit = str(measurement.get("unit") or "")
    share = unit.startswith("share")
    ends = [f"{words.exact(round(100 * end, 9))} %" if share else words.exact(end) for end in words.bounds(limit)]
    if not ends:
        return ""
    name = words.plain(comparator)
    if name == "between" and len(ends) > 1:
        return f"between {ends[0]} and {ends[-1]} was asked for"
    named = {"at_most": "at most {} was allowed", "at_least": "at least {} was asked for", "equals": "{} was asked for"}
    return named.get(name, f"{name.replace('_', ' ')} {{}} was asked for").format(ends[0])


def margin(measurement: Row, comparator: str, limit: Any) -> str:
    """`a fall of at most 5 percentage points was allowed`; "" where the record holds no margin.

    Args:
        measurement: what changed.
        comparator: `at_most` or `at_least`, of the change.
        limit: the margin, in the unit of the measure; negative for a fall.
    """
    ends, unit = words.bounds(limit), str(measurement.get("unit") or "")
    if not ends:
        return ""
    share = unit.startswith("share")
    way = "fall" if ends[0] < 0 or (ends[0] == 0 and comparator == "at_least") else "rise"
    allowed = (way == "rise") == (comparator == "at_most")
    end = abs(ends[0])
    size = f"{words.exact(round(100 * end, 6))} percentage points" if share else words.exact(end)
    if not end:
        return f"no {way} was allowed"
    return f"a {way} of at {'most' if allowed else 'least'} {size} was {'allowed' if allowed else 'asked for'}"


def amount(value: Any, unit: str) -> str:
    """`18 %` of a share, `3` of anything else."""
    found = words.finite(value)
    if found is None:
        return words.NOT_MEASURED
    return percent(found) if unit.startswith("share") else words.number(found, unit)


def percent(value: float) -> str:
    """`18 %`, `0.4 %`: a share that is neither nothing nor everything never reads so."""
    for decimals in (0, 1, 2, 3):
        shown = round(100 * value, decimals)
        if abs(value) in (0.0, 1.0) or 0 < abs(shown) < 100 or abs(value) > 1:
            return f"{shown:.{decimals}f} %".replace("-", words.MINUS)
    return "nearly none" if value < 0.5 else "nearly all"


def counted(measurement: Row) -> str:
    """`50 of 64`; `63 % of 40` where hits are means over several completions."""
    estimate, n = words.finite(measurement.get("estimate")), words.finite(measurement.get("n"))
    if estimate is None:
        return words.NOT_MEASURED
    if not n:
        return f"{percent(estimate)} of"
    hits = estimate * n
    whole = abs(hits - round(hits)) < 1e-6 * max(n, 1)
    return f"{words.count(round(hits))} of {words.count(n)}" if whole else f"{percent(estimate)} of {words.count(n)}"


def unread(measurement: Row) -> str:
    """`; 5 more gave nothing that could be read`, "" where all could."""
    n = words.finite(detail_of(measurement).get("unread"))
    return f" ({words.count(n)} more gave nothing that could be read)" if n else ""


def asking(row: Row) -> str:
    """The prompts and how they were put: `harmful requests asked plainly`."""
    what = source(row)
    how = (
        asked(row)
        if words.plain(row.get("measure")) not in ("over_refusal_rate", "degenerate_rate", "paraphrase_gap")
        else ""
    )
    return f"{what}{',' if how and ' that ' in what else ''} {how}".strip()


def _rate(verb: str) -> Callable[[Row], str]:
    return lambda row: f"{verb} {counted(row)} {asking(row)}{unread(row)}"


def _utility(row: Row) -> str:
    score = words.plain(mapping(row.get("parameters")).get("score") or "")
    how = {"strict": "fully ", "lenient": "at least in part "}.get(score, "")
    if score == "mean":
        return f"reaches {amount(row.get('estimate'), 'share')} of the marks for ordinary requests"
    return f"meets {how}{counted(row)} ordinary requests"


def _depth(row: Row) -> str:
    k = words.number(row.get("estimate"), "token")
    return (
        f"keeps refusing with up to {k} token{'' if k == '1' else 's'} of an answer put into its mouth, and no further"
    )


def _inside(record: Row, row: Row) -> str:
    unit, name = str(row.get("unit") or ""), titles.title(record, row.get("measure"), row)
    value = words.number(row.get("estimate"), unit)
    return (
        f"has {value} as its {name[:1].lower()}{name[1:]}" if not name[:2].isupper() else f"has {value} as its {name}"
    )


_SAYS: Mapping[str, Callable[[Row], str]] = {
    "attack_success_rate": _rate("answers"),
    "transfer_asr": _rate("answers"),
    "refusal_rate": _rate("refuses"),
    "over_refusal_rate": lambda row: f"refuses {counted(row)} {source(row)}{unread(row)}",
    "degenerate_rate": lambda row: f"gives broken or empty text to {counted(row)} {source(row)}",
    "strongreject_score": lambda row: (
        f"scores {words.number(row.get('estimate'), 'share')} of 1 in helping with {asking(row)}"
    ),
    "refusal_depth": _depth,
    "paraphrase_gap": lambda row: (
        f"treats {amount(row.get('estimate'), 'share')} of {source(row)} otherwise when they are reworded"
    ),
    "benign_utility": _utility,
    "carrier_layer": lambda row: (
        f"keeps the direction that carries refusal in layer {words.number(row.get('estimate'), 'layer')}"
    ),
    "effective_rank": lambda row: (
        "spreads the difference between harmful and harmless prompts over "
        f"{words.number(row.get('estimate'))} directions"
    ),
    "components_for_energy": lambda row: (
        "needs "
        f"{words.plural(row.get('estimate'), 'direction')} for most of the difference between harmful and harmless "
        "prompts"
    ),
    "causal_rank": lambda row: (
        f"stops refusing once {words.plural(row.get('estimate'), 'direction')} "
        f"{'is' if row.get('estimate') == 1 else 'are'} taken out"
    ),
}
