"""The rule that chooses a carrier from a table of scores: pure, without torch or a model.

Published rules, by name:

``arditi``
    Arditi et al. 2024 (the refusal-direction reference). Drop what is not finite, layers from int(0.8·L) on,
    KL above 0.1, induce below 0; choose the lowest bypass.
``cosmic``
    Papers 1 and 2 (arXiv 2604.27019, Eq. 2) on COSMIC's two cosines. Drop what is not finite, late layers, KL above
    0.1; choose the highest S_refuse + S_comply − β·KL.
``cosmic-affine``
    The same on scores of COSMIC's affine edit, at the candidate's own layer only: v − proj_r(v) + proj_r(μ harmless)
    + α·r with α = 0 to ablate and 1 to add (arXiv 2506.00085, the default of its command line).

Ties go to the first in the order position −n … −1, then layer 0, 1, …, which is the order of the reference's loop;
the order of the table itself never matters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from geoaudit.errors import RequestError, UnknownName

Rule = Literal["arditi", "cosmic", "cosmic-affine"]
Status = Literal["admissible", "not-finite", "late-layer", "behind-peaks", "kl", "not-inducing", "null", "screened"]


@dataclass(frozen=True, slots=True)
class Selecting:
    """How a rule chooses among scored candidates: the knobs of `select` as one noun, hashable."""

    rule: Rule
    kl_budget: float = 0.1
    max_layer_fraction: float = 0.8
    induce_threshold: float = 0.0
    beta: float = 1.0
    raw: bool = False
    """cosmic: the published score alone, without the demand that a candidate does more than nothing (c₀)."""
    peaks: bool = False
    """cosmic: at position −1, drop layers later than both median peaks (COSMIC's code)."""

    @property
    def knobs(self) -> dict[str, Any]:
        """The keyword arguments of `select`, but for `n_layers` and `c0`, which are the model's and not the rule's."""
        return {
            "kl_budget": self.kl_budget,
            "max_layer_fraction": self.max_layer_fraction,
            "induce_threshold": self.induce_threshold,
            "beta": self.beta,
            "peaks": self.peaks,
        }


ROUNDING = 1e-5
"""An S̃ that is not above this is zero: cosines come from dot products that may be stored in float32, and an edit that
does nothing must not induce by its last digit."""

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "arditi": ("bypass", "induce", "kl"),
    "cosmic": ("s_refuse", "s_comply", "kl"),
    "cosmic-affine": ("s_refuse", "s_comply", "kl"),
}
_SCORES = ("bypass", "induce", "s_refuse", "s_comply", "kl")


@dataclass(frozen=True, slots=True)
class Row:
    """The scores of one candidate. None: not measured (never read as 0)."""

    position: int
    """Offset from the end of the rendered prompt: −1 is its last token."""
    layer: int
    """From 0."""
    bypass: float | None = None
    """Mean refusal metric on harmful prompts with the candidate ablated, nats: low is a carrier."""
    induce: float | None = None
    """Mean refusal metric on harmless prompts with the candidate added, nats: high is a carrier."""
    s_refuse: float | None = None
    """Cosine of harmless prompts with the candidate added to harmful prompts as they are (COSMIC)."""
    s_comply: float | None = None
    """Cosine of harmful prompts with the candidate ablated to harmless prompts as they are (COSMIC)."""
    kl: float | None = None
    """Mean KL(base || ablated) of the next token on harmless prompts, nats."""
    excluded: Literal["", "null", "screened", "not-inducing"] = ""
    """Known before any rule: *null* is no direction at all, *screened* was given up after a first part of the
    prompts showed a KL far above the budget, so that its scores are not those of the whole set. *not-inducing*: a
    search for one rule's winner read no more of it when it was seen that adding it does not induce."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What the rule chose, and what it made of every row."""

    selected: Row | None
    """The best admissible candidate; None where nothing is admissible."""
    nearest: Row | None
    """Where nothing is admissible: the inducing candidate of least KL. *Not admissible.* None if none induces. Its
    bypass or S_comply may be missing: a search need not measure them where KL is out of reach."""
    status: list[Status]
    """For each row, in the order given: *admissible*, or the first reason against it."""
    score: float | None
    """The rule's score of `selected`: its bypass (low is good) or its total (high is good)."""


