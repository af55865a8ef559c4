"""Carrier searches as a reader meets them: each once, though several measures read it, with what stands beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from geoaudit.report import control_figure, score_figure, words
from geoaudit.report.carrier_figure import EFFECTS, Search, value_of
from geoaudit.report.titles import Row, detail_of, listed, mapping
from geoaudit.report.verdict import rows

MOST_CANDIDATES = 10
"""Candidates listed beside a figure; the record holds them all."""
MOST_DRAWN = 12000
"""Candidates drawn by layer in one report, which stays a file to send; later searches get the first figure only."""
SCOPES: Mapping[str, str] = {
    "every_site": "every layer, every token",
    "every_site_but_first_token": "every layer, all but the first token",
    "single_layer": "its own layer only",
    "affine": "affine: to the harmless mean instead of to zero",
}
"""Where and how the direction was ablated, in words."""
COLUMNS: Mapping[str, str] = {
    "kl": "KL",
    "s_refuse_scaled": "S̃ refuse",
    "s_refuse": "S refuse",
    "s_comply": "S comply",
    "induce": "Induce",
    "bypass": "Bypass",
    "norm": "Norm",
}
"""Numbers of a candidate, in the order of the table."""
_SAME_SEARCH = (
    "kl_budget", "max_layer_fraction", "n_train", "n_validation", "preset", "scope", "operator", "contrast", "search"
)  # fmt: skip


@dataclass(frozen=True)
class Carrier:
    """One carrier search on one checkpoint with all that was measured on it."""

    checkpoint: str
    detail: Row
    measurements: Sequence[Row]
    search: Search | None
    by_layer: bool
    """Whether the figures by layer are drawn."""

    @property
    def name(self) -> str:
        """`rule cosmic · preset paper`: what tells this search from another one of the same checkpoint."""
        also = ((name, self.detail.get(name)) for name in ("preset", "scope", "operator", "contrast"))
        return " · ".join([f"rule {self.rule}", *(f"{name} {words.plain(value)}" for name, value in also if value)])

    @property
    def rule(self) -> str:
        """`cosmic` or `arditi`."""
        return words.plain(self.detail.get("rule"))

    @property
    def headline(self) -> str:
        """What the rule found, in a sentence."""
        budget = words.finite(self.detail.get("kl_budget"))
        limit = "the KL budget" if budget is None else f"the KL budget of {words.exact(budget)} nats"
        selected, nearest = self.detail.get("selected"), self.detail.get("nearest")
        if isinstance(selected, Mapping):
            return f"Selected: {self.place(selected)}, KL {words.number(selected.get('kl'))} nats, within {limit}."
        if isinstance(nearest, Mapping):
            return (
                f"No candidate is admissible. Nearest, not admissible: {self.place(nearest)}, "
                f"KL {words.number(nearest.get('kl'))} nats against {limit}."
            )
        return f"No candidate is admissible within {limit}, and none that induces refusal comes near."

    @property
    def totals(self) -> str:
        """The published score beside what doing nothing scores, "" where the record has not both."""
        total, idle = self._totals
        if total is None or idle is None:
            return ""
        verdict = "more than doing nothing" if total > idle else "no more than doing nothing: this score proves nothing"
        return f"S_total {words.number(total)}, doing nothing (2c₀) {words.number(idle)}: {verdict}"

    @property
    def nothing_gained(self) -> bool:
        """Whether the score is no better than that of doing nothing."""
        total, idle = self._totals
        return total is not None and idle is not None and total <= idle

    @property
    def first_budget(self) -> str:
        """The least KL at which a direction induces refusal, "" where the record does not say."""
        first = self.detail.get("first_budget")
        if not isinstance(first, Mapping) or words.finite(first.get("kl")) is None:
            return ""
        return f"{words.number(first['kl'])} nats ({self.place(first)})"

    @property
    def controls(self) -> list[tuple[str, Sequence[Any], Any]]:
        """The strips of the direction in use against its controls."""
        return control_figure.effects(self.examined, dict(EFFECTS[rule][0] for rule in EFFECTS))

    @property
    def control_text(self) -> str:
        """How many controls, how they were matched, and the rank, in a sentence."""
        found = mapping(self.examined.get("controls"))
        n, p = words.finite(found.get("n")), words.finite(self.examined.get("p"))
        parts = [] if n is None else [f"{words.plural(n, 'control')}"]
        for field, text in (("kl", "KL {} nats"), ("dose", "dose {}")):
            ends = [v for v in map(words.finite, listed(found.get(field))) if v is not None]
            if ends:
                low, high = words.number(min(ends)), words.number(max(ends))
                parts.append(text.format(low if low == high else f"{low} to {high}"))
        added = words.finite(self.examined.get("added_kl"))
        if added is not None:
            parts.append(f"the direction itself, added: KL {words.number(added)} nats")
        return "; ".join([*parts, *([] if p is None else [f"rank p = {words.number(p)}"])])

    @property
    def scopes(self) -> list[tuple[str, str, str, str]]:
        """Scope in words, KL with interval, against the budget, bypass."""
        found = mapping(self.examined.get("scopes"))
        order = [*SCOPES, *(name for name in found if name not in SCOPES)]
        budget, table = words.finite(self.detail.get("kl_budget")), []
        for name in order:
            row = mapping(found.get(name))
            kl = words.finite(row.get("kl"))
            if row:
                ends = words.interval(row.get("kl_low"), row.get("kl_high"))
                within = "" if kl is None or budget is None else "within" if kl <= budget else "over"
                shown = f"{words.number(kl)} {ends}".strip()
                table.append((SCOPES.get(name, name), shown, within, words.number(row.get("bypass"))))
        return table

    @property
    def examined(self) -> Row:
        """What was tried on the direction in use alone; empty where nothing was."""
        return mapping(self.detail.get("examined"))

    @property
    def causal(self) -> Row:
        """What ablating the first k directions together does; empty where that was not asked."""
        return next((found for row in self.measurements if (found := mapping(detail_of(row).get("causal")))), {})

    @property
    def causal_rows(self) -> list[Row]:
        """The same by k."""
        return rows(self.causal, "by_k")

    @property
    def position_names(self) -> list[tuple[str, str]]:
        """The positions of the figures with their template tokens, where the record names them."""
        found = [(words.position(at), self.token(at)) for at in (self.search.positions if self.search else ())]
        return [(at, token) for at, token in found if token]

    @property
    def statuses(self) -> list[tuple[str, str, int]]:
        """Status, its words, how many candidates have it; without those that none has."""
        found = Counter(str(row.get("status")) for row in self._candidates)
        known = [(status, text, found[status]) for status, text in words.STATUSES.items() if found[status]]
        return known + [(status, status, n) for status, n in sorted(found.items()) if status not in words.STATUSES]

    @property
    def cells(self) -> list[tuple[str, str, int]]:
        """Kinds of cells that the heat maps hold, in words, and how many; blank ones are not counted."""
        found = Counter(str(row.get("status")) for row in self._candidates)
        kinds = [(kind, text, found[kind]) for kind, text in score_figure.CELLS.items() if kind and found[kind]]
        bare = any(
            value_of(row, field) is None and row.get("status") not in ("screened", "null", "not-finite")
            for row in self._candidates
            for field, _ in (self.search.scores if self.search else ())
        )
        return [*kinds, *([("", score_figure.CELLS[""], 0)] if bare else [])]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What else must be known of the search."""
        detail, chosen = self.detail, self.search.chosen if self.search else {}
        used = words.plain(detail.get("used"))
        found = [
            ("rule", self.rule),
            ("KL budget", _with_unit(detail.get("kl_budget"), "nats")),
            ("in use", "nearest, not admissible" if used == "nearest" else used),
            ("prompts", f"{words.count(detail.get('n_train'))} + {words.count(detail.get('n_train'))} to estimate, "
             f"{words.count(detail.get('n_validation'))} + {words.count(detail.get('n_validation'))} to validate"),
            ("kept by the filter", _kept(mapping(detail.get("kept")))),
            ("c₀ (score of doing nothing)", words.number(detail.get("c0"))),
            ("split-half cosine", words.number(detail.get("split_half_cosine"))),
        ]  # fmt: skip
        found = [(name, text) for name, text in found if text]
        if self.first_budget:
            found.append(("first carrier at a KL of", self.first_budget))
        if detail.get("refusal_tokens"):
            found.append(("refusal tokens", words.token(words.plain(detail["refusal_tokens"]))))
        if detail.get("refusal_score_auroc") is not None:
            found.append(("AUROC of the refusal score against the judge", words.number(detail["refusal_score_auroc"])))
        if chosen:
            effects = EFFECTS.get(self.rule, ())
            found += [(f"{name} of the ringed direction", words.number(chosen.get(field))) for field, name in effects]
            found.append(("norm of the ringed direction", words.number(chosen.get("norm"))))
        return found

    @property
    def shares(self) -> list[tuple[str, str]]:
        """How often each candidate is chosen when validation prompts are drawn again, most often first."""
        found = [row for row in self.detail.get("selection_shares") or () if isinstance(row, Mapping)]
        listed = sorted(found, key=lambda row: -(words.finite(row.get("share")) or 0.0))[:6]
        return [(self.place(row), words.number(row.get("share"), "share")) for row in listed]

    @property
    def listed(self) -> list[Row]:
        """The candidates that come nearest to being selected: admissible ones first, then by KL."""

        def order(row: Row) -> tuple[bool, int, float, float, float]:
            status, kl = str(row.get("status")), words.finite(row.get("kl"))
            ranks = list(words.STATUSES)
            rank = ranks.index(status) if status in ranks else len(ranks)
            place = words.finite(row.get("position")) or 0.0, words.finite(row.get("layer")) or 0.0
            return not (self.search and self.search.is_chosen(row)), rank, float("inf") if kl is None else kl, *place

        return sorted(self._candidates, key=order)[:MOST_CANDIDATES]

    @property
    def total(self) -> int:
        """Candidates in the record."""
        return len(self._candidates)

    def place(self, row: Row) -> str:
        """`layer 14, position −4 (<|im_end|>)`."""
        name = self.token(row.get("position"))
        layer, position = words.number(row.get("layer"), "layer"), words.position(row.get("position"))
        return f"layer {layer}, position {position}{f' ({name})' if name else ''}"

    def token(self, position: Any) -> str:
        """The template token at a position, "" where the record names none."""
        tokens = self.detail.get("tokens")
        found = tokens.get(str(position)) if isinstance(tokens, Mapping) else None
        return words.token(str(found)) if found is not None else ""

    @property
    def _totals(self) -> tuple[float | None, float | None]:
        if self.rule != "cosmic":
            return None, None
        return words.finite(self.detail.get("raw_total")), words.finite(self.detail.get("idle_total"))

    @property
    def _candidates(self) -> list[Row]:
        return [row for row in self.detail.get("candidates") or () if isinstance(row, Mapping)]


