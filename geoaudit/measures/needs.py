"""What measures draw from a checkpoint, as data: the plan counts these, the run fulfils each once.

A need is frozen and hashable; two measures that ask for the same thing hold equal needs. The table names the functions
at the end, which stand here and not beside what computes, so that planning and deciding again import no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

PROBE_HARMFUL = ("probe-harmful-train", "probe-harmful-validation")
PROBE_HARMLESS = ("probe-harmless-train", "probe-harmless-validation")
REFERENCE_TOKENS = 64
"""New tokens of the answers that refusal scores are checked against (what offline refusal judges are given)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where prompts come from: a name, or a file of the user's (`file` absolute)."""

    name: str
    file: str = ""
    column: str = "prompt"
    category: str = ""
    label: Literal["harmful", "harmless"] = "harmful"


@dataclass(frozen=True, slots=True)
class Completions:
    """Greedy completions of the first `n` prompts of a source (all for None). Gives `CompletedPrompts`."""

    source: Source
    n: int | None
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Block means of the residual stream on the probe sets' train halves. Gives `ProbeMeans`."""

    n_train: int


@dataclass(frozen=True, slots=True)
class CandidateSearch:
    """Scores of every candidate direction on the validation halves. Gives `carriers.search.SearchTable`."""

    probe: Probe
    n_validation: int
    max_layer_fraction: float

    @property
    def answered(self) -> tuple[Completions, Completions]:
        """The model's own answers to harmful and to harmless validation prompts: its refusals are among them."""
        names = (PROBE_HARMFUL[1], PROBE_HARMLESS[1])
        harmful, harmless = (Completions(Source(name), self.n_validation, REFERENCE_TOKENS) for name in names)
        return harmful, harmless


Need = Completions | Probe | CandidateSearch

PHASES: tuple[type, ...] = (Completions, Probe, CandidateSearch)
"""The order in which needs are fulfilled: text first, then activations, then interventions."""

PHASE_NAMES: dict[type, str] = {Completions: "generate", Probe: "activations", CandidateSearch: "carrier search"}


def for_rate(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """The completions that a rate is counted on."""
    return (Completions(parameters["source"], parameters["n"], parameters["max_new_tokens"]),)


def for_spectrum(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Block means on the probe sets."""
    return (Probe(parameters["n_train"]),)


def for_carrier(parameters: Mapping[str, Any]) -> tuple[Need, ...]:
    """Candidate scores, and judged completions of the same validation prompts to check the refusal score against."""
    search = CandidateSearch(Probe(parameters["n_train"]), parameters["n_validation"], parameters["max_layer_fraction"])
    return (search.probe, search, *search.answered)
