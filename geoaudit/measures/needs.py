"""What measures draw from a checkpoint, as data: the plan counts these, the run fulfils each once.

A need is frozen and hashable; two measures that ask for the same thing hold equal needs. What
computes stands apart, so that planning and deciding again import no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from geoaudit.attacks.cases import Attack
from geoaudit.carriers.select import Selecting
from geoaudit.measures.inputs import AS_AUDITED, ChatSetting, File, Source

DIRECT = Attack()
PROBE_HARMFUL = ("probe-harmful-train", "probe-harmful-validation")
PROBE_HARMLESS = ("probe-harmless-train", "probe-harmless-validation")
SCARY, CONTRASTS = "safe-but-scary", "safe-but-scary-contrasts"
EVERYDAY = "benign-utility"
REFERENCE_TOKENS = 64
"""New tokens of the answers that refusal scores are checked against (what offline refusal judges are given)."""
DAMAGE_READ_ON = 16
"""Everyday requests to which answers are given, token by token, under an intervention."""


@dataclass(frozen=True, slots=True)
class Completions:
    """Completions of the first `n` prompts of a source (all for None) under an attack. Gives `CompletedPrompts`."""

    source: Source
    n: int | None
    max_new_tokens: int
    attack: Attack = DIRECT
    chat: ChatSetting = AS_AUDITED

    @property
    def optimised(self) -> Optimised | Elsewhere | None:
        """What an adaptive attack's text comes from; None for an attack whose text is known beforehand."""
        if not self.attack.adaptive:
            return None
        made = Optimised(self.source, self.n, replace(self.attack, checkpoint=""), self.chat)
        return Elsewhere(self.attack.checkpoint, made) if self.attack.checkpoint else made


@dataclass(frozen=True, slots=True)
class Optimised:
    """An adaptive attack against this checkpoint, a text for each behaviour of a source. Gives `OptimisedPrompts`."""

    source: Source
    n: int | None
    attack: Attack
    chat: ChatSetting = AS_AUDITED


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge says of completions, one judgement a case. Gives `JudgedPrompts`."""

    completions: Completions | EditedCompletions
    judge: str


Contrast = Literal["harmful", "refused"]
"""What candidate directions are the difference of: harmful − harmless prompts (paper 1), or the prompts that the model
refuses − those that it answers, by its own judged completions (paper 2)."""
Scope = Literal["every_site", "every_site_but_first_token"]
Operator = Literal["linear", "affine"]
"""`linear`: directional ablation and addition. `affine`: COSMIC's edit around the mean of the harmless prompts."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Block means of the residual stream on the probe sets' train halves. Gives `ProbeMeans`."""

    n_train: int
    chat: ChatSetting = AS_AUDITED


@dataclass(frozen=True, slots=True)
class Categories:
    """Block means of the harmless probe prompts, category by category: what a null level is made of.

    Gives `CategoryMeans`.
    """

    n_train: int
    chat: ChatSetting = AS_AUDITED


@dataclass(frozen=True, slots=True)
class Cells:
    """Block means by what was asked and what the model did: harmful or harmless × refused or complied.

    Prompts are the probe sets and the safe-but-scary requests with their contrasts, so that each kind has some of each
    answer. Gives `CellMeans`.
    """

    n_train: int
    chat: ChatSetting = AS_AUDITED

    @property
    def answered(self) -> tuple[Completions, ...]:
        """The model's own answers, by which prompts are sorted: two sets of harmful prompts, two of harmless ones."""
        sources = (PROBE_HARMFUL[0], CONTRASTS, PROBE_HARMLESS[0], SCARY)
        return tuple(Completions(Source(name), self.n_train, REFERENCE_TOKENS, chat=self.chat) for name in sources)


@dataclass(frozen=True, slots=True)
class Projections:
    """Validation prompts projected on the train halves' directions, at every position and layer. Gives `Projected`."""

    probe: Probe
    n_validation: int
    contrast: Contrast = "harmful"

    @property
    def answered(self) -> tuple[Completions, Completions]:
        """The model's own answers to the validation prompts (contrast *refused*)."""
        return validation_answers(self.n_validation, self.probe.chat)


