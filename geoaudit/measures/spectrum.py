"""The spectrum of the harmful−harmless field: how many directions the differences in means spread over.

The matrix stacks the differences of all post-instruction positions and layers (arXiv 2604.27019 §3, "local SVD"):
uncentred, not normalised unless asked, resid_pre. Rows that are rounding noise (the embedding of a template token)
are left out and counted. Beside each value stands what chance gives: permuted labels, and contrasts between
categories of harmless prompts. The latter are made of far fewer prompts, which alone makes them more spread, so the
field is taken with as few before it is compared with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry import nulls, spectrum
from geoaudit.measures import spectra
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import CategoryMeans, ProbeMeans
from geoaudit.measures.spectra import SEED, Spectra
from geoaudit.measures.spectrum_needs import for_spectrum
from geoaudit.records import Flag, Measurement
from geoaudit.stats.bootstrap import basic_interval, discrete_interval

Statistic = Callable[[NDArray[Any]], NDArray[Any]]

LARGEST_SHIFT = 1.5
"""Median of the resamples over the estimate. In simulations of planted rank 1 and 3 the interval covered up to 1.6."""
LARGEST_NOISE = 0.3
"""Share of the energy. The interval covers where noise holds a sixth of it, and no longer where it holds two fifths; a
value near the full rank cannot grow, so that its shift alone would not tell."""
COMPARATORS = ("at_most", "at_least", "between", "equals")
"""A bound of any kind claims more than chance: met by a value that chance also gives, it says nothing of harm."""
SHOWN = 64
"""Leading components that the record keeps."""


def effective_rank(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Exp of the entropy of the spectrum, in [1, rank].

    `energy`: shares σ²/Σσ² (arXiv 2604.27019 Eq. 3). `singular_values`: shares σ/Σσ (Roy & Vetterli 2007).
    """
    energy = parameters["convention"] == "energy"
    value = spectrum.effective_rank_energy if energy else spectrum.effective_rank_singular_values
    return _measure("effective_rank", "dimensions", value, parameters, evidence)


