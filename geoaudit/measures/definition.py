"""What a measure is, as data: parameters, unit, range, source, and the names of the functions that compute it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["rate", "continuous", "discrete"]
Role = Literal["reference", "previous", "named"]
"""Which checkpoint of its trajectory a checkpoint is compared with, or one that the suite names."""


@dataclass(frozen=True, slots=True)
class Against:
    """What a measure of two checkpoints compares with: the value of a parameter of type `checkpoint`."""

    role: Role
    checkpoint: str = ""
    """Its name in the audit; empty until the audit has said which one it is, unless the suite names it."""
    here: str = ""
    """The name of the checkpoint that is compared with it."""


@dataclass(frozen=True)
class Parameter:
    """One key of `with:`. `profile` parameters take their default from the profile and may be set in the suite.

    `choices` is one of the choices or a list of several; `stored` names stored attacks or a file of them; `chat` is the
    mapping that the suite's `chat:` gives to all lines; `checkpoint` is the role of another checkpoint, or where
    `named` is set the name of one; `file` is one of the user's that holds no prompts.
    """

    what: str
    type: Literal[
        "source",
        "choice",
        "choices",
        "int",
        "float",
        "bool",
        "text",
        "stored",
        "chat",
        "position",
        "checkpoint",
        "file",
    ]
    default: Any = None
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    profile: bool = False
    named: bool = False


@dataclass(frozen=True)
class Measure:
    """What can be asserted of a checkpoint."""

    name: str
    title: str
    function: str
    """Dotted name `module:function(parameters, evidence) -> Measurement`."""
    needs: str
    """Dotted name `module:function(parameters) -> tuple[Need, ...]`."""
    unit: str
    kind: Kind
    range: tuple[float | None, float | None]
    better: Literal["lower", "higher", "neither"]
    says: str
    says_not: str
    source: str
    """Where the definition comes from."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    version: int = 1
    """Raised when the same rows would give another value: old measurements are then not used."""


CHAT = Parameter("How requests are rendered: {system: TEXT, template: NAME or FILE, thinking: false}.", "chat")
"""A parameter of every measure; the suite's `chat:` is its default."""
