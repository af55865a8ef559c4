"""What fulfilled needs are: completions with their cases, judgements, and means of activations with their prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from geoaudit.attacks.cases import Case, Cases
from geoaudit.attacks.trace import Trace
from geoaudit.records import Completion, Exchange, Judgement, PromptSet, digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from geoaudit.geometry.directions import BlockMeans


@dataclass(frozen=True)
class CompletedPrompts:
    """Fulfilled `Completions`: cases in the order of their behaviours, with what the model answered."""

    prompts: PromptSet
    """The behaviours asked for."""
    cases: tuple[Case, ...]
    completions: tuple[Completion, ...]
    """One a case; `text` is what the model itself wrote."""
    key: str
    """Hash of checkpoint, contract, prompts and attack: names these completions in the record."""
    prefills: tuple[str, ...] = ()
    """What was put into the model's mouth, one a case; empty for none at all."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Behaviours and cases that the attack leaves out: reason -> count."""
    batches: tuple[int, ...] = ()
    """Cases in each generated batch."""
    rendered: str = ""
    """Hash of the token ids and seeds: two attacks that come to the same ask the same."""

    @property
    def exchanges(self) -> list[Exchange]:
        """What a judge reads, in order: the whole answer, unless the model added nothing to what it was given."""
        prefills = self.prefills or ("",) * len(self.cases)
        return [
            Exchange(
                case.prompt.request,
                case.text,
                prefill + completion.text if completion.text.strip() else completion.text,
                case.prompt.context,
            )
            for case, completion, prefill in zip(self.cases, self.completions, prefills, strict=True)
        ]


@dataclass(frozen=True)
class OptimisedPrompts:
    """Fulfilled `Optimised`: what the attack did for each behaviour, in their order."""

    prompts: PromptSet
    traces: tuple[Trace, ...]

    @property
    def cases(self) -> Cases:
        """What is sent of each behaviour: the text with the lowest loss, or the one that the target follows."""
        made = [
            Case(prompt.id, prompt, (trace.last if trace.stopped == "matched" else trace.best).text)
            for prompt, trace in zip(self.prompts.prompts, self.traces, strict=True)
        ]
        return Cases(tuple(made))


@dataclass(frozen=True)
class EditedPrompts:
    """Fulfilled `EditedCompletions`: the same cases under every edit."""

    target: CompletedPrompts
    controls: tuple[CompletedPrompts | None, ...]
    """In the order of `Effects.controls["kl_matched"]`; None for one that was hardly applied, or that broke the model
    so far that it has no likeliest token."""

    @property
    def sets(self) -> tuple[CompletedPrompts, ...]:
        """The target's, then those of the controls that there are."""
        return (self.target, *(each for each in self.controls if each is not None))

    @property
    def exchanges(self) -> list[Exchange]:
        """What a judge reads: set after set."""
        return [exchange for each in self.sets for exchange in each.exchanges]


@dataclass(frozen=True)
class JudgedPrompts:
    """Fulfilled `Judged`."""

    judgements: tuple[Judgement, ...]
    """One a case."""
    judge_id: str
    """Rules, weights or prompt text that said so."""
    caveats: tuple[str, ...] = ()
    """Why what it says may agree with no published number."""


@dataclass(frozen=True)
class ProbeMeans:
    """Fulfilled `Probe`: block means at every post-instruction position and layer row, with their prompt sets.

    Layer row l < L is `resid_pre[l]`, row L is `resid_post[L − 1]`.
    """

    harmful: BlockMeans
    harmless: BlockMeans
    tokens: tuple[str, ...]
    """Post-instruction tokens, position −P first."""
    prompts: tuple[PromptSet, PromptSet]
    """The harmful and the harmless ones."""
    harmful_inst: BlockMeans | None = None
    """The same at `t_inst`, the last token of the instruction: [B, 1, L + 1, d]."""
    harmless_inst: BlockMeans | None = None

    @property
    def n(self) -> int:
        """Prompts a class."""
        return len(self.prompts[0])

    @property
    def twins(self) -> bool:
        """Whether block b of the harmless prompts holds the twins of the harmful ones in block b (`Prompt.pair`)."""
        pairs, others = ([prompt.pair for prompt in prompts.prompts] for prompts in self.prompts)
        return all(pairs) and pairs == others and self.harmful.count.tolist() == self.harmless.count.tolist()

    @property
    def inputs(self) -> dict[str, str]:
        """Prompt set -> hash."""
        return {prompts.name: prompts.sha256 for prompts in self.prompts}


@dataclass(frozen=True)
class CategoryMeans:
    """Fulfilled `Categories`: block means of each category of harmless prompts, [B', P, L + 1, d]."""

    names: tuple[str, ...]
    means: tuple[BlockMeans, ...]
    """One a category; at the post-instruction positions."""
    means_inst: tuple[BlockMeans, ...]
    """One a category; at `t_inst`."""
    prompts: PromptSet


CELLS = ("harmful_refused", "harmful_complied", "harmless_refused", "harmless_complied")
"""What was asked, and what the model did."""


@dataclass(frozen=True)
class CellMeans:
    """Fulfilled `Cells`: block means of each cell, [B, 1 + P, L + 1, d]; index 0 of the second axis is `t_inst`."""

    cells: Mapping[str, BlockMeans | None]
    """Name in `CELLS` -> means; None for an empty cell."""
    tokens: tuple[str, ...]
    """Post-instruction tokens, position −P first."""
    prompts: tuple[PromptSet, ...]
    left_out: int
    """Prompts whose answer is neither a refusal nor compliance (degenerate, unparsed)."""

    def n(self, cell: str) -> int:
        """Prompts in a cell."""
        means = self.cells[cell]
        return 0 if means is None else int(means.count.sum())

    @property
    def inputs(self) -> dict[str, str]:
        """Prompt set -> hash."""
        return {prompts.name: prompts.sha256 for prompts in self.prompts}


