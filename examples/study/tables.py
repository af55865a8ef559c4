"""The study's tables: what the papers print of their checkpoints, and the same of ours, read from records of audits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PAPERS: dict[str, dict[int | str, dict[str, Any]]] = yaml.safe_load(Path(__file__).with_name("papers.yaml").read_text())
MISSING = "—"
"""Not measured here, or not printed by the papers: never a zero."""
Found = Mapping[str, Any]
"""One measurement of a record."""


@dataclass(frozen=True)
class Column:
    """A column of a table: a heading, and what stands there for a checkpoint."""

    heading: str
    cell: Callable[[Records, str], str]
    measure: str = ""
    """What it shows of ours, which a line of the suites must ask for; empty for the papers' numbers."""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Records:
    """Everything that was measured, by checkpoint."""

    measured: Mapping[str, Sequence[Found]]
    steps: Mapping[str, int | None]
    claims: Sequence[Mapping[str, Any]]

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> Records:
        """Of several audits, checkpoints in the order in which they stand there."""
        measured: dict[str, list[Found]] = {}
        steps: dict[str, int | None] = {}
        claims: list[Mapping[str, Any]] = []
        for record in records:
            for checkpoint in record["checkpoints"]:
                measured.setdefault(checkpoint["name"], [])
            untrusted = set(_untrusted(record["assertions"]))
            for one in record["measurements"]:
                measured.setdefault(one["checkpoint"], []).append({**one, "untrusted": one["key"] in untrusted})
            for run in record["trajectories"]:
                steps.update(run["steps"])
            claims += record["assertions"]
        return cls(measured, steps, claims)

    def find(self, checkpoint: str, measure: str, **parameters: Any) -> Found | None:
        """The measurement with these parameters, on the most prompts if there are several; None if there is none."""
        fits = [
            one
            for one in self.measured[checkpoint]
            if one["measure"] == measure
            and all(one["parameters"].get(name) == value for name, value in parameters.items())
        ]
        return max(fits, key=lambda one: one["n"] or 0, default=None)

    def printed(self, checkpoint: str, name: str) -> Any:
        """What the papers print under this name for the same step of the same regime; None if nothing."""
        regime, _, _ = checkpoint.rpartition("/")
        step = self.steps.get(checkpoint)
        return PAPERS.get(regime, {}).get("start" if step == 0 else step or "", {}).get(name)