def select(
    scores: Iterable[Mapping[str, Any] | Row],
    rule: Rule = "arditi",
    *,
    n_layers: int | None = None,
    kl_budget: float = 0.1,
    max_layer_fraction: float = 0.8,
    induce_threshold: float = 0.0,
    beta: float = 1.0,
    peaks: bool = False,
    c0: float | None = None,
) -> Selection:
    """Choose the carrier among candidates that have been scored.

    >>> rows = [
    ...     {"position": -1, "layer": 3, "bypass": -5.0, "induce": 2.0, "kl": 0.02},
    ...     {"position": -1, "layer": 4, "bypass": -7.0, "induce": 2.0, "kl": 0.30},
    ... ]
    >>> chosen = select(rows, rule="arditi", n_layers=10)
    >>> chosen.selected.layer, chosen.status
    (3, ['admissible', 'kl'])

    Args:
        scores: one mapping (or `Row`) a candidate, with `position`, `layer`, `kl` and the rule's scores: `bypass` and
            `induce`, or `s_refuse` and `s_comply`. None or NaN in a score means that there is none. Other keys are
            ignored, but for `excluded`.
        rule: "arditi", "cosmic" or "cosmic-affine" (the scores then being those of the affine edit).
        n_layers: blocks of the model, for the late-layer filter; needed unless `max_layer_fraction` is 1 or more.
        kl_budget: greatest KL that is admissible, nats.
        max_layer_fraction: layers from int(n_layers · this) on are not admissible.
        induce_threshold: least induce that counts as inducing (arditi).
        beta: weight of the KL in the total (cosmic); papers 1 and 2: 1, COSMIC itself: 0.
        peaks: cosmic: drop candidates at position −1 whose layer is later than both median peaks, the layers at which
            the other positions have their highest S_comply and their highest S_refuse (COSMIC's code). The table must
            then hold the scores of every layer, also of late ones.
        c0: cosine of the unedited harmful to the unedited harmless prompts (cosmic). A candidate that does nothing
            scores S_refuse = S_comply = c0. With it, S̃ = (S − c0)/(1 − c0) and only candidates with S̃_refuse > 0
            (beyond rounding) induce; the others are *not-inducing* and not admissible, an addition to the published
            rule. Without it that rule stands alone, nothing is known to induce, and there is no `nearest`.

    Returns:
        The selection. Statuses are found in the order `excluded`, not-finite (its KL), late-layer, behind-peaks,
        kl, not-finite (another score), not-inducing: a KL above the budget rules out whatever else was not measured.

    Raises:
        UnknownName: another rule.
        RequestError: a row without a key that the rule needs, with a value that is no number, or for a (position,
            layer) that another row has; `n_layers` missing, or too small for a row; c0 outside [−1, 1).
    """
    if rule not in _NEEDED:
        raise UnknownName.among("selection rule", rule, _NEEDED)
    if n_layers is None and max_layer_fraction < 1:
        raise RequestError(
            f"rule {rule!r} drops late layers and needs n_layers, the model's number of blocks; "
            "pass n_layers=..., or max_layer_fraction=1.0 to keep every layer"
        )
    if c0 is not None and not -1 <= c0 < 1:
        raise RequestError(f"c0 is a cosine in [−1, 1), got {c0}")
    rows = [_row(index, item, rule) for index, item in enumerate(scores)]
    _check_sites(rows, n_layers)
    first_late = math.inf if n_layers is None else int(n_layers * max_layer_fraction)
    last_peak = _last_peak(rows) if peaks and rule != "arditi" else math.inf

    def inducing(row: Row) -> bool | None:
        """None: cannot be told."""
        if rule == "arditi":
            return row.induce is not None and row.induce >= induce_threshold
        if c0 is None or row.s_refuse is None:
            return None
        return scaled(row.s_refuse, c0) > ROUNDING

    def status(row: Row) -> Status:
        if row.excluded:
            return row.excluded
        if row.kl is None or not math.isfinite(row.kl):
            return "not-finite"
        if row.layer >= first_late:
            return "late-layer"
        if row.position == -1 and row.layer > last_peak:
            return "behind-peaks"
        if not row.kl <= kl_budget:
            return "kl"
        if not all(_finite(getattr(row, name)) for name in _NEEDED[rule]):
            return "not-finite"
        return "not-inducing" if inducing(row) is False else "admissible"

    def site(row: Row) -> tuple[int, int]:
        return row.position, row.layer

    found = [status(row) for row in rows]
    admissible = sorted((row for row, state in zip(rows, found, strict=True) if state == "admissible"), key=site)
    if admissible:
        # sorted by site first: min and max return the first of equals
        best = (
            min(admissible, key=lambda row: score(row, rule, beta))
            if rule == "arditi"
            else max(admissible, key=lambda row: score(row, rule, beta))
        )
        return Selection(best, None, found, score(best, rule, beta))
    # Nothing is admissible, so whatever is not late and induces failed on its KL.
    candidates = [row for row, state in zip(rows, found, strict=True) if state == "kl" and inducing(row)]
    nearest = min(candidates, key=lambda row: (_number(row.kl), *site(row)), default=None)
    return Selection(None, nearest, found, None)


