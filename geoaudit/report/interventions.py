"""Interventions as a reader meets them: the effect of a target against the cloud of its controls, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.report import damage, outcomes, words
from geoaudit.report.titles import Row, detail_of, listed, mapping
from geoaudit.report.verdict import rows

TARGETS: Mapping[str, str] = {
    "R": "the refusal direction R",
    "H": "the harmfulness direction H",
    "H+R": "H and R together",
    "H_perp_R": "H without its component along R",
    "R_perp_H": "R without its component along H",
    "subspace": "the top subspace",
    "stored": "the stored direction",
}
OPERATORS: Mapping[str, str] = {"ablate": "ablated", "add": "added"}
SCOPES: Mapping[str, str] = {
    "every_site": "at every site",
    "every_site_but_first_token": "at every site but the first token",
    "single_layer": "at its own layer only",
}
KINDS: Mapping[str, str] = {
    "kl_matched": "KL-matched controls",
    "random": "random directions, same dose",
    "norm_matched": "norm-matched directions, token 0 left out",
    "wrong_layer": "this direction at other layers",
    "wrong_position": "this direction at other positions",
}
"""Kinds of controls in the order of figures; the last two are a profile of how specific the target is."""
DECIDING = "kl_matched"
"""What decides where the record does not say."""
MADE_OF: Mapping[str, str] = {"categories": "KL-matched contrasts between harmless topics"}
"""Deciding controls that are not out of the spread of activations."""
STARRED = 0.05


@dataclass(frozen=True)
class Intervention:
    """One intervention on one checkpoint."""

    checkpoint: str
    measurement: Row

    @property
    def detail(self) -> Row:
        """What the record keeps of it."""
        return detail_of(self.measurement)

    @property
    def name(self) -> str:
        """`the refusal direction R (layer 18, position −1), ablated at every site, dose 1`."""
        detail = self.detail
        target = TARGETS.get(words.plain(detail.get("target")), words.plain(detail.get("target")))
        k = words.finite(detail.get("k"))
        if detail.get("target") == "subspace" and k is not None:
            target = f"the top {words.plural(k, 'direction')}"
        if detail.get("target") == "stored":
            target = f"{target} {words.plain(detail.get('file'))}"
        how = OPERATORS.get(words.plain(detail.get("operator")), words.plain(detail.get("operator")))
        where = SCOPES.get(words.plain(detail.get("scope")), words.plain(detail.get("scope")))
        at = f"layer {words.number(detail.get('layer'), 'layer')}, position {words.position(detail.get('position'))}"
        return f"{target} ({at}), {how} {where}, dose {words.number(detail.get('dose'))}"

    @property
    def kind(self) -> str:
        """`intervention`, `sweep` or `matrix`."""
        return type(self).__name__.lower()

    @property
    def nearest(self) -> bool:
        """Whether no candidate was admissible, and R is the nearest one."""
        return mapping(self.detail.get("carrier")).get("kind") == "nearest"

    @property
    def outcome(self) -> outcomes.Outcome:
        """What its effect is on."""
        return outcomes.outcome(self.detail)

    @property
    def decides(self) -> str:
        """The kind of control that decides."""
        return decides(self.detail)

    @property
    def _names(self) -> Mapping[str, str]:
        """Kind of control -> what it is called here."""
        made_of = MADE_OF.get(words.plain(self.detail.get("controls_of")))
        return {**KINDS, **({DECIDING: made_of} if made_of else {})}

    @property
    def _kinds(self) -> list[tuple[str, str]]:
        """Kinds and their names, the one that decides first."""
        own = f"{self._names[self.decides]} (these decide)"
        return [(self.decides, own), *((kind, name) for kind, name in self._names.items() if kind != self.decides)]

    @property
    def strips(self) -> list[tuple[str, Sequence[Any], Any]]:
        """For each kind of control: its name, the effects, and the effect of the target."""
        effect, out = self.detail.get("effect"), self.outcome
        found = mapping(self.detail.get("controls"))
        return [
            (f"{name}: effect on the {out.axis}", listed(mapping(found.get(kind)).get("effect")), effect)
            for kind, name in self._kinds
            if listed(mapping(found.get(kind)).get("effect"))
        ]

    @property
    def rank(self) -> str:
        """The p-value in words, "" for none."""
        p = words.finite(self.detail.get("p"))
        return "" if p is None else f"p = {words.number(p)} against the {self._names[self.decides]}"

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Numbers beside the figure."""
        detail, one, out = self.detail, self.measurement, self.outcome
        unit = "share" if out.text else ""
        effect = words.interval(detail.get("effect_low"), detail.get("effect_high"), unit)
        beyond = words.interval(one.get("low"), one.get("high"), unit)
        found = [
            (
                f"{out.name[0].upper()}{out.name[1:]} without and with it",
                f"{out.said(detail.get('unedited'))} and {out.said(detail.get('edited'))}",
            ),
            ("Effect", f"{out.said(detail.get('effect'))} {effect}"),
            ("Mean effect of its controls", out.said(detail.get("control_mean"))),
            ("Beyond its controls", f"{out.said(one.get('estimate'))} {beyond}"),
            ("In spreads of the controls", words.number(detail.get("standardised"))),
            ("Doses of the controls", self._ends("dose")),
            ("Dimensions that its controls vary in, about", words.number(detail.get("control_dimensions"))),
            *outcomes.beside(detail),
        ]
        return [(name, text) for name, text in found if text and "not measured" not in text]

    @property
    def costs(self) -> list[damage.Cost]:
        """What it costs, beside what its controls cost."""
        return damage.costs(self.detail)

    @property
    def unread(self) -> str:
        """Why damage to answers was not read, "" where it was."""
        return damage.missing(self.detail)

    def _ends(self, field: str) -> str:
        own = mapping(mapping(self.detail.get("controls")).get(self.decides))
        values = [v for v in map(words.finite, listed(own.get(field))) if v is not None]
        return f"{words.number(min(values))} to {words.number(max(values))}" if values else "not measured"


