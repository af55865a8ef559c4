"""What an intervention does to next-token logits, beside its controls: refusal scores of prompts, KL on harmless ones.

Target and controls are edits of one operator and one scope, so that they share passes (`passes`). The controls that
gate an effect are *KL-matched*: as strong as they can be (dose λ ≤ 4) while disturbing harmless prompts no more than
the target does. The others are shown beside them at the target's own dose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.doses import matched_doses
from geoaudit.carriers.scorer import Arrays, Floats, as_array
from geoaudit.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor

    from geoaudit.carriers.passes import Passes, Read
    from geoaudit.carriers.scores import Base
    from geoaudit.model.hooks import Edit

Operator = Literal["ablate", "add", "redirect"]
AT_ONCE = 33
"""Edits that share a pass: a target and 32 controls."""


@dataclass(frozen=True, eq=False)
class Edited:
    """C edits of one kind.

    `ablate` takes the components along each frame out of the stream, x − λ UᵀU x (arXiv 2604.27019, Eq. 6; with one row
    2606.16349, Eq. 14). `add` adds λ times the first row of each frame, at the norm that it has. `redirect` is the
    norm-matched control of an ablation: what ablating `along` takes out is taken out along the frame instead.
    """

    operator: Operator
    frames: Floats
    """[C, k, d]. *ablate*: orthonormal rows. *add*: k = 1, at the norm at which dose 1 adds it."""
    layer: int | None
    """Edited at resid_pre of this layer, the original's pre-hook; None: wherever the stream is written."""
    spare_first: bool = False
    """Leave token 0, the attention sink, as it is."""
    along: Floats | None = None
    """[d], of `redirect`: the target, whose doses are signs."""

    def __post_init__(self) -> None:
        if self.operator == "add" and (self.layer is None or self.frames.shape[1] != 1):
            raise RequestError("activation addition adds one vector at one layer")

    def __len__(self) -> int:
        return len(self.frames)

    def some(self, which: Sequence[int] | NDArray[np.int64]) -> Edited:
        """Some of the edits."""
        return replace(self, frames=self.frames[list(which)])

    def applied(self, doses: Floats) -> Edit:
        """The edit of a stream [C, tokens, d], at doses λ [C]."""
        import torch

        from geoaudit.interventions.edits import ablate_subspace, add, redirect

        frames = torch.from_numpy(self.frames.astype(np.float32))
        dose = torch.from_numpy(doses.astype(np.float32))[:, None, None]
        if self.operator == "ablate":
            return lambda x: ablate_subspace(x, frames.to(x.device), dose.to(x.device))
        if self.operator == "redirect":
            assert self.along is not None
            target = torch.from_numpy(self.along.astype(np.float32))[None, None]
            return lambda x: redirect(x, target.to(x.device), frames.to(x.device), dose.to(x.device))
        vectors = dose * frames
        return lambda x: add(x, vectors.to(x.device))


@dataclass(frozen=True, eq=False)
class ControlEffects:
    """What m controls of one kind do."""

    dose: Floats
    """[m] λ."""
    kl: Floats
    """[m] mean KL on harmless prompts, nats."""
    scores: Floats
    """[m, n] refusal scores, nats; or KL where that is what is read."""


@dataclass(frozen=True, eq=False)
class Effects:
    """An intervention and its controls on n prompts that no selection saw, and on s harmless ones.

    Where KL is what is read, it stands in place of the refusal scores, the prompts are one and the same, and no edit
    is 0.
    """

    base: Floats
    """[n] refusal score without an intervention, nats."""
    target: Floats
    """[n] with it."""
    kl: Floats
    """[s] KL(base ‖ edited) of the next token on harmless prompts, nats."""
    controls: Mapping[str, ControlEffects]
    """Kind -> its controls; `decides` names the one that gates."""
    layer: int
    """Whose layer the target is."""
    position: int | None
    """Offset from the end of the prompt at which the target was read; None: at `t_inst`."""
    inputs: Mapping[str, str]
    """Prompt set -> hash."""
    decides: str = "kl_matched"
    """The kind of control that gates."""
    dimensions: float | None = None
    """In which those vary, about (`geometry.controls.dimensions`)."""

    @property
    def deciding(self) -> ControlEffects:
        """The controls that gate."""
        return self.controls[self.decides]

    @classmethod
    def of_arrays(
        cls,
        arrays: Mapping[str, NDArray[np.float64]],
        layer: int,
        position: int | None,
        inputs: Mapping[str, str],
        decides: str = "kl_matched",
    ) -> Effects:
        """Back from the store."""
        kinds = [name.removesuffix(".dose") for name in arrays if name.endswith(".dose")]
        controls = {
            kind: ControlEffects(*(arrays[f"{kind}.{part}"] for part in ("dose", "kl", "scores"))) for kind in kinds
        }
        return cls(arrays["base"], arrays["target"], arrays["kl"], controls, layer, position, inputs, decides)