def choose(rows: Iterable[Row], how: Selecting, *, n_layers: int, c0: float | None) -> Selection:
    """`select` with the knobs of a `Selecting`.

    The raw score (`how.raw`) chooses without c₀; where it admits nothing, c₀ still tells which candidate is nearest.

    Args:
        rows: the candidates.
        how: rule and knobs.
        n_layers: blocks of the model.
        c0: as in `select`; not read by the rule *arditi*.
    """
    rows = list(rows)
    told = None if how.raw or how.rule == "arditi" else c0
    found = select(rows, how.rule, n_layers=n_layers, c0=told, **how.knobs)
    if found.selected is None and how.raw and how.rule != "arditi":
        found = replace(found, nearest=select(rows, how.rule, n_layers=n_layers, c0=c0, **how.knobs).nearest)
    return found


def scaled(cosine: float, c0: float) -> float:
    """S̃ = (S − c₀)/(1 − c₀): 0 is what no intervention scores, 1 the other kind of prompts exactly."""
    return (cosine - c0) / (1 - c0)


def score(row: Row, rule: Rule, beta: float = 1.0) -> float:
    """The number that a rule ranks by: bypass (arditi, lowest wins), S_refuse + S_comply − β·KL (cosmic, highest).

    NaN where one of its parts is missing.
    """
    if rule == "arditi":
        return _number(row.bypass)
    return _number(row.s_refuse) + _number(row.s_comply) - beta * _number(row.kl)


def _last_peak(rows: list[Row]) -> float:
    """The later of the median peak layers of S_comply and S_refuse over the positions before −1; ∞ without any.

    Medians are lower ones, the first of equal peaks counts and what has no finite score has no part (COSMIC's code).
    """
    medians = []
    for name in ("s_comply", "s_refuse"):
        best: dict[int, tuple[float, int]] = {}
        for row in rows:
            value = getattr(row, name)
            if row.position < -1 and not row.excluded and _finite(value):
                best[row.position] = max(best.get(row.position, (-math.inf, 0)), (value, -row.layer))
        if not best:
            return math.inf
        peaks = sorted(-layer for _, layer in best.values())
        medians.append(peaks[(len(peaks) - 1) // 2])
    return max(medians)


def _row(index: int, item: Mapping[str, Any] | Row, rule: Rule) -> Row:
    """One row of the caller's table, checked."""
    if isinstance(item, Row):
        return item
    if not isinstance(item, Mapping):
        raise RequestError(f"row {index} of the scores is a {type(item).__name__}; pass mappings or Row")
    missing = [name for name in ("position", "layer", *_NEEDED[rule]) if name not in item]
    if missing:
        raise RequestError(f"row {index} of the scores lacks {', '.join(missing)}, which rule {rule!r} needs")
    excluded: Any = item.get("excluded") or ""
    if excluded not in ("", "null", "screened", "not-inducing"):
        raise RequestError(
            f"row {index} of the scores: excluded is 'null', 'screened' or 'not-inducing', got {excluded!r}"
        )
    numbers = {name: _parsed(index, name, item[name]) for name in _SCORES if name in item}
    return Row(_whole(index, "position", item), _whole(index, "layer", item), **numbers, excluded=excluded)


def _parsed(index: int, name: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RequestError(f"row {index} of the scores: {name} is {value!r}, not a number") from None


def _whole(index: int, name: str, item: Mapping[str, Any]) -> int:
    number = _parsed(index, name, item[name])
    if number is None or not number.is_integer():
        raise RequestError(f"row {index} of the scores: {name} is {item[name]!r}, not a whole number")
    return int(number)


def _check_sites(rows: list[Row], n_layers: int | None) -> None:
    """Every (position, layer) once, and every layer one that the model has."""
    seen: dict[tuple[int, int], int] = {}
    for index, row in enumerate(rows):
        if row.layer < 0 or (n_layers is not None and row.layer >= n_layers):
            raise RequestError(f"row {index} of the scores: layer {row.layer} does not exist in {n_layers} layers")
        first = seen.setdefault((row.position, row.layer), index)
        if first != index:
            raise RequestError(
                f"rows {first} and {index} of the scores are both for position {row.position}, layer {row.layer}"
            )


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