@dataclass(frozen=True, eq=False)
class Projected:
    """Fulfilled `Projections`: unit train directions applied to validation prompts, in activation units.

    Index 0 of the position axis is `t_inst`, then −P … −1. NaN where the direction is null.
    """

    positive: NDArray[np.float64]
    """[1 + P, L + 1, n⁺] harmful (or refused) prompts."""
    negative: NDArray[np.float64]
    """[1 + P, L + 1, n⁻] harmless (or complied) prompts."""
    tokens: tuple[str, ...]
    """Post-instruction tokens, position −P first."""
    prompts: tuple[PromptSet, PromptSet]


@dataclass(frozen=True, eq=False)
class Profiles:
    """Fulfilled `CosineProfiles`: cosines with the input of the first nine tenths of the layers, at the last token.

    Index 0 of the first axis is H, index 1 is R; K layers; n prompts, the harmful ones first. NaN where an activation
    is zero or not finite.
    """

    plain: NDArray[np.float64]
    """[2, n, K] without an edit."""
    without_other: NDArray[np.float64]
    """[2, n, K] of H with R ablated at every site, of R with H ablated."""
    controls: NDArray[np.float64]
    """[2, m, n, K] of H with a control of R ablated, of R with a control of H ablated."""
    cosine: float
    """Of H and R."""
    prompts: tuple[PromptSet, PromptSet]
    """The harmful and the harmless ones, in pairs."""


KINDS = ("harmful", "harmless", "scary")
"""What a scored prompt is: harmful, harmless, or harmless and sounding harmful."""


@dataclass(frozen=True, eq=False)
class BeliefRows:
    """Fulfilled `Beliefs`: scalar products of n scored prompts with N block means of the centres' prompts.

    The position axis has `t_inst`, then −1. Layer row l < L is `resid_pre[l]`, row L is `resid_post[L − 1]`.
    """

    cross: NDArray[np.floating]
    """[n, 2, L + 1, N]."""
    norm: NDArray[np.floating]
    """[n, 2, L + 1] Euclidean norms of the scored prompts' activations."""
    gram: NDArray[np.float64]
    """[2, L + 1, N, N] of the block means with each other."""
    count: NDArray[np.int64]
    """[N] prompts in each block; none is empty."""
    refused: NDArray[np.bool_]
    """[N] whether a block holds harmful prompts that were refused; the others hold harmless ones that were answered."""
    kind: tuple[str, ...]
    """[n] of `KINDS`."""
    answer: tuple[Literal["refused", "answered", "unread"], ...]
    """[n] what the model did, by its own judged answers."""
    source: tuple[str, ...]
    """[n] the prompt set."""
    scored: tuple[PromptSet, ...]
    centres: tuple[PromptSet, PromptSet]
    """The harmful and the harmless prompts that were sorted for the centres."""

    @property
    def inputs(self) -> dict[str, str]:
        """Prompt set -> hash."""
        return {prompts.name: prompts.sha256 for prompts in (*self.centres, *self.scored)}


@dataclass(frozen=True, eq=False)
class Inverted:
    """Fulfilled `Inversion`: log-odds of "Certainly" (harmful) against "No", in nats; W wordings, n requests."""

    base: NDArray[np.float64]
    """[W, n] without an edit, on the requests that were edited."""
    other: NDArray[np.float64]
    """[W, n] without an edit, on the requests of the other kind."""
    edited: NDArray[np.float64]
    """[2, W, n] with H, and with R."""
    controls: NDArray[np.float64]
    """[2, M, W, n] with each of the controls of either."""
    mass: NDArray[np.float64]
    """[3, W, n] probability of the two words together: without an edit, with H, with R."""
    kl: NDArray[np.float64]
    """[2] nats on plain harmless requests."""
    control_kl: NDArray[np.float64]
    """[2, M]."""
    dose: NDArray[np.float64]
    """[2, M] of the controls, in units of the direction's length."""
    norm: NDArray[np.float64]
    """[2] of H and R as they were added, in activation units."""
    cosine: float
    """Of H and R."""
    words: tuple[str, str]
    """The tokens that stand for the two answers."""
    prompts: tuple[PromptSet, ...]
    """The requests that were edited, those of the other kind, and those that directions were made of."""


@dataclass(frozen=True, eq=False)
class Damaged:
    """Fulfilled `Damage`: n answers of at most T tokens under the target (index 0) and then under m controls."""

    kl: NDArray[np.float64]
    """[1 + m, n, T] KL(unedited ‖ edited) of the next token at each token of an answer, nats; NaN behind its end."""
    loss: NDArray[np.float64]
    """[2 + m, n, T] −log p of the answer's own tokens, nats: without an edit, then as `kl`; NaN behind its end."""
    which: tuple[int, ...]
    """[m] place of each control among those that decide."""
    broken: NDArray[np.bool_]
    """[2 + w, a] whether an answer that the model wrote itself is none (empty, a loop, nonsense), to the a requests
    that the unedited one does not refuse: without an edit, under the target, and under the first w of the controls.
    [1, a] where nothing was written under an edit."""
    prompts: PromptSet
    """All that were asked."""

    @property
    def places(self) -> NDArray[np.bool_]:
        """[n, T] where there is a token of an answer."""
        import numpy as np

        found: NDArray[np.bool_] = ~np.isnan(self.loss[0])
        return found


def texts_key(completed: str) -> str:
    """Where the store keeps what was asked and answered, for a set of completions (`CompletedPrompts.key`)."""
    return digest(["texts", completed])