@dataclass(frozen=True, eq=False)
class Asked:
    """The prompts of one evaluation, with the unedited model's answers to them."""

    passes: Passes
    """Over the harmless prompts, then the scored ones."""
    base_kl: Base
    n_harmless: int
    refusal_ids: Sequence[int]

    @property
    def harmless(self) -> range:
        """Where `passes` has the harmless prompts."""
        return range(self.n_harmless)

    @property
    def scored(self) -> range:
        """Where `passes` has the prompts whose refusal scores are read."""
        return range(self.n_harmless, self.passes.n)

    def kl(self, edits: Edited, doses: Floats) -> Floats:
        """[C, s] KL on the harmless prompts, nats."""
        return self._read(edits, doses, self.harmless, lambda read: self.base_kl.kl(read.logits, self.harmless))

    def scores(self, edits: Edited, doses: Floats) -> Floats:
        """[C, n] refusal scores, nats."""
        from geoaudit.carriers.scores import refusal_metric

        return self._read(edits, doses, self.scored, lambda read: refusal_metric(read.logits, self.refusal_ids))

    @property
    def base(self) -> Floats:
        """[n] refusal scores without an intervention."""
        from geoaudit.carriers.scores import refusal_metric

        return as_array(refusal_metric(self.passes.plain.logits[0, self.n_harmless :], self.refusal_ids))

    def _read(self, edits: Edited, doses: Floats, prompts: range, value: Callable[[Read], Tensor]) -> Floats:
        found = []
        for start in range(0, len(edits), AT_ONCE):
            part = range(start, min(start + AT_ONCE, len(edits)))
            edit = edits.some(part).applied(doses[list(part)])
            read = self.passes.under(edit, len(part), prompts, layer=edits.layer, spare_first=edits.spare_first)
            found.append(as_array(value(read)))
        return np.concatenate(found)


def effects(
    asked: Asked, target: Edited, dose: float, matched: Edited, beside: Mapping[str, tuple[Edited, Floats]]
) -> Arrays:
    """The target at its dose, KL-matched controls at theirs, and further controls at doses that are given.

    Args:
        asked: the prompts.
        target: one edit.
        dose: its λ.
        matched: controls of the same operator and scope, whose doses are matched on the harmless prompts.
        beside: kind -> controls and their doses.

    Returns:
        What the store keeps, for `Effects.of_arrays`.
    """
    own = np.array([dose])
    kl = asked.kl(target, own)[0]
    sign = -1.0 if dose < 0 else 1.0

    def kl_of(doses: Floats, which: NDArray[np.int64]) -> Floats:
        mean: Floats = asked.kl(matched.some(which), sign * doses).mean(axis=-1)
        return mean

    doses, matched_kl = matched_doses(kl_of, len(matched), float(kl.mean()))
    found: Arrays = {"base": asked.base, "target": asked.scores(target, own)[0], "kl": kl}
    found |= _row("kl_matched", sign * doses, matched_kl, asked.scores(matched, sign * doses))
    for kind, (edits, given) in beside.items():
        found |= _row(kind, given, asked.kl(edits, given).mean(axis=-1), asked.scores(edits, given))
    return found


def _row(kind: str, dose: Floats, kl: Floats, scores: Floats) -> Arrays:
    return {f"{kind}.dose": dose, f"{kind}.kl": kl, f"{kind}.scores": scores}