@dataclass(frozen=True)
class Sweep(Intervention):
    """One target over doses."""

    @property
    def name(self) -> str:
        """What is edited, without a dose."""
        return super().name.rpartition(", dose")[0]

    @property
    def curve(self) -> list[Row]:
        """The doses, by size, with 0 among them."""
        found = [row for row in rows(self.detail, "curve") if words.finite(row.get("dose")) is not None]
        unedited = mapping(self.detail.get("damage")).get("perplexity_unedited")
        idle = {"dose": 0.0, "effect": 0.0, "kl": 0.0}
        if unedited is not None:
            idle |= {"answers_kl": 0.0, "answers_perplexity": unedited}
        return sorted([*found, idle], key=lambda row: float(row["dose"]))

    @property
    def read(self) -> str:
        """What answers the doses were read on, "" for none."""
        return damage.read_on(self.detail)

    @property
    def columns(self) -> tuple[str, ...]:
        """Fields of a dose that stand in the table."""
        answers = ("answers_kl", "answers_perplexity") if self.read else ()
        return ("effect", "beyond", "kl", *answers, "p")

    @property
    def damaged(self) -> str:
        """From which dose on the model is broken, in words."""
        dose, limit = words.finite(self.detail.get("damaged_from")), words.number(self.detail.get("damage_kl"))
        over = words.finite(self.detail.get("damage_answers_kl"))
        most = (
            f"{limit} nats" if over is None else f"{limit} nats at the first token or {words.number(over)} over answers"
        )
        if dose is None:
            return f"no dose shifts harmless prompts by more than {most}"
        return f"from dose {words.number(dose)} on, harmless prompts shift by more than {most}: read no further"


@dataclass(frozen=True)
class Matrix(Intervention):
    """Ten edits of one checkpoint, tested together."""

    @property
    def cells(self) -> list[Row]:
        """The cells in the order of the record."""
        return rows(self.detail, "edits")

    def star(self, row: Row) -> str:
        """A star where the p-value that counts all cells is at most 0.05."""
        p = words.finite(row.get("p"))
        return "*" if p is not None and p <= STARRED else ""


def decides(detail: Row) -> str:
    """The kind of control that decides, as the detail of an intervention says."""
    kind = words.plain(detail.get("decides"))
    return kind if kind in KINDS else DECIDING


def interventions(record: Row) -> list[Intervention]:
    """Each intervention that the record holds, in its order."""
    found: list[Intervention] = []
    for row in rows(record, "measurements"):
        detail, name = detail_of(row), words.plain(row.get("checkpoint"))
        if not mapping(detail.get("controls")).get(decides(detail)) or not detail.get("operator"):
            continue
        kind = Matrix if rows(detail, "edits") else Sweep if rows(detail, "curve") else Intervention
        found.append(kind(name, row))
    return found