def carriers(record: Row) -> list[Carrier]:
    """Each search once, in the record's order: by checkpoint, rule, budget and sizes."""
    grouped: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows(record, "measurements"):
        detail = detail_of(row)
        if "candidates" in detail:
            same = (words.plain(detail.get(name, mapping(row.get("parameters")).get(name))) for name in _SAME_SEARCH)
            grouped.setdefault((words.plain(row.get("checkpoint")), words.plain(detail.get("rule")), *same), []).append(
                row
            )
    found: list[Carrier] = []
    drawn = 0
    for key, group in grouped.items():
        # Whether `nearest` may be used differs between measurements of one search: show the one that used something.
        first = next((row for row in group if detail_of(row).get("used")), group[0])
        search = Search.of(detail_of(first))
        drawn += len(search.candidates) if search else 0
        found.append(Carrier(key[0], detail_of(first), group, search, search is not None and drawn <= MOST_DRAWN))
    drawn_ones = [one.search for one in found if one.search]
    return [replace(one, search=one.search and one.search.beside(drawn_ones)) for one in found]


def _kept(found: Row) -> str:
    """How many validation prompts a filter left, "" where there was none."""
    if not found:
        return ""
    sides = " + ".join(words.count(found.get(side)) for side in ("harmful", "harmless"))
    return f"{sides} of {words.count(found.get('asked'))}"


def _with_unit(value: Any, unit: str) -> str:
    shown = words.finite(value)
    return "not recorded" if shown is None else f"{words.exact(shown)} {unit}"