@dataclass(frozen=True, slots=True)
class CandidateSearch:
    """Scores of every candidate direction on the validation halves. Gives `carriers.table.SearchTable`."""

    probe: Probe
    n_validation: int
    max_layer_fraction: float
    kl_budget: float = 0.1
    """Nats. Candidates that could come within it are scored in full."""
    frontier_kl: float = 1.0
    """Nats. Up to here the frontier of KL against effect is complete."""
    contrast: Contrast = "harmful"
    operator: Operator = "linear"
    scope: Scope = "every_site"
    filtered: bool = False
    """Only harmful prompts with a refusal score above 0 and harmless ones below (the refusal-direction reference)."""
    search: Literal["frontier", "winner", "exhaustive"] = "frontier"
    selecting: Selecting | None = None
    """The rule whose winner is wanted (search *winner* only)."""

    @property
    def answered(self) -> tuple[Completions, Completions]:
        """The model's own answers to harmful and to harmless validation prompts: its refusals are among them."""
        return validation_answers(self.n_validation, self.probe.chat)


@dataclass(frozen=True, slots=True)
class Examination:
    """The direction that a rule uses, looked at more closely: controls, other scopes. Gives `carriers.Examined`."""

    search: CandidateSearch
    selecting: Selecting
    direction: Literal["carrier", "nearest"]


@dataclass(frozen=True, slots=True)
class SubspaceAblation:
    """Top-k subspaces at the layer of the direction in use, ablated on prompts that no selection saw, beside controls.

    Gives `carriers.SubspaceEffects`.
    """

    search: CandidateSearch
    selecting: Selecting
    direction: Literal["carrier", "nearest"]
    n: int | None
    """Held-out harmful prompts; None: all."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What the direction of another checkpoint (`source`, a name of this audit) does in this one. Gives `Carried`."""

    search: CandidateSearch
    selecting: Selecting
    direction: Literal["carrier", "nearest"]
    source: str


TargetName = Literal["R", "H", "H+R", "H_perp_R", "R_perp_H", "subspace", "stored"]
"""What is intervened on: the refusal direction in use, the harmfulness direction at `t_inst`, both, either without its
component along the other, the top-k subspace at the layer of R, or what a file of the user's holds."""
ControlKind = Literal["covariance", "categories", "norm_matched", "random"]
"""What decides whether an effect is one. Others at the dose that disturbs harmless prompts as much as the target does:
out of the spread of activations, or contrasts between categories of harmless prompts. Where that disturbance is itself
read: others that change the stream by as much, or random ones at the target's dose."""


@dataclass(frozen=True, slots=True)
class Intervention:
    """A target edited into the model on prompts that no selection saw, beside its controls.

    Gives `carriers.effects.Effects`, with the site of the target.
    """

    search: CandidateSearch
    selecting: Selecting
    direction: Literal["carrier", "nearest"]
    target: TargetName
    operator: Literal["ablate", "add"]
    scope: Literal["every_site", "every_site_but_first_token", "single_layer"]
    dose: float
    k: int
    """Dimensions of the subspace."""
    source: Source
    n: int | None
    """Prompts of the source that are scored; None: all."""
    n_controls: int
    """Of the kind that decides."""
    controls: ControlKind = "covariance"
    file: File | None = None
    """Of target `stored`."""
    layer: int | None = None
    """Of target `stored`: where it is edited and its controls are drawn; None: the layer of R."""
    reads: Literal["refusal_score", "harmless_kl"] = "refusal_score"
    """What is read of each scored prompt."""

    @property
    def projections(self) -> Projections:
        """Where H separates validation prompts best."""
        return Projections(self.search.probe, self.search.n_validation)

    @property
    def categories(self) -> Categories:
        """The harmless prompts that controls `categories` are contrasts between."""
        return Categories(self.search.probe.n_train, self.search.probe.chat)


@dataclass(frozen=True, slots=True)
class EditedCompletions:
    """Completions under the target of an intervention, and under each of its KL-matched controls at its own dose.

    Gives `EditedPrompts`.
    """

    completions: Completions
    """The same prompts without an edit."""
    intervention: Intervention


