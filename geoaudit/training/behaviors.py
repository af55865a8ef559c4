"""What R2D2 attacks: behaviours by name or from files, each with the openings that attacks may aim at.

HarmBench's adversarial training has twelve openings a behaviour, AdvBench and JailbreakBench one; the built-in
`tune-harmful` has none (its targets are refusals), and gets the recipe's `affirmations`. A behaviour that needs a
context is left out: without it, it asks for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geoaudit.model.manifest import TrainedOn
from geoaudit.prompts import sources
from geoaudit.prompts.benchmarks import BENCHMARKS, load_openings
from geoaudit.prompts.files import load_file
from geoaudit.records import Prompt, PromptSet
from geoaudit.training.pool import Behavior
from geoaudit.training.r2d2_settings import R2D2


@dataclass(frozen=True, slots=True)
class BehaviorSet:
    """One source that a recipe names."""

    prompts: PromptSet
    """Its requests, without those that need a context."""
    behaviors: tuple[Behavior, ...]
    """The same, in the same order, with their openings."""


def load(settings: R2D2, folder: Path, data: Path | None = None) -> tuple[BehaviorSet, ...]:
    """Every source that the recipe names, in its order.

    Args:
        settings: the recipe's.
        folder: the recipe's, which files are relative to.
        data: folder of the benchmark files; None for GEOAUDIT_DATA or the user's cache.

    Raises:
        DataMissing: a benchmark's or the user's file is not there.
        RequestError: a file is not of its format, or a target in it is blank.
    """
    found: list[BehaviorSet] = []
    for source in settings.files(folder):
        if isinstance(source, Path):
            # read as categories, which have to be there and not blank, as targets have
            rows = load_file(source, label="harmful", category_column="target")
            prompts = replace(rows, prompts=tuple(replace(one, id=f"{source.name}/{one.id}") for one in rows.prompts))
            openings: Mapping[str, tuple[str, ...]] = {one.id: (one.category,) for one in prompts.prompts}
        else:
            prompts = sources.load(source, data=data)
            openings = load_openings(BENCHMARKS[source], data) if source in BENCHMARKS else {}
        found.append(_set(prompts, openings, settings))
    return tuple(found)


def _set(prompts: PromptSet, openings: Mapping[str, tuple[str, ...]], settings: R2D2) -> BehaviorSet:
    kept = replace(prompts, prompts=tuple(one for one in prompts.prompts if not one.context))
    behaviors = (Behavior(one.id, one.text, _openings(one, openings, settings)) for one in kept.prompts)
    return BehaviorSet(kept, tuple(behaviors))


def _openings(prompt: Prompt, openings: Mapping[str, tuple[str, ...]], settings: R2D2) -> tuple[str, ...]:
    if prompt.id in openings:
        return openings[prompt.id]
    # the targets of prompts for tuning are refusals
    if prompt.target and not prompt.id.startswith("tune-"):
        return (prompt.target,)
    return settings.affirmations


def every(sets: Sequence[BehaviorSet]) -> tuple[Behavior, ...]:
    """The behaviours of all sources; a request that several have is taken once, from the first."""
    first: dict[str, Behavior] = {}
    for one in sets:
        for behavior in one.behaviors:
            first.setdefault(behavior.request, behavior)
    return tuple(first.values())


def trained_on(sets: Sequence[BehaviorSet]) -> dict[str, TrainedOn]:
    """What the training manifest lists, by hash, so that audits on these requests are told apart."""
    return {
        one.prompts.name: TrainedOn(
            sha256=one.prompts.sha256,
            n=len(one.prompts),
            prompts=tuple(prompt.sha256 for prompt in one.prompts.prompts),
        )
        for one in sets
    }
