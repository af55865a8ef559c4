"""What a judge is and how far to trust it: one card a judge, with numbers that a test recomputes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a judge compared with human labels on one set, for one question of yes or no."""

    data: str
    """The set, and which part of it."""
    positives: int
    """Rows that humans label with the thing in question."""
    negatives: int
    sensitivity: float
    """Share of the positives that the judge finds, in [0, 1], to three decimals."""
    specificity: float
    """Share of the negatives that the judge leaves alone, in [0, 1], to three decimals."""
    seen: bool
    """Whether rows of this part were read while the rules were written."""

    @property
    def n(self) -> int:
        """Rows compared."""
        return self.positives + self.negatives


@dataclass(frozen=True, slots=True)
class JudgeCard:
    """The card of one judge."""

    name: str
    labels: str
    """What it labels, and as what."""
    language: str
    limits: str
    """Where it is known or expected to fail."""
    licence: str
    agreement: tuple[Agreement, ...]
