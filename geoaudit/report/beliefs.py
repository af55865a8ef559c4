"""Beliefs of harmfulness and of refusal as a reader meets them: two scores, who refused what, reply inversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geoaudit.report import words
from geoaudit.report.titles import Row, detail_of, listed, mapping
from geoaudit.report.verdict import rows

KINDS: Mapping[str, str] = {
    "harmful": "harmful",
    "harmless": "harmless",
    "scary": "safe, sounds harmful",
}
"""What was asked, in the order of tables and legends."""
ANSWERS: Mapping[str, str] = {"refused": "refused", "answered": "answered", "unread": "not readable"}
GROUPS: Mapping[str, str] = {
    f"{kind}_{answer}": f"{text}, {answer}" for kind, text in KINDS.items() for answer in ("refused", "answered")
}
"""Groups with points in the figure."""
SCORES: Mapping[str, str] = {"harmfulness": "belief of harmfulness", "refusal": "belief of refusal"}
_SAME = ("centres", "n_layers", "quadrants", "groups")


@dataclass(frozen=True)
class Belief:
    """The two scores of one set of prompts on one checkpoint, with all measures that were read from them."""

    checkpoint: str
    detail: Row
    measurements: Sequence[Row]

    @property
    def made_of(self) -> str:
        """What the centres are made of, and over how many layers scores are averaged."""
        centres = mapping(self.detail.get("centres"))
        parts = [
            f"centres of {words.count(centres.get('harmful_refused'))} harmful prompts that were refused and "
            f"{words.count(centres.get('harmless_answered'))} harmless ones that were answered"
        ]
        layers = words.finite(self.detail.get("n_layers"))
        if layers is not None:
            parts.append(f"averaged over the inputs of {words.count(layers)} layers and the output of the last")
        return "; ".join(parts)

    @property
    def groups(self) -> list[Row]:
        """The groups of the figure that have prompts, in the order of the legend."""
        found = {words.plain(row.get("group")): row for row in rows(self.detail, "groups")}
        return [found[name] for name in GROUPS if name in found and words.finite(found[name].get("n"))]

    def points(self, group: Row) -> list[tuple[float, float]]:
        """(belief of harmfulness, belief of refusal) of each prompt of a group that has both."""
        found = []
        for one, other in zip(listed(group.get("harmfulness")), listed(group.get("refusal")), strict=False):
            x, y = words.finite(one), words.finite(other)
            if x is not None and y is not None:
                found.append((x, y))
        return found

    @property
    def scatter(self) -> list[tuple[str, list[tuple[float, float]]]]:
        """Group and points, of the groups that have any."""
        found = [(words.plain(row.get("group")), self.points(row)) for row in self.groups]
        return [(name, points) for name, points in found if points]

    @staticmethod
    def value(row: Row) -> str:
        """Whose value a measurement is, estimate and interval; why there is none."""
        group = mapping(row.get("parameters")).get("group")
        of = f"{GROUPS.get(words.plain(group), words.plain(group))}: " if group else ""
        if words.finite(row.get("estimate")) is None:
            return of + words.missing_reason(row)
        unit = words.plain(row.get("unit"))
        ends = words.interval(row.get("low"), row.get("high"), unit)
        chance = mapping(mapping(mapping(detail_of(row).get("beliefs")).get("null")).get("permuted"))
        level = words.interval(chance.get("low"), chance.get("high"), unit)
        beside = f"; permuted labels give {level}" if level else ""
        return f"{of}{words.number(row['estimate'], unit)} {ends}, n = {words.count(row.get('n'))}{beside}"

    @property
    def quadrants(self) -> list[tuple[str, list[str]]]:
        """Kind of prompt; how many of it got each answer, and of how many the belief of harmfulness is above 0."""
        found = mapping(self.detail.get("quadrants"))
        table = []
        for kind, text in KINDS.items():
            row = mapping(found.get(kind))
            if row:
                table.append((text, [_counted(row, answer) for answer in ANSWERS]))
        return table

    @property
    def means(self) -> list[tuple[str, list[str]]]:
        """Group; n, and the mean of either score."""
        return [
            (
                GROUPS[words.plain(row.get("group"))],
                [words.count(row.get("n")), *(words.number(row.get(f"{name}_mean")) for name in SCORES)],
            )
            for row in self.groups
        ]

    @property
    def separation(self) -> list[tuple[str, str, list[str]]]:
        """Comparison, numbers of prompts, AUROC of either score; without those that have none."""
        found = []
        for row in rows(self.detail, "separation"):
            values = [words.finite(row.get(name)) for name in SCORES]
            if any(value is not None for value in values):
                sizes = " against ".join(words.count(n) for n in listed(row.get("n")))
                shown = [words.number(value, "share") for value in values]
                found.append((words.plain(row.get("comparison")), sizes, shown))
        return found


@dataclass(frozen=True)
class Inversion:
    """The reply-inversion task on one checkpoint."""

    measurement: Row

    @property
    def checkpoint(self) -> str:
        """Its name."""
        return words.plain(self.measurement.get("checkpoint"))

    @property
    def detail(self) -> Row:
        """What the task keeps."""
        return mapping(detail_of(self.measurement).get("inversion"))

    @property
    def value(self) -> str:
        """Estimate and interval, or why there is none."""
        row = self.measurement
        if words.finite(row.get("estimate")) is None:
            return words.missing_reason(row)
        ends = words.interval(row.get("low"), row.get("high"))
        return f"{words.number(row['estimate'])} nats {ends}, n = {words.count(row.get('n'))}"

    @property
    def where(self) -> str:
        """Layer, dose, requests and answers."""
        given, answers = mapping(self.measurement.get("parameters")), mapping(self.detail.get("answers"))
        layer = words.number(given.get("layer"), "layer")
        return (
            f"layer {layer}, coefficient {words.plain(given.get('coefficient'))}, {words.plain(given.get('requests'))} "
            f"requests in {words.plural(self.detail.get('wordings'), 'wording')}; "
            f"{words.plain(answers.get('harmful'))} means harmful, {words.plain(answers.get('harmless'))} harmless"
        )

    @property
    def strips(self) -> list[tuple[str, Sequence[object], object]]:
        """For each direction: its name, the effects of its matched controls, its own."""
        harmful = mapping(self.measurement.get("parameters")).get("requests") == "harmful"
        verb = "taking away" if harmful else "adding"
        found: list[tuple[str, Sequence[object], object]] = []
        for row in rows(self.detail, "directions"):
            values, kept = listed(row.get("controls")), listed(row.get("matched"))
            matched = [value for value, keep in zip(values, kept, strict=False) if keep is True]
            name = {"H": "harmfulness (H)", "R": "refusal (R)"}.get(words.plain(row.get("direction")), "")
            found.append((f"{verb} {name}: shift of the log-odds, nats", matched, row.get("effect")))
        return found

    @property
    def p(self) -> str:
        """The rank of H less R among pairs of controls."""
        p = words.finite(self.detail.get("p"))
        return "" if p is None else f"H less R among pairs of their controls: p = {words.number(p)}"

    @property
    def table(self) -> list[tuple[str, list[str]]]:
        """For each direction: shift, controls' mean, KL, length, probability of the two answers."""
        made = []
        for (_, matched, _), row in zip(self.strips, rows(self.detail, "directions"), strict=True):
            known = [value for value in map(words.finite, matched) if value is not None]
            mean = words.number(sum(known) / len(known)) if known else words.NOT_MEASURED
            cells = [words.number(row.get("effect")), f"{mean} ({len(known)})"]
            made.append(
                (words.plain(row.get("direction")), cells + [words.number(row.get(name)) for name in COLUMNS_OF_ROW])
            )
        return made


COLUMNS: Sequence[str] = ("Shift, nats", "Mean of controls (n)", "KL, nats", "Length", "Probability of the answers")
COLUMNS_OF_ROW = ("kl", "norm", "mass")


def beliefs(record: Row) -> list[Belief]:
    """Each set of scores once, in the record's order."""
    grouped: dict[tuple[str, ...], list[Row]] = {}
    for row in rows(record, "measurements"):
        detail = mapping(detail_of(row).get("beliefs"))
        if detail:
            key = words.plain(row.get("checkpoint")), *(repr(detail.get(name)) for name in _SAME)
            grouped.setdefault(key, []).append(row)
    return [Belief(key[0], mapping(detail_of(group[0]).get("beliefs")), group) for key, group in grouped.items()]


def inversions(record: Row) -> list[Inversion]:
    """Every reply-inversion task of the record."""
    return [Inversion(row) for row in rows(record, "measurements") if row.get("measure") == "reply_inversion"]


def _counted(row: Row, answer: str) -> str:
    n, believed = words.finite(row.get(answer)), words.finite(row.get(f"{answer}_believed"))
    if n is None:
        return words.count(None)
    return words.count(n) if believed is None else f"{words.count(n)} ({words.count(believed)} believed harmful)"
