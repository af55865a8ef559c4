"""The dense probe: difference-in-means candidates at a few sites, the best admissible one, and what sets it apart.

Arithmetic and rows are those of an audit's search (`carriers.search`, rule *cosmic*, no generation), over fewer sites.
The refusal score counts the openings that it is told: no judge has said that they fit this model, as an audit asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.field import Field, How
from geoaudit.carriers.resample import scored_rows
from geoaudit.carriers.scorer import Scorer
from geoaudit.carriers.search import least_alike, search
from geoaudit.carriers.select import Row, Selecting, Selection, choose, score
from geoaudit.carriers.table import SearchTable
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.geometry.directions import (
    BlockMeans,
    activation_scale,
    cosine,
    differences,
    norms,
    null_rows,
    overall,
    unit,
)
from geoaudit.measures.activations import apart, chat_of, means_of
from geoaudit.measures.bench import Bench
from geoaudit.measures.carrier_selection import idle_cosine, only
from geoaudit.measures.inputs import ChatSetting, Source, load_source
from geoaudit.prompts import sources
from geoaudit.records import PromptSet, digest
from geoaudit.training.monitor_settings import MonitorSettings, is_file, spread

HALVES = 2
"""Blocks of prompts in which means are kept: enough to say how far two halves agree."""


@dataclass(frozen=True)
class ProbePrompts:
    """What the probe reads, in the order harmful, harmless; validation prompts are none of the training ones."""

    train: tuple[PromptSet, PromptSet]
    validation: tuple[PromptSet, PromptSet]

    @property
    def inputs(self) -> dict[str, str]:
        """Hash of each of the four sets: name -> SHA-256."""
        names = ("harmful train", "harmless train", "harmful validation", "harmless validation")
        return {name: one.sha256 for name, one in zip(names, (*self.train, *self.validation), strict=True)}


def prompts_of(settings: MonitorSettings, data: Path | None = None) -> ProbePrompts:
    """The prompts that settings ask for.

    Raises:
        UnknownName, DataMissing: a source that there is not.
        RequestError: a source with too few prompts or with those of the other kind, or a prompt in two of the sets.
    """
    kinds = ("harmful", "harmless")
    whole: dict[str, PromptSet] = {}
    for kind, name in [*zip(kinds, settings.train, strict=True), *zip(kinds, settings.validation, strict=True)]:
        whole[name] = _source(name, kind, data)
    train = [_part(whole[name], 0, settings.n_train, "n_train") for name in settings.train]
    validation = [
        _part(whole[name], settings.n_train if name == source else 0, settings.n_validation, "n_validation")
        for name, source in zip(settings.validation, settings.train, strict=True)
    ]
    seen: dict[str, str] = {}
    for what, one in zip(("train", "train", "validation", "validation"), (*train, *validation), strict=True):
        for prompt in one.prompts:
            if prompt.text in seen:
                raise RequestError(
                    f"the monitor's {what} prompts hold a prompt that its {seen[prompt.text]} prompts hold too "
                    f"({prompt.id} of {one.name}): every prompt may be in one of the four sets only"
                )
            seen[prompt.text] = what
    return ProbePrompts((train[0], train[1]), (validation[0], validation[1]))


def _source(name: str, kind: Any, data: Path | None) -> PromptSet:
    if is_file(name):
        return load_source(Source(name, file=name, label=kind), data)
    found = sources.load(name, data=data)
    if found.prompts[0].label != kind:
        raise RequestError(f"{name} holds {found.prompts[0].label} prompts, where the monitor needs {kind} ones")
    return found


def _part(whole: PromptSet, start: int, n: int, key: str) -> PromptSet:
    if len(whole) < start + n:
        behind = f" behind the {start} of n_train" if start else ""
        raise RequestError(
            f"{key}: {n} prompts are asked for and {whole.name} has {len(whole) - start}{behind}; ask for fewer, or "
            "name a larger source"
        )
    return PromptSet(whole.name, whole.prompts[start : start + n], whole.source, whole.licence)


@dataclass(frozen=True, eq=False)
class Reading:
    """What one probe found: k positions (the last ones of the template) × layers of the library."""

    positions: tuple[int, ...]
    layers: tuple[int, ...]
    directions: NDArray[np.float32]
    """[k, layers, d_model] differences in means."""
    candidates: tuple[dict[str, Any], ...]
    """Position, layer, status of the rule, scores (None: not measured) and norm of each."""
    used: Row | None
    """The best admissible candidate, or else the inducing one of least KL; None where nothing induces."""
    admissible: bool
    """Whether `used` is the former."""
    values: dict[str, float | None]
    """Quantities of the curve, but for those that compare with other probes."""

    def direction(self, place: Row) -> NDArray[np.float32]:
        """[d_model] the difference at a site of the library."""
        found: NDArray[np.float32] = self.directions[
            self.positions.index(place.position), self.layers.index(place.layer)
        ]
        return found


def refusal_ids(settings: MonitorSettings, tokenizer: Any) -> list[int]:
    """First tokens of the openings.

    Raises:
        RequestError: the tokenizer knows none of them.
    """
    ids: dict[int, None] = {}
    for one in settings.refusals:
        ids_of = [one] if isinstance(one, int) else tokenizer(one, add_special_tokens=False)["input_ids"]
        token = next(iter(ids_of), None)
        if token is not None and token != tokenizer.unk_token_id:
            ids[int(token)] = None
    if not ids:
        raise RequestError(
            f"refusals: the tokenizer has no token for {', '.join(map(repr, settings.refusals))}; give openings of "
            "this model's refusals, or ids of their first tokens"
        )
    return list(ids)


def library(settings: MonitorSettings, n_layers: int, n_post: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Candidate positions (from the end) and layers in one model.

    Raises:
        RequestError: a listed layer that the model does not have.
    """
    if isinstance(settings.layers, int):
        layers = spread(settings.layers, n_layers)
    else:
        layers = tuple(sorted(settings.layers))
        if layers[-1] >= n_layers:
            raise RequestError(f"layers: there is no layer {layers[-1]}; this model has layers 0 to {n_layers - 1}")
    return tuple(range(-min(settings.positions, n_post), 0)), layers


