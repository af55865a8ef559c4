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
from geoaudit.measures.spectra import SEED, Resampled, Spectra
from geoaudit.measures.spectrum_needs import for_spectrum
from geoaudit.records import Flag, Measurement
from geoaudit.stats.bootstrap import basic_interval, discrete_interval

Statistic = Callable[[NDArray[Any]], NDArray[Any]]

LARGEST_FACTOR = 1.5
"""Of the value over the one without sampling noise."""
LARGEST_NOISE = 0.25
"""Share of the energy. In simulation (tests/tools/geometry_coverage.py) intervals hold the truth of planted ranks 1 to
3 in 93 % of trials or more up to a fifth; at a quarter, where this stops about half, 7 % are not stopped and miss."""
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
    layer = parameters["layer"] if parameters["field"] == "layer" else None
    found = spectra.of(means.harmful, means.harmless, tuple(categories.means), parameters["field"], layer, means.twins)
    estimate = float(value(found.own))
    low, high, how = interval(estimate, found.resampled, value, parameters)
    null, percentile, chance = _chance(value, found, len(categories.names))
    flags = [*noise_dominated(estimate, found.resampled, value), *chance, *evidence.overlaps(estimating=means.prompts)]
    even = float(value(found.even))
    held_out = found.resampled.held_out
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
        interval=how,
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
            "held_out": {"estimate": None if held_out is None else float(value(held_out))},
            "k90": int(spectrum.components_for_energy(found.own, 0.90)),
            "k95": int(spectrum.components_for_energy(found.own, 0.95)),
            "by_layer": [
                {"layer": layer, "value": None if singular is None else _short(float(value(singular)))}
                for layer, singular in found.by_layer
            ],
            "null": null,
            "percentile": percentile,
            "chance": {"stops": list(COMPARATORS) if any(_within(flag) for flag in chance) else []},
            "noise_share": _short(found.resampled.noise),
            "rows": found.resampled.rows,
            "dropped": found.dropped,
            "d_model": found.resampled.width,
        },
    )


def _each(value: Statistic, singular: NDArray[Any]) -> NDArray[np.float64]:
    """The statistic of each spectrum [R, k], NaN for those that there are none of."""
    there = np.isfinite(singular).all(axis=1) if singular.size else np.zeros(len(singular), dtype=bool)
    values = np.full(len(singular), np.nan)
    if there.any():
        values[there] = value(singular[there])
    return values


def interval(
    estimate: float, found: Resampled, value: Statistic, parameters: Mapping[str, Any]
) -> tuple[float | None, float | None, str]:
    """(low, high, how it was made): of the value without sampling noise, made to reach to the value itself."""
    if parameters.get("convention") == "singular_values":
        # Noise enters this convention by amplitude: in simulation no bootstrap over blocks covered its truth.
        return None, None, "none: the bootstrap does not cover this convention"
    if found.held_out is None:
        return None, None, "none: the field, or one row of it, has no energy above its sampling noise"
    replicates = _each(value, found.replicates)
    try:
        if "fraction" in parameters:
            # A whole number: reflected, the interval would leave the integers.
            central = discrete_interval(replicates)
            low, high, how = float(central.low), float(central.high), "central mass of the"
        else:
            bounds = (1.0, float(min(found.rows, found.width)))
            low, high = basic_interval(float(value(found.held_out)), replicates, bounds=bounds)
            how = "basic"
            if found.spread is not None:  # a tail below the noise would be cancelled with it
                high = max(high, float(value(found.spread)))
    except NothingToMeasure as error:
        return None, None, f"none: {error}"
    drawn = "twin prompts" if found.twins else "prompts"
    how += f" bootstrap over {found.blocks} blocks of {drawn}, without sampling noise"
    if not low <= estimate <= high:
        how += ", widened to the value"
    return min(low, estimate), max(high, estimate), how


def noise_dominated(estimate: float, found: Resampled, value: Statistic) -> tuple[Flag, ...]:
    """The check of that name. A value that noise makes large is a note while its interval still holds the truth."""
    if found.noise > LARGEST_NOISE:
        sentence = (
            f"sampling noise holds {min(found.noise, 1):.0%} of the energy: neither the value nor its interval is to "
            "be trusted (raise n_train)"
        )
        return (Flag("noise-dominated", "stops", sentence),)
    if found.held_out is not None and estimate > LARGEST_FACTOR * (without := float(value(found.held_out))):
        sentence = f"sampling noise turns {without:.3g} into {estimate:.3g}: raise n_train, or read field: held_out"
        return (Flag("noise-dominated", "note", sentence),)
    return ()


def _chance(value: Statistic, found: Spectra, categories: int) -> tuple[dict[str, Any], dict[str, Any], list[Flag]]:
    """(null levels, the value's place in them, the check `chance-level`)."""
    null: dict[str, Any] = {"permuted": None, "harmless": None}
    percentile: dict[str, Any] = {"permuted": None, "harmless": None}
    reasons = []
    own = float(value(found.resampled.noisy))
    if found.permuted is not None:
        values = value(found.permuted)
        level = nulls.level(values)
        null["permuted"] = _level(level, found.permuted)
        percentile["permuted"] = share = _short(nulls.percentile(values, own))
        if level.holds(own):
            reasons.append(
                f"permuted labels give {level.low:.3g} to {level.high:.3g} ({share:.0%} of them at most {own:.3g})"
            )
    if found.harmless is not None and found.matched is not None:
        values, own = value(found.harmless), float(np.median(value(found.matched)))
        level = nulls.level(values)
        side = f"{found.prompts_per_side:.0f} prompts a side"
        null["harmless"] = {
            **_level(level, found.harmless),
            "categories": categories,
            "prompts_per_side": found.prompts_per_side,
            "matched": _short(own),
        }
        percentile["harmless"] = share = _short(nulls.percentile(values, own))
        if level.holds(own):
            reasons.append(
                f"contrasts between harmless topics give {level.low:.3g} to {level.high:.3g} with {side}, harmful "
                f"against harmless {own:.3g} with as few ({share:.0%} of them at most that)"
            )
    generator = np.random.default_rng((SEED, 4))
    fields = generator.standard_normal((spectra.ISOTROPIC, found.resampled.rows, found.resampled.width))
    null["isotropic"] = _short(float(np.mean(value(spectrum.singular_values(fields)))))
    checks = []
    if reasons:
        checks.append(Flag("chance-level", "note", f"{'; '.join(reasons)}: the value says nothing of harmfulness"))
    if null["harmless"] is None:
        checks.append(Flag("no-null-level", "note", f"no level of harmless contrasts: {found.why_no_harmless}"))
    return null, percentile, checks


def _within(flag: Flag) -> bool:
    return flag.name == "chance-level"


def _level(level: nulls.Level, singular: NDArray[Any]) -> dict[str, Any]:
    low, high = np.quantile(_shares(singular), [0.025, 0.975], axis=0)
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