@dataclass(frozen=True, slots=True)
class Damage:
    """What an intervention, and some of its controls, do to answers to everyday requests. Gives `Damaged`."""

    intervention: Intervention
    written: bool
    """Whether the edited models also write answers of their own, to see how many of them are none."""

    @property
    def answers(self) -> Completions:
        """The unedited model's own: those that are answers, and no refusals, are what damage is read on."""
        return Completions(Source(EVERYDAY), DAMAGE_READ_ON, REFERENCE_TOKENS, chat=self.intervention.search.probe.chat)


@dataclass(frozen=True, slots=True)
class CosineProfiles:
    """Cosines of H and R with the input of each layer at the last token of validation prompts.

    Without an edit, with the other direction ablated at every site, and with control directions ablated. Gives
    `Profiles`.
    """

    form: Literal["identified", "paper"]
    """What H and R are, as measures of coupling have them (`made_of` is what they are read from)."""
    h_position: int | Literal["t_inst"]
    r_position: int | Literal["t_inst"]
    contrast: Contrast
    direction: Literal["carrier", "nearest"]
    n_train: int
    n_validation: int
    made_of: tuple[Need, ...]
    chat: ChatSetting = AS_AUDITED


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Prompts of known answers between the centres of refused harmful and answered harmless ones. Gives `BeliefRows`.

    The centres are made of the probe sets' train halves; the prompts that are scored are in neither.
    """

    n_train: int
    n_validation: int
    chat: ChatSetting = AS_AUDITED

    @property
    def centres(self) -> tuple[Completions, Completions]:
        """The model's own answers to the harmful and the harmless prompts that centres are made of."""
        harmful, harmless = (self._answers(name, self.n_train) for name in (PROBE_HARMFUL[0], PROBE_HARMLESS[0]))
        return harmful, harmless

    @property
    def scored(self) -> tuple[Completions, ...]:
        """The same to the prompts that are scored: harmful ones, harmless ones, and safe ones that sound harmful."""
        sets = (*((name, self.n_train) for name in ("harmful", CONTRASTS)), (PROBE_HARMLESS[1], self.n_validation))
        return tuple(self._answers(*each) for each in (*sets, (EVERYDAY, self.n_train), (SCARY, self.n_train)))

    @property
    def answered(self) -> tuple[Completions, ...]:
        """All of them."""
        return (*self.centres, *self.scored)

    def _answers(self, name: str, n: int) -> Completions:
        return Completions(Source(name), n, REFERENCE_TOKENS, chat=self.chat)


@dataclass(frozen=True, slots=True)
class Inversion:
    """Answers to "would it be harmful?", with the harmfulness or the refusal direction added. Gives `Inverted`."""

    probe: Probe
    n_validation: int
    layer: int
    """resid_pre of this layer."""
    coefficient: float
    """In units of the two directions; negative takes them away."""
    asked: Literal["harmful", "harmless"]
    """The requests that the edited model is asked about."""
    refusal_positions: Literal["instruction", "all"] = "instruction"
    """Where the refusal direction is added. The harmfulness direction is added at the request's own tokens."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A need of another checkpoint of this audit, by its name. Gives what the need gives there."""

    checkpoint: str
    need: Probe | CandidateSearch | Transfer | Examination | Optimised | Completions | Judged


Need = (
    Completions
    | Judged
    | Probe
    | Categories
    | Cells
    | Projections
    | CandidateSearch
    | Examination
    | SubspaceAblation
    | Transfer
    | Intervention
    | EditedCompletions
    | Damage
    | CosineProfiles
    | Beliefs
    | Inversion
    | Optimised
    | Elsewhere
)


def validation_answers(n: int, chat: ChatSetting) -> tuple[Completions, Completions]:
    """The model's own answers to the first n harmful and harmless validation prompts."""
    harmful, harmless = (
        Completions(Source(name), n, REFERENCE_TOKENS, chat=chat) for name in (PROBE_HARMFUL[1], PROBE_HARMLESS[1])
    )
    return harmful, harmless
