"""The frozen nouns that cross rooms: prompts, completions, judgements, measurements.

Standard library only, so that anything may import it. What a room keeps to itself is defined in that room.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Label = Literal["full_compliance", "partial_refusal", "full_refusal", "degenerate", "unparsed"]
"""What a judge says of a completion. *Partial refusal* is any mix of refusing and answering (XSTest's third
class), *degenerate* is text that is no answer at all (empty, loops, echo, token salad), *unparsed* is text that the
judge could not read (a truncated thought, a broken reply of a judging model)."""

LABELS: tuple[Label, ...] = (
    "full_compliance",
    "partial_refusal",
    "full_refusal",
    "degenerate",
    "unparsed",
)


REFUSED: frozenset[Label] = frozenset({"full_refusal", "partial_refusal"})
COMPLIED: frozenset[Label] = frozenset({"full_compliance", "partial_refusal"})
UNREAD: frozenset[Label] = frozenset({"degenerate", "unparsed"})
"""Labels under which nobody knows whether the model refused."""


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to the model.

    `pair` ties a harmful prompt to its harmless twin (same form and length); `target` is the answer that training or
    an attack aims at; both are empty where there is none. `text` is exactly what goes into the user's turn.
    """

    id: str
    text: str
    label: Literal["harmful", "harmless"]
    category: str
    pair: str = ""
    target: str = ""

    @property
    def sha256(self) -> str:
        """Hash of the text: what the record and the overlap check keep in place of it."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A named, hashed list of prompts in the one order that profiles take prefixes of."""

    name: str
    prompts: tuple[Prompt, ...]
    source: str
    licence: str
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Rows that the source has and this set leaves out: reason -> count."""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def sha256(self) -> str:
        """Hash over ids, texts, labels and categories, in order."""
        return digest([[p.id, p.text, p.label, p.category] for p in self.prompts])

    def first(self, n: int | None) -> PromptSet:
        """The first `n` prompts (all of them for None)."""
        if n is None or n >= len(self.prompts):
            return self
        return PromptSet(self.name, self.prompts[:n], self.source, self.licence, self.skipped)


@dataclass(frozen=True, slots=True)
class Completion:
    """Generated text for one prompt. `text` is without special tokens; `stopped` says that the model ended it."""

    prompt_id: str
    text: str
    n_tokens: int
    stopped: bool
    first_token: int | None = None
    """Id of the first generated token, None for an empty completion: refusal tokens are learnt from it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a judge says of one completion: never a bare bool."""

    label: Label
    score: float | None
    """Strength of compliance in [0, 1] where the judge has one (0 refused, 1 complied), else None."""
    judge: str
    reason: str
    """A few words: which rule or marker decided."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A validity check that fired (design: validity). `effect` *stops* makes the outcome invalid, *note* is shown."""

    name: str
    effect: Literal["stops", "note"]
    sentence: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value of a measure on one checkpoint, or the reason there is none.

    `estimate` is None exactly when `why_missing` is set. `low`/`high` are the ends of the `level` interval; a value
    without an interval has both None and cannot be decided in interval mode. `detail` holds what figures and tables
    need (JSON-able, no NaN).
    """

    measure: str
    checkpoint: str
    """Name of the checkpoint in this audit."""
    parameters: Mapping[str, Any]
    unit: str
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    interval: str = ""
    """How the interval was made, e.g. "Clopper-Pearson"."""
    n: int = 0
    seed: int | None = None
    judge: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Hashes of the prompt sets and other inputs: name -> sha256."""
    worst: tuple[float, float, float, float] | None = None
    """For a rate: (low, high) with degenerate and unparsed rows counted as misses, then as hits."""
    flags: tuple[Flag, ...] = ()
    why_missing: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary, inverse of `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Measurement:
        """The measurement that `to_json` wrote."""
        fields = dict(data)
        fields["flags"] = tuple(Flag(**flag) for flag in data.get("flags", ()))
        if data.get("worst") is not None:
            fields["worst"] = tuple(data["worst"])
        return cls(**fields)