def read(bench: Bench, settings: MonitorSettings, prompts: ProbePrompts) -> Reading:
    """Probe the model of a bench; rows come from its store where it has them.

    Raises:
        BrokenCheckpoint: activations that are NaN or infinite.
        NothingToMeasure: a template without post-instruction tokens, or two kinds of prompts that look the same.
        RequestError: settings that do not fit the model.
    """
    chat = chat_of(bench, ChatSetting())
    sets = (*prompts.train, *prompts.validation)
    rendered = [[chat.render(prompt.text) for prompt in one.prompts] for one in sets]
    n_layers = bench.loaded.n_layers
    positions, layers = library(settings, n_layers, chat.n_post)
    harmful, harmless, other_harmful, other_harmless = (
        apart(means_of(bench, one, n_blocks=HALVES))[1] for one in rendered
    )
    directions = differences(harmful, harmless)
    null = null_rows(directions, activation_scale(harmful, harmless))
    outside = np.ones_like(null)
    outside[np.ix_(positions, layers)] = False  # what is not of the library is not tried, as a null direction is not
    scorer = Scorer(
        lambda: bench.loaded,
        rendered[2],
        rendered[3],
        Field(directions, null | outside, overall(harmless), least_alike(harmful, harmless)),
        How(max_layer_fraction=1.0, kl_budget=settings.kl_budget, frontier_kl=settings.frontier_kl),
        refusal_ids(settings, chat.tokenizer),
        bench,
        lambda *parts: bench.key("search", *parts),
    )
    table = search(scorer, refusal_tokens={}, inputs=prompts.inputs)
    rows, found, c0 = _chosen(table, settings, positions, layers)
    used = found.selected or found.nearest
    sizes = norms(directions)
    values: dict[str, float | None] = {
        "refusal_harmful": float(np.mean(table.base_harmful)),
        "refusal_harmless": float(np.mean(table.base_harmless)),
        "idle_cosine": c0,
        "admissible": float(found.status.count("admissible")),
    }
    if used is not None:
        values |= {"layer": float(used.layer), "position": float(used.position), "kl": used.kl}
        values |= {"s_refuse": used.s_refuse, "s_comply": used.s_comply}
        values |= {"total": score(used, "cosmic", settings.beta), "norm": float(sizes[used.position, used.layer])}
        axis = unit(directions[used.position, used.layer])
        apart_by = differences(other_harmful, other_harmless)[used.position, used.layer]
        values |= {"gap": float(apart_by @ axis), "split_half": _split_half(harmful, harmless, used)}
    return Reading(
        positions,
        layers,
        directions[np.ix_(positions, layers)].astype(np.float32),
        tuple(
            {
                "position": row.position,
                "layer": row.layer,
                "status": state,
                "kl": number(row.kl),
                "s_refuse": number(row.s_refuse),
                "s_comply": number(row.s_comply),
                "norm": number(float(sizes[row.position, row.layer])),
            }
            for row, state in zip(rows, found.status, strict=True)
        ),
        used,
        found.selected is not None,
        {name: number(value) for name, value in values.items()},
    )


def _chosen(
    table: SearchTable, settings: MonitorSettings, positions: Sequence[int], layers: Sequence[int]
) -> tuple[list[Row], Selection, float]:
    """Candidates of the library with their scores, what the rule makes of them, and what doing nothing scores."""
    kept = [i for i, row in enumerate(table.candidates) if row.position in positions and row.layer in layers]
    rows = scored_rows([table.candidates[i] for i in kept], only(table.cosmic, kept))
    c0 = idle_cosine(table)
    how = Selecting("cosmic", settings.kl_budget, max_layer_fraction=1.0, beta=settings.beta, raw=settings.raw)
    return rows, choose(rows, how, n_layers=table.n_layers, c0=c0), c0


def _split_half(harmful: BlockMeans, harmless: BlockMeans, place: Row) -> float | None:
    """Cosine of the directions from the prompts of even and of odd place, as an estimate of how firm it is."""

    def half(index: int) -> NDArray[np.float64]:
        one, other = (BlockMeans(side.count[[index]], side.mean[[index]]) for side in (harmful, harmless))
        found: NDArray[np.float64] = differences(one, other)[place.position, place.layer]
        return found

    try:
        return cosine(half(0), half(1))
    except NothingToMeasure:
        return None


def number(value: float | None) -> float | None:
    """Six digits, None for what is missing or not finite."""
    return None if value is None or not np.isfinite(value) else float(f"{value:.6g}")


def key_of(bench: Bench, settings: MonitorSettings, prompts: ProbePrompts) -> str:
    """Where the store keeps the directions of a probe."""
    return bench.key("dense", digest([settings.contract, prompts.inputs]))
