"""Settings of GCG, and those of the references by name. Plain data: imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from geoaudit.errors import RequestError


@dataclass(frozen=True, slots=True)
class GCG:
    """Settings of the search. Frozen and hashable. The defaults are HarmBench's with a search that never gets worse.

    Raises:
        RequestError: a value out of its range.
    """

    steps: int = 500
    """Steps at most."""
    width: int = 512
    """Candidates drawn a step."""
    topk: int = 256
    """Replacements of each token that are drawn from."""
    n_replace: int = 1
    """Tokens replaced in a candidate."""
    positions: Literal["even", "random"] = "even"
    """`even`: candidate i replaces token floor(i L / width), as HarmBench; `random`: drawn, as nanoGCG."""
    initial: str = " ".join("!" * 20)
    """The suffix that the search begins with."""
    monotone: bool = True
    """Never move to a string with a higher loss (nanoGCG's buffer of 1); False: to the best candidate (HarmBench)."""
    filter: bool = True
    """Drop candidates whose tokens are not those of their text; False takes them with the tokens of their text."""
    ascii_only: bool = True
    """Printable ASCII only."""
    early_stop: bool = False
    """Stop a behaviour when the model would answer with the target word for word."""
    share: float = 0.25
    """Of the candidates, how many have their whole target read: those that are best in its first tokens, see
    `scoring.lowest`. 1 reads all of them, as HarmBench and nanoGCG."""
    draft: bool = False
    """Rank candidates by a bfloat16 copy of a float32 model, and compute the losses of the best eighth in float32: less
    time where the processor multiplies bfloat16 itself, for half the weights' memory more. `attack` only."""
    seed: int = 0
    """Of the draws, with the aim's id and the step."""

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("width", 1), ("topk", 1), ("n_replace", 1)):
            if getattr(self, name) < least:
                raise RequestError(f"gcg: {name} must be {least} or more, got {getattr(self, name)}")
        if self.positions not in ("even", "random"):
            raise RequestError(f"gcg: positions are 'even' or 'random', got {self.positions!r}")
        if self.positions == "even" and self.n_replace > 1:
            raise RequestError(f"gcg: even positions replace one token, got n_replace {self.n_replace}: use 'random'")
        if not 0 < self.share <= 1:
            raise RequestError(f"gcg: share is above 0 and at most 1, got {self.share}")
        if not self.initial.strip():
            raise RequestError("gcg: initial is empty; begin with some tokens, such as '! ! ! !'")

    @classmethod
    def harmbench(cls, **changes: Any) -> GCG:
        """The settings of HarmBench: 500 steps, width 512, top-k 256, even positions, always the best candidate.

        What differs: the filter looks at the whole rendered prompt; where nothing survives it, candidates are taken
        with the tokens of their text; the current token is no replacement of itself, and a replacement is drawn once;
        no answer is generated on the way (its stop at a non-refusal every 50 steps); the trace has the best string.
        """
        return replace(cls(monotone=False, share=1.0), **changes)

    @classmethod
    def nanogcg(cls, **changes: Any) -> GCG:
        """The settings of nanoGCG 0.3.0: 250 steps, width 512, top-k 256, drawn positions, 20 times "x", no buffer.

        What differs: a space stands between request and suffix; as for `harmbench`, filter and replacements.
        """
        return replace(
            cls(steps=250, positions="random", initial=" ".join("x" * 20), monotone=False, share=1.0), **changes
        )