def _untrusted(assertions: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Keys of measurements that came out invalid where they were decided, which their own flags do not tell.

    Unreadable answers are such a reason: the rate of a model that says nothing is a plain zero.
    """
    for one in assertions:
        if one.get("kind") == "bound" and one["outcome"] == "invalid":
            yield one["measurement"]
        points = one.get("result", {}).get("points", ())
        stopped = tuple(f"{row['checkpoint']}/" for row in points if row.get("outcome") == "invalid")
        yield from (key for key in (one["measurement"], *one["others"]) if key.startswith(stopped))


def short(value: float) -> str:
    """Three digits of a number, and no more than a table can bear."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def stopped(found: Found) -> bool:
    """Whether no verdict may rest on this number."""
    return bool(found["untrusted"]) or any(flag["effect"] == "stops" for flag in found["flags"])


def number(found: Found | None) -> str:
    """A measurement with its interval; with a dagger where a check stopped it."""
    if found is None or found["estimate"] is None:
        return MISSING
    interval = f" [{short(found['low'])}, {short(found['high'])}]" if found["low"] is not None else ""
    return f"{short(found['estimate'])}{interval}{' †' if stopped(found) else ''}"


def detail(found: Found | None, *path: str) -> Any:
    """What a measurement keeps under this path of keys; None where it does not."""
    value: Any = found["detail"] if found is not None else None
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def measured(heading: str, measure: str, **parameters: Any) -> Column:
    """A column of one measure."""
    return Column(heading, lambda records, name: number(records.find(name, measure, **parameters)), measure, parameters)


def kept(heading: str, measure: str, *path: str, **parameters: Any) -> Column:
    """A column of a number that stands beside a measure's own."""

    def cell(records: Records, name: str) -> str:
        found = records.find(name, measure, **parameters)
        value = detail(found, *path)
        return MISSING if value is None or found is None else short(value) + (" †" if stopped(found) else "")

    return Column(heading, cell, measure, parameters)


def papers(heading: str, name: str) -> Column:
    """A column of the papers' numbers."""

    def cell(records: Records, checkpoint: str) -> str:
        value = records.printed(checkpoint, name)
        if value is None:
            return MISSING
        return ", ".join(f"{one:g}" for one in value) if isinstance(value, list) else f"{value:g}"

    return Column(f"papers: {heading}", cell)


def place(heading: str, measure: str = "carrier_layer", **parameters: Any) -> Column:
    """A column of (position, layer), with the layer's interval."""

    def cell(records: Records, name: str) -> str:
        found = records.find(name, measure, **parameters)
        chosen = detail(found, "selected") or detail(found, "nearest")
        if found is None or chosen is None:
            return MISSING
        spread = f" [{found['low']:g}, {found['high']:g}]" if found["low"] is not None else ""
        return f"({chosen['position']}, {chosen['layer']}){spread}{' †' if stopped(found) else ''}"

    return Column(heading, cell, measure, parameters)


@dataclass(frozen=True)
class Table:
    """A table of the study."""

    title: str
    columns: Sequence[Column]
    note: str = ""
    only: Sequence[str] = field(default=())
    """Begins of names; empty for every checkpoint."""

    def markdown(self, records: Records) -> str:
        """The table, with a row for each checkpoint of which anything of it is known."""
        rows = [
            [f"`{name}`", *(column.cell(records, name) for column in self.columns)]
            for name in records.measured
            if not self.only or name.startswith(tuple(self.only))
        ]
        rows = [row for row in rows if any(cell != MISSING for cell in row[1:])]
        if not rows:
            return f"### {self.title}\n\nNothing of it was measured."
        head = ["checkpoint", *(column.heading for column in self.columns)]
        lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
        return "\n".join([f"### {self.title}", "", *lines, *(["", self.note] if self.note else [])])


FIXED = {"attack": "fixed", "attacks": "jailbreakbench"}
PAPER = {"preset": "paper"}
IDENTIFIED = {"form": "identified"}
NEAREST = {"preset": "geoaudit", "direction": "nearest"}
TABLES = (
    Table(
        "Behaviour",
        (
            measured("plain requests", "attack_success_rate", attack="direct"),
            measured("worst free attack", "attack_success_rate", attack="worst"),
            measured("stored GCG", "attack_success_rate", **FIXED, method="GCG"),
            papers("fixed-source GCG", "fixed_asr"),
            measured("stored PAIR", "attack_success_rate", **FIXED, method="PAIR"),
            measured("GCG on itself", "attack_success_rate", attack="gcg"),
            papers("GCG on itself", "gcg"),
        ),
        "Shares of harmful prompts that are not refused. The papers' judge says what is harmful, which is less.",
    ),
    Table(
        "Refusing what is safe, and being of use",
        (
            measured("XSTest safe, any refusal", "over_refusal_rate", source="xstest", refusal="any"),
            papers("XSTest", "xstest_any"),
            measured("useful, lenient", "benign_utility", score="lenient"),
            papers("lenient", "lenient"),
            kept("strict", "benign_utility", "strict", score="lenient"),
            kept("refused", "benign_utility", "refused", score="lenient"),
            measured("degenerate", "degenerate_rate", source="benign-utility"),
        ),
    ),
    Table(
        "The carrier as the papers choose it",
        (
            place("(position, layer)", **PAPER),
            papers("(position, layer)", "carrier"),
            measured("S_refuse", "carrier_s_refuse", **PAPER),
            papers("S_refuse", "s_refuse"),
            measured("S_comply", "carrier_s_comply", **PAPER),
            kept("KL", "carrier_layer", "selected", "kl", **PAPER),
        ),
        "Layers count resid_pre from 0: the papers' layer 0 is 1 here.",
    ),
    Table(
        "The carrier with its controls",
        (
            measured("KL of an admissible one", "carrier_kl", preset="geoaudit", direction="carrier"),
            measured("layers from the reference's", "carrier_relocation", **NEAREST),
            measured("effect of the reference's direction", "carrier_transfer", **NEAREST),
            measured("ablating R, nats beyond controls", "intervention_sensitivity", outcome="refusal_score"),
            measured("ablating R, ASR beyond controls", "intervention_sensitivity", outcome="attack_success_rate"),
        ),
    ),
    Table(
        "Rank and drift",
        (
            measured("effective rank", "effective_rank", field="paper"),
            measured("without noise", "effective_rank", field="held_out"),
            measured("components for 95 %", "components_for_energy", fraction=0.95),
            measured("first angle", "principal_angle", which="first"),
            measured("largest of three", "principal_angle", which="largest"),
            papers("three angles", "angles"),
            measured("weighted by energy", "energy_weighted_angle"),
        ),
        "The papers have effective ranks of 1.23 to 1.27 and one component at every anchor.",
    ),
    Table(
        "Harmfulness and refusal",
        (
            measured("HRCI_repr as published", "hrci_repr", form="paper"),
            papers("HRCI_repr", "hrci_repr"),
            measured("HRCI_full as published", "hrci_full", form="paper"),
            papers("HRCI_full", "hrci_full"),
            measured("identified, own layers", "hrci_repr", **IDENTIFIED, at="own_layers"),
            measured("identified, one layer", "hrci_repr", **IDENTIFIED, at="both_at_r"),
            kept("one layer, labels permuted", "hrci_repr", "null", "permuted", "high", **IDENTIFIED, at="both_at_r"),
        ),
    ),
)
DAGGER = "† a check stopped this number, and no verdict rests on it (the record says which). — not measured or printed."


def claims(records: Records) -> str:
    """Every assertion with its outcome, by suite and checkpoint or run."""
    lines = ["### Claims", "", "| claim | of | outcome | why |", "|---|---|---|---|"]
    for one in records.claims:
        why = str(one["sentence"]).replace("|", "\\|").replace("\n", " ")
        lines.append(f"| {one['id']} | `{one['checkpoint']}` | {one['outcome']} | {why} |")
    return "\n".join(lines)


def page(records: Records) -> str:
    """All tables and claims, as Markdown."""
    return "\n\n".join([*(table.markdown(records) for table in TABLES), DAGGER, claims(records)]) + "\n"
