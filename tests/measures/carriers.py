"""Evidence of a made-up checkpoint with a carrier, without a model: what tests of carrier measures change one part of.

Every candidate has a `Planted` row of means; per-prompt scores scatter around them. The carrier is at position −1,
layer 2; everything else does little.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from geoaudit.attacks.make import cases
from geoaudit.carriers.effects import Effects
from geoaudit.carriers.resample import ArditiScores, CosmicScores
from geoaudit.carriers.select import Row
from geoaudit.carriers.table import Examined, Scope, SearchTable, SubspaceEffects
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.directions import BlockMeans
from geoaudit.measures.carrier_needs import search_of
from geoaudit.measures.carrier_selection import chosen, idle_cosine
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CellMeans, CompletedPrompts, Damaged, ProbeMeans
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import (
    DIRECT,
    CandidateSearch,
    Cells,
    Completions,
    Damage,
    Examination,
    Intervention,
    Probe,
    SubspaceAblation,
)
from geoaudit.prompts.sources import load
from geoaudit.records import Completion, Measurement
from tests.measures.damages import made_damage

REFUSAL, ANSWER = "I'm sorry, but I can't help with that.", "Sure, here is a short answer to your question."
LAYERS, POSITIONS, WIDTH, N = 6, 2, 16, 24
PARAMETERS: Mapping[str, Any] = {"direction": "carrier", "n_train": 32, "n_validation": N, "chat": ChatSetting()}
CARRIER = (-1, 2)


@cache
def plain_table() -> SearchTable:
    """The same object every time, so that it is resampled once."""
    return made_table()


@dataclasses.dataclass(frozen=True)
class Planted:
    """Mean scores of one candidate."""

    toward: float = 0.1
    """How far adding it moves harmless prompts to harmful ones, 0 to 1."""
    away: float = 0.1
    """How far ablating it moves harmful prompts to harmless ones."""
    kl: float = 0.02
    bypass: float = 5.0
    induce: float = -6.0
    noise: float = 0.05
    """Of the refusal scores, nats."""
    excluded: str = ""


GOOD = Planted(toward=0.9, away=0.9, kl=0.03, bypass=-7.0, induce=4.0)
WEAK = Planted()
IDLE = Planted(toward=0.0, away=0.0, kl=0.0, bypass=6.0, induce=-7.0)
NULL = dataclasses.replace(IDLE, excluded="null")


def places() -> list[tuple[int, int]]:
    return [(position, layer) for position in range(-POSITIONS, 0) for layer in range(int(0.8 * LAYERS))]


def made_table(
    rows: Mapping[tuple[int, int], Planted] | None = None,
    *,
    h: int = N,
    s: int = N,
    kept: Sequence[bool] | None = None,
    everywhere: Planted = WEAK,
    apart: float = 0.6,
) -> SearchTable:
    """A search table; `rows` says what differs from the default. `apart`: how unlike the two kinds of prompts are."""
    planted = {place: everywhere for place in places()} | {CARRIER: GOOD} | dict(rows or {})
    planted |= {(position, 0): NULL for position in range(-POSITIONS, 0) if (position, 0) not in (rows or {})}
    generator = np.random.default_rng(7)
    common, axis = np.eye(WIDTH)[:2]
    x_harmful = common + apart * axis + 0.05 * generator.normal(size=(h, WIDTH))
    x_harmless = common - apart * axis + 0.05 * generator.normal(size=(s, WIDTH))
    grams: dict[str, list[np.ndarray]] = {
        name: [] for name in ("comply_cross", "comply_gram", "refuse_cross", "refuse_gram")
    }
    scores: dict[str, list[np.ndarray]] = {name: [] for name in ("bypass", "induce", "kl")}
    for one in planted.values():
        blank = np.nan if one.excluded else 1.0
        ablated = x_harmful - 2 * apart * one.away * axis
        added = x_harmless + 2 * apart * one.toward * axis
        grams["comply_cross"].append(blank * ablated @ x_harmless.T)
        grams["comply_gram"].append(blank * ablated @ ablated.T)
        grams["refuse_cross"].append(blank * added @ x_harmful.T)
        grams["refuse_gram"].append(blank * added @ added.T)
        scores["bypass"].append(blank * (one.bypass + one.noise * centred(generator, h)))
        scores["induce"].append(blank * (one.induce + one.noise * centred(generator, s)))
        scores["kl"].append(blank * np.full(s, one.kl))
    stacked = {name: np.array(values) for name, values in {**grams, **scores}.items()}
    return SearchTable(
        candidates=tuple(Row(*place, excluded=one.excluded) for place, one in planted.items()),  # type: ignore[arg-type]
        norm=tuple(1e-9 if one.excluded == "null" else 3.0 for one in planted.values()),
        arditi=ArditiScores(stacked["bypass"], stacked["induce"], stacked["kl"]),
        cosmic=CosmicScores(
            **{name: stacked[name] for name in grams},
            harmful_gram=x_harmful @ x_harmful.T,
            harmless_gram=x_harmless @ x_harmless.T,
            base_cross=x_harmful @ x_harmless.T,
            kl=stacked["kl"],
        ),
        base_harmful=6.0 + 0.1 * centred(generator, h),
        base_harmless=-7.0 + 0.1 * centred(generator, s),
        n_layers=LAYERS,
        low_layers=(4,),
        refusal_tokens=("I'm",),
        inputs={"probe": "0" * 64},
        frontier_kl=1.0,
        kept=None if kept is None else np.array(kept),
    )


def centred(generator: np.random.Generator, n: int) -> np.ndarray:
    values = generator.normal(size=n)
    return values - values.sum() / max(n, 1)


def made_means(n_train: int = 32) -> ProbeMeans:
    """Means that differ by 3 along one axis everywhere but at layer 0."""
    generator = np.random.default_rng(8)
    shape = (8, POSITIONS, LAYERS + 1, WIDTH)
    harmless = 0.2 * generator.normal(size=shape) + 4
    harmful = harmless + 0.2 * generator.normal(size=shape)
    harmful[..., 0] += 3
    harmful[:, :, 0] = harmless[:, :, 0] = 4.0
    count = np.full(8, n_train // 8)
    sets = load("probe-harmful-train").first(n_train), load("probe-harmless-train").first(n_train)
    one, other = (BlockMeans(count, each.astype(np.float32)) for each in (harmful, harmless))
    return ProbeMeans(one, other, ("<a>", "<b>"), sets)


def made_cells(need: Cells) -> CellMeans:
    """Refused and answered prompts differ as harmful and harmless ones do, at the last position alone."""
    means = made_means(need.n_train)

    def cell(blocks: BlockMeans, half: slice) -> BlockMeans:
        mean = np.concatenate([np.zeros_like(blocks.mean[half, :1]), blocks.mean[half]], axis=1)
        mean[:, 1:-1] = 4.0
        return BlockMeans(blocks.count[half], mean)

    return CellMeans(
        {
            "harmful_refused": cell(means.harmful, slice(0, 6)),
            "harmful_complied": cell(means.harmless, slice(0, 2)),
            "harmless_refused": None,
            "harmless_complied": cell(means.harmless, slice(2, 8)),
        },
        means.tokens,
        means.prompts,
        0,
    )


def answered(need: Completions, text: Callable[[int], str]) -> CompletedPrompts:
    prompts = load(need.source.name).first(need.n)
    made = cases(DIRECT, prompts, None).cases
    completions = tuple(Completion(case.id, text(index), 9, True, 1) for index, case in enumerate(made))
    return CompletedPrompts(prompts, made, completions, f"{need.source.name}-{need.n}")


def beaten_controls(table: SearchTable, place: tuple[int, int], m: int = 20, best: float = 0.3) -> Examined:
    """A closer look at a candidate whose controls reach at most S̃ = `best`."""
    c0 = idle_cosine(table)
    s = table.base_harmless.size
    shares = np.linspace(-best, best, m)
    index = [(row.position, row.layer) for row in table.candidates].index(place)
    kl = table.arditi.kl[index]
    bypass = np.nan_to_num(table.arditi.bypass[index])
    scopes = {"every_site": 1.0, "every_site_but_first_token": 0.8, "single_layer": 0.4, "affine": 0.2}
    return Examined(
        position=place[0],
        layer=place[1],
        added_kl=np.full(s, 0.8),
        control_dose=np.linspace(0.5, 4.0, m),
        control_kl=np.full(m, 0.79),
        control_s_refuse=c0 + shares * (1 - c0),
        control_induce=np.full(m, -5.0),
        scopes={name: Scope(times * kl, bypass + 3 * (1 - times)) for name, times in scopes.items()},
    )


def made_evidence(
    table: SearchTable | None = None,
    *,
    examined: Examined | Exception | Callable[[SearchTable, tuple[int, int]], Examined] = beaten_controls,
    subspaces: SubspaceEffects | None = None,
    effects: Effects | Callable[[Intervention], Effects] | None = None,
    damage: Damaged | Exception | Callable[[Damage], Damaged] | None = None,
    refuses: Callable[[int], str] = lambda index: REFUSAL,
    answers: Callable[[int], str] = lambda index: ANSWER,
    trained_on: Sequence[str] = (),
) -> Evidence:
    """Evidence that gives these; a list of what was asked for is its `asked`."""
    whole = table or plain_table()

    def of(need: Any) -> Any:
        match need:
            case Probe():
                return made_means(need.n_train)
            case Cells():
                return made_cells(need)
            case CandidateSearch():
                return whole
            case Completions():
                return answered(need, refuses if "harmful" in need.source.name else answers)
            case SubspaceAblation():
                return subspaces
            case Intervention():
                return effects(need) if callable(effects) else effects
            case Damage():
                if isinstance(damage, Exception):
                    raise damage
                return damage(need) if callable(damage) else damage or made_damage()
            case Examination():
                if isinstance(examined, Exception):
                    raise examined
                if isinstance(examined, Examined):
                    return examined
                choice = chosen(whole, need.selecting).choice
                best = choice.selected or choice.nearest
                if best is None:
                    raise NothingToMeasure("nothing to examine")
                return examined(whole, (best.position, best.layer))
        raise TypeError(need)

    return Evidence("ckpt", of, frozenset(trained_on))


def measured(function: Any, evidence: Evidence, **parameters: Any) -> Measurement:
    """A measurement under the usual parameters of these tests."""
    found: Measurement = function({**PARAMETERS, **parameters}, evidence)
    return found


def searched(**parameters: Any) -> CandidateSearch:
    return search_of({**PARAMETERS, **parameters})
