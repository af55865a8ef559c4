"""The plan: which measurements an audit needs, each once, what they will cost, and what cannot be decided by them.

Nothing here loads a model. Token counts are estimates from characters; times come from what this machine was measured
to do with a model of this size, or from a rule of thumb where it never was.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from geoaudit import judges
from geoaudit.audit.profiles import Profile
from geoaudit.audit.suite import check_parameter
from geoaudit.errors import UnknownName
from geoaudit.measures.bench import Contract, load_source
from geoaudit.measures.evidence import describe
from geoaudit.measures.needs import (
    PHASE_NAMES,
    PHASES,
    PROBE_HARMFUL,
    PROBE_HARMLESS,
    CandidateSearch,
    Completions,
    Need,
    Probe,
    Source,
)
from geoaudit.measures.table import Measure, dotted, get
from geoaudit.records import digest

CHARACTERS_PER_TOKEN = 4.2
TEMPLATE_TOKENS = 35
TYPICAL_POSITIONS = 5
GREEDY_STEP = 4.0
"""A generated token costs about this many prefill tokens when 64 prompts share a step (measured on two CPU cores)."""
CPU_CORE_FLOPS = 0.2e12
"""bf16 prefill of a small model on one AVX-512 core; the rule of thumb until a run was timed."""
ACCELERATOR_FLOPS = 50e12


@dataclass(frozen=True)
class Planned:
    """One measurement of one checkpoint."""

    checkpoint: str
    measure: str
    parameters: Mapping[str, Any]
    key: str

    @property
    def needs(self) -> tuple[Need, ...]:
        """What it draws from the checkpoint."""
        needs: tuple[Need, ...] = dotted(get(self.measure).needs)(self.parameters)
        return needs


@dataclass(frozen=True)
class Work:
    """What fulfilling one need costs."""

    need: Need
    phase: str
    prompts: int
    tokens: int
    """Prompt tokens and generated ones, passes counted."""
    units: float
    """In prefill tokens."""


def resolve(measure: Measure, given: Mapping[str, Any], profile: Profile) -> dict[str, Any]:
    """Every parameter of the measure: as given, else the profile's, else the table's default.

    Raises:
        UnknownName: for a parameter that the measure does not have.
        GeoauditError: for a value that it cannot take.
    """
    for name in given:
        if name not in measure.parameters:
            raise UnknownName.among(f"parameter of {measure.name}", name, measure.parameters)
    resolved: dict[str, Any] = {}
    for name, parameter in measure.parameters.items():
        if name in given:
            resolved[name] = check_parameter(name, parameter, given[name])
        elif parameter.profile:
            resolved[name] = profile.defaults[name]
        else:
            resolved[name] = Source(parameter.default) if parameter.type == "source" else parameter.default
    return resolved


def measurement_key(
    checkpoint_id: str,
    contract: Contract,
    measure: Measure,
    parameters: Mapping[str, Any],
    trained_on: Iterable[str],
    data: Path | None,
) -> str:
    """Hash of everything that determines a measurement; no folder and no name of a checkpoint is part of it."""
    needs: tuple[Need, ...] = dotted(measure.needs)(parameters)
    return digest(
        [
            "measurement",
            checkpoint_id,
            asdict(contract),
            measure.name,
            measure.version,
            {name: describe(value) for name, value in parameters.items()},
            [sha for need in needs for sha in prompt_hashes(need, data)],
            sorted(trained_on),
            judges.rules_sha256(),
        ]
    )


def prompt_hashes(need: Need, data: Path | None) -> tuple[str, ...]:
    """Hashes of the prompt sets that a need reads."""
    return tuple(_sha(source, n, data, _stamp(source)) for source, n in _sources(need))


def _sources(need: Need) -> tuple[tuple[Source, int | None], ...]:
    match need:
        case Completions(source, n, _):
            return ((source, n),)
        case Probe(n_train):
            return ((Source(PROBE_HARMFUL[0]), n_train), (Source(PROBE_HARMLESS[0]), n_train))
        case CandidateSearch(probe, n, _):
            return (*_sources(probe), (Source(PROBE_HARMFUL[1]), n), (Source(PROBE_HARMLESS[1]), n))


def _stamp(source: Source) -> tuple[int, int] | None:
    """What changes when a file of the user's is edited while the program runs."""
    if not source.file or not Path(source.file).is_file():
        return None
    about = Path(source.file).stat()
    return about.st_mtime_ns, about.st_size


@cache
def _sha(source: Source, n: int | None, data: Path | None, stamp: tuple[int, int] | None) -> str:
    return load_source(source, data).first(n).sha256


def works(planned: Iterable[Planned], n_layers: int, data: Path | None) -> list[Work]:
    """The needs of all planned measurements, each once, in the order of phases, with their cost."""
    needs: dict[Need, None] = {}
    for one in planned:
        for need in one.needs:
            for each in (need.probe, *need.answered, need) if isinstance(need, CandidateSearch) else (need,):
                needs[each] = None
    ordered = sorted(needs, key=lambda need: PHASES.index(type(need)))
    return [_work(need, n_layers, data) for need in ordered]


def _work(need: Need, n_layers: int, data: Path | None) -> Work:
    sets = [load_source(source, data).first(n) for source, n in _sources(need)]
    lengths = [
        [len(prompt.text) / CHARACTERS_PER_TOKEN for prompt in one.prompts]
        for one in (sets[2:] if isinstance(need, CandidateSearch) else sets)
    ]
    prompts = sum(len(one) for one in lengths)
    own = int(sum(sum(one) for one in lengths))
    whole = own + TEMPLATE_TOKENS * prompts
    match need:
        case Completions():
            generated = prompts * need.max_new_tokens
            tokens, units = whole + generated, whole + GREEDY_STEP * generated
        case Probe():
            tokens, units = whole, float(whole)
        case CandidateSearch():
            # The shared prefix is computed once a pass; harmless prompts go through two passes, harmful through one.
            candidates = TYPICAL_POSITIONS * int(n_layers * need.max_layer_fraction)
            one = int(own * 1.5) + 15 * prompts + 2 * TEMPLATE_TOKENS
            tokens, units = candidates * one, float(candidates * one)
    return Work(need, PHASE_NAMES[type(need)], prompts, tokens, units)


def seconds_per_unit(parameters: int, device: str) -> float:
    """Rule of thumb for one prefill token of a model with that many parameters."""
    flops = ACCELERATOR_FLOPS if device != "cpu" else CPU_CORE_FLOPS * (os.cpu_count() or 1)
    return 2 * parameters / flops


def memory_bytes(parameters: int, n_layers: int, d_model: int, vocabulary: int, dtype: str) -> int:
    """About the most that is held at once: weights, the key-value cache and logits of one generated batch."""
    width = {"float32": 4, "bfloat16": 2, "float16": 2}.get(dtype, 4)
    tokens = 64 * (64 + 2 * TEMPLATE_TOKENS)
    return parameters * width + tokens * n_layers * d_model * width + 64 * vocabulary * 8
