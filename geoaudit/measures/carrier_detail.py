"""What the record keeps of a carrier search: every candidate, the frontier, and one sentence where there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from geoaudit.carriers.resample import scored_rows
from geoaudit.carriers.select import Row, Selecting, scaled
from geoaudit.carriers.table import SearchTable
from geoaudit.measures.carrier_needs import search_of, selecting_of, with_preset
from geoaudit.measures.carrier_selection import Chosen, first_budget, frontier, index_of, margin, number, shown
from geoaudit.measures.fulfilled import ProbeMeans

_SCOPES = (("single_layer", "ablating it at its own layer alone"), ("affine", "affine ablation"))


def search_detail(
    parameters: Mapping[str, Any], table: SearchTable, means: ProbeMeans, found: Chosen
) -> dict[str, Any]:
    """A search with all its candidates, whichever of them is used."""
    search, how = search_of(parameters), selecting_of(parameters)
    arditi, cosmic = scored_rows(table.candidates, table.arditi), scored_rows(table.candidates, table.cosmic)
    rows = [
        {
            "position": one.position,
            "layer": one.layer,
            "norm": shown(table.norm[index]),
            "kl": shown(_partial(table, index) if one.excluded == "screened" else one.kl),
            "bypass": shown(one.bypass),
            "induce": shown(one.induce),
            "s_refuse": shown(other.s_refuse),
            "s_comply": shown(other.s_comply),
            "s_refuse_scaled": shown(scaled(number(other.s_refuse), found.c0)),
            "status": found.choice.status[index],
        }
        for index, (one, other) in enumerate(zip(arditi, cosmic, strict=True))
    ]

    def of(row: Row | None) -> dict[str, Any] | None:
        return None if row is None else rows[index_of(table, row)]

    return {
        "rule": how.rule,
        "preset": with_preset(parameters)["preset"],
        "scope": search.scope,
        "operator": search.operator,
        "contrast": search.contrast,
        "frontier_kl": search.frontier_kl,
        "kl_budget": how.kl_budget,
        "selected": of(found.choice.selected),
        "nearest": of(found.choice.nearest),
        "used": None,
        "c0": shown(found.c0),
        "raw_total": None,
        "idle_total": shown(2 * found.c0),
        "frontier": frontier(found, how, search.frontier_kl),
        "first_budget": first_budget(found, how, table),
        "margin": margin(found, how),
        "examined": None,
        "n_train": means.n,
        "n_validation": table.n,
        "kept": _kept(table),
        "n_layers": table.n_layers,
        "low_layers": list(table.low_layers),
        "refusal_tokens": list(table.refusal_tokens),
        "tokens": {str(i - len(means.tokens)): token for i, token in enumerate(means.tokens)},
        "split_half_cosine": None,
        "candidates": rows,
        "selection_shares": [],
    }


def used_detail(kind: str, table: SearchTable, index: int, how: Selecting, found: Chosen) -> dict[str, Any]:
    """Of the candidate in use: whether it is the carrier or the nearest, and its total beside that of doing nothing."""
    row = scored_rows(table.candidates, table.cosmic)[index]
    total = number(row.s_refuse) + number(row.s_comply) - how.beta * number(row.kl)
    return {"used": kind, "raw_total": shown(total)}


def why_none(parameters: Mapping[str, Any], table: SearchTable, found: Chosen, detail: Mapping[str, Any]) -> str:
    """Why there is no carrier: what is nearest, the budget at which one appears, and what gentler edits cost."""
    search, how, choice = search_of(parameters), selecting_of(parameters), found.choice
    text = f"no candidate is admissible by the rule {how.rule!r} at KL {how.kl_budget:g}"
    if set(choice.status) <= {"null"}:
        return f"{text}; null-direction: every difference in means is rounding beside the activations"
    if search.search == "winner":
        return f"{text}; `search: frontier` shows what lies beyond it"
    nearest = choice.nearest
    if nearest is None:
        return f"{text}; no candidate induces refusal within {table.frontier_kl:g} nats of KL"
    text += (
        f"; nearest: position {nearest.position}, layer {nearest.layer}, KL {nearest.kl:.2f} "
        "(`direction: nearest` measures it)"
    )
    first = detail["first_budget"]
    if first is None:
        text += f"; within {table.frontier_kl:g} nats none makes refusing the likelier answer"
    elif (first["position"], first["layer"]) == (nearest.position, nearest.layer):
        text += f"; the first carrier appears at a KL budget of {_up(first['kl'])}"
    else:
        text += (
            f"; the first carrier appears at a KL budget of {_up(first['kl'])} "
            f"(position {first['position']}, layer {first['layer']})"
        )
    scopes = (detail["examined"] or {}).get("scopes", {})
    said = [
        f"{words} costs {scopes[name]['kl']:.2f} nats and brings the refusal score of harmful prompts to "
        f"{scopes[name]['bypass']:.1f}"
        for name, words in _SCOPES
        if name in scopes and None not in (scopes[name]["kl"], scopes[name]["bypass"])
    ]
    if said:
        base = float(np.mean(table.base_harmful))
        text += f"; of the nearest, {', '.join(said)} (without an edit {base:.1f} nats)"
    return text


def _up(kl: float) -> str:
    """Rounded up, so that the budget that is named does admit it."""
    return f"{math.ceil(kl * 100) / 100:.2f}"


def _partial(table: SearchTable, index: int) -> float:
    """Of a screened candidate: the mean KL over the prompts that it was given up after, which is all there is."""
    read = table.arditi.kl[index][~np.isnan(table.arditi.kl[index])]
    return float(read.mean()) if read.size else math.nan


def _kept(table: SearchTable) -> dict[str, int] | None:
    """Validation prompts that a filter left, of how many; None where there was no filter."""
    if table.kept is None:
        return None
    sizes = {"harmful": table.base_harmful.size, "harmless": table.base_harmless.size}
    return {"asked": int(table.kept.size), **sizes}