def participation_ratio(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """(Σσ²)²/Σσ⁴, in [1, rank] (arXiv 2604.27019 Eq. 4)."""
    return _measure("participation_ratio", "dimensions", spectrum.participation_ratio, parameters, evidence)


def components_for_energy(parameters: Mapping[str, Any], evidence: Evidence) -> Measurement:
    """Fewest leading singular vectors that hold `fraction` of Σσ² (k90 and k95 of arXiv 2604.27019)."""

    def count(singular_values: NDArray[Any]) -> NDArray[Any]:
        return spectrum.components_for_energy(singular_values, parameters["fraction"])

    return _measure("components_for_energy", "components", count, parameters, evidence)


def _measure(
    measure: str, unit: str, value: Statistic, parameters: Mapping[str, Any], evidence: Evidence
) -> Measurement:
    probe, topics = for_spectrum(parameters)
    means: ProbeMeans = evidence.of(probe)
    categories: CategoryMeans = evidence.of(topics)
    found = spectra.of(
        means.harmful, means.harmless, tuple(categories.means), parameters["field"], parameters["layer"]
    )
    estimate = float(value(found.own))
    replicates = _each(value, found.replicates)
    low, high, interval = _interval(estimate, replicates, parameters, min(found.rows, found.width), found.blocks)
    null, percentile, chance = _chance(value, estimate, found, len(categories.names))
    flags = [*_noise(estimate, replicates, found.noise), *chance, *evidence.overlaps(estimating=means.prompts)]
    even = float(value(found.even))
    if found.by_norm:
        sentence = f"a few rows dominate by their norm; with every row at unit norm the value is {even:.2f}"
        flags.append(Flag("rank-by-norm", "note", sentence))
    return Measurement(
        measure=measure,
        checkpoint=evidence.checkpoint,
        parameters=evidence.described(parameters),
        unit=unit,
        estimate=estimate,
        low=low,
        high=high,
        interval=interval,
        n=2 * means.n,
        seed=SEED,
        inputs={**means.inputs, categories.prompts.name: categories.prompts.sha256},
        flags=tuple(flags),
        detail={
            "convention": parameters.get("convention", "energy"),
            "field": found.field,
            "singular_values": _rounded(found.own),
            "energies": _rounded(_shares(found.own)),
            "normalised": {"estimate": even, "energies": _rounded(_shares(found.even))},
            "held_out": {"estimate": None if found.held_out is None else float(value(found.held_out))},
            "k90": int(spectrum.components_for_energy(found.own, 0.90)),
            "k95": int(spectrum.components_for_energy(found.own, 0.95)),
            "by_layer": [
                {"layer": layer, "value": None if singular is None else _short(float(value(singular)))}
                for layer, singular in found.by_layer
            ],
            "null": null,
            "percentile": percentile,
            "chance": {"stops": list(COMPARATORS) if any(_within(flag) for flag in chance) else []},
            "noise_share": _short(found.noise),
            "rows": found.rows,
            "dropped": found.dropped,
            "d_model": found.width,
        },
    )


def _each(value: Statistic, singular: NDArray[Any]) -> NDArray[np.float64]:
    """The statistic of each spectrum [R, k], NaN for those that there are none of."""
    there = np.isfinite(singular).all(axis=1) if singular.size else np.zeros(len(singular), dtype=bool)
    values = np.full(len(singular), np.nan)
    if there.any():
        values[there] = value(singular[there])
    return values


def _interval(
    estimate: float, replicates: NDArray[Any], parameters: Mapping[str, Any], rank: int, blocks: int
) -> tuple[float | None, float | None, str]:
    """(low, high, how it was made)."""
    if parameters.get("convention") == "singular_values":
        # Noise enters this convention by amplitude: in simulation no bootstrap over blocks covered its truth.
        return None, None, "none: the bootstrap does not cover this convention"
    try:
        if "fraction" in parameters:
            # A whole number: reflected, the interval would leave the integers.
            central = discrete_interval(replicates)
            how = f"central mass of the bootstrap over {blocks} blocks of prompts"
            return float(central.low), float(central.high), how
        low, high = basic_interval(estimate, replicates, bounds=(1.0, float(rank)))
    except NothingToMeasure as error:
        return None, None, f"none: {error}"
    return low, high, f"basic bootstrap over {blocks} blocks of prompts"


def _noise(estimate: float, replicates: NDArray[Any], share: float) -> tuple[Flag, ...]:
    """Resampling adds the sampling noise once more; where that moves the value far, much of the value is noise."""
    shift = float(np.nanmedian(replicates)) / estimate if np.isfinite(replicates).any() else np.inf
    reasons = []
    if shift > LARGEST_SHIFT:
        reasons.append(f"redrawing the prompts multiplies the value by {shift:.1f}")
    if share > LARGEST_NOISE:
        reasons.append(f"sampling noise holds {min(share, 1):.0%} of the energy")
    if not reasons:
        return ()
    sentence = f"{' and '.join(reasons)}: the value is not to be trusted, nor its interval (raise n_train)"
    return (Flag("noise-dominated", "stops", sentence),)


def _chance(
    value: Statistic, estimate: float, found: Spectra, categories: int
) -> tuple[dict[str, Any], dict[str, Any], list[Flag]]:
    """(null levels, the value's place in them, the check `chance-level`)."""
    null: dict[str, Any] = {"permuted": None, "harmless": None}
    percentile: dict[str, Any] = {"permuted": None, "harmless": None}
    flags = []
    if found.permuted is not None:
        values = _each(value, found.permuted)
        level = nulls.level(values)
        null["permuted"] = _level(level, found.permuted)
        percentile["permuted"] = nulls.percentile(values, estimate)
        if level.holds(estimate):
            flags.append(
                f"{estimate:.3g} is what permuted labels give ({level.low:.3g} to {level.high:.3g}, "
                f"{percentile['permuted']:.0%} of the draws at most as large)"
            )
    if found.harmless is not None and found.matched.size:
        values, own = _each(value, found.harmless), float(np.nanmedian(_each(value, found.matched)))
        level = nulls.level(values)
        null["harmless"] = {
            **_level(level, found.harmless),
            "categories": categories,
            "prompts_per_side": found.prompts_per_side,
            "matched": _short(own),
        }
        percentile["harmless"] = nulls.percentile(values, own)
        if level.holds(own):
            flags.append(
                f"with {found.prompts_per_side:.0f} prompts a side, as contrasts between harmless topics have, the "
                f"value is {own:.3g}, and theirs {level.low:.3g} to {level.high:.3g} ({percentile['harmless']:.0%} "
                "at most as large)"
            )
    generator = np.random.default_rng((SEED, 4))
    fields = generator.standard_normal((spectra.ISOTROPIC, found.rows, found.width))
    null["isotropic"] = _short(float(np.mean(value(spectrum.singular_values(fields)))))
    checks = []
    if flags:
        checks.append(Flag("chance-level", "note", f"{'; '.join(flags)}: the value says nothing of harmfulness"))
    if null["harmless"] is None:
        checks.append(Flag("no-null-level", "note", f"no level of harmless contrasts: {found.why_no_harmless}"))
    return null, percentile, checks


def _within(flag: Flag) -> bool:
    return flag.name == "chance-level"


def _level(level: nulls.Level, singular: NDArray[Any]) -> dict[str, Any]:
    energies = _shares(singular[np.isfinite(singular).all(axis=1)])
    low, high = np.quantile(energies, [0.025, 0.975], axis=0)
    return {
        "n": level.n,
        "low": _short(level.low),
        "median": _short(level.median),
        "high": _short(level.high),
        "energies_low": _rounded(low),
        "energies_high": _rounded(high),
    }


def _shares(singular: NDArray[Any]) -> NDArray[Any]:
    energy = singular**2
    shares: NDArray[Any] = energy / energy.sum(axis=-1, keepdims=True)
    return shares


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _rounded(values: NDArray[Any]) -> list[float]:
    return [_short(value) for value in values[:SHOWN]]
