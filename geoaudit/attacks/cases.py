"""The nouns of attacks: what is asked for (`Attack`), and each text that is put to a model (`Case`). Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from geoaudit.records import Prompt

AttackName = Literal["direct", "fixed", "prefill", "past_tense", "format", "system", "sampled", "gcg", "autodan"]
ADAPTIVE: frozenset[str] = frozenset({"gcg", "autodan"})
"""Attacks whose text is optimised against a checkpoint: there are no cases before one is loaded."""


@dataclass(frozen=True, slots=True)
class Attack:
    """How behaviours are put to a model. Frozen and hashable: equal attacks make equal cases."""

    name: AttackName = "direct"
    k: int = 0
    """`prefill`: tokens of the target that the answer begins with."""
    samples: int = 1
    """`sampled`: completions a behaviour."""
    temperature: float = 0.0
    """`sampled`: 0 is greedy."""
    seed: int = 0
    """`sampled`: with the behaviour's id and the sample's number it fixes a completion.
    Adaptive: of the candidates that are drawn."""
    format: str = ""
    """`format`: which format the answer is asked for in."""
    stored: str = ""
    """`fixed`: name of a set of stored attack prompts; empty where `file` is given."""
    file: str = ""
    """`fixed`: absolute path of a file of the user's."""
    method: str = ""
    """`fixed`: only this method's cases; empty for all."""
    source_model: str = ""
    """`fixed`: only cases made on this model; empty for all."""
    system: str | None = None
    """`system`: the system prompt to ask under, empty for none at all; None leaves the audit's own."""
    budget: int = 0
    """Adaptive: steps (`gcg`) or generations (`autodan`), at most."""
    width: int = 0
    """Adaptive: candidates of a step, or prompts of a generation."""
    initial: str = ""
    """`autodan`: the prompts to begin with, a set of stored attacks or the absolute path of a file."""
    checkpoint: str = ""
    """Adaptive: the checkpoint of this audit that the text is optimised against; empty for the one that is asked."""

    @property
    def adaptive(self) -> bool:
        """Whether the text is optimised against a checkpoint."""
        return self.name in ADAPTIVE


@dataclass(frozen=True, slots=True)
class Case:
    """One text put to the model for one behaviour."""

    id: str
    """The behaviour's id, with `#` and a number or name where a behaviour has several cases."""
    prompt: Prompt
    """The behaviour."""
    text: str
    """The user's turn."""
    prefill: str = ""
    """Text whose first `Attack.k` tokens the answer begins with."""
    method: str = ""
    """`fixed`: how the text was made."""
    source_model: str = ""
    """`fixed`: the model it was made on."""
    seed: int | None = None
    """Of the sampled completion; None for greedy decoding."""


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of an attack on a prompt set, in the order of the prompts."""

    cases: tuple[Case, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Behaviours and rows that are left out: reason -> count."""
