"""Candidates scored in full by plain passes: the ground truth that the fast search is compared with.

For each candidate three passes of whole prompts through the whole model: the harmful prompts with the candidate ablated
(bypass, S_comply), the harmless ones with it ablated (KL), the harmless ones with it added (induce, S_refuse). Nothing
is shared between prompts or candidates, resumed, screened or left out. Definitions are those of Arditi et al.
2406.11717 §2.3-2.4 and of COSMIC (linear and affine), with resid_pre[l] as layer l.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoaudit.carriers.scores import kl_to_base, refusal_metric
from geoaudit.errors import RequestError
from geoaudit.interventions.edits import ablate, add, affine
from geoaudit.model.hooks import captured, edited, every_site
from geoaudit.model.prefix import last_index, last_logits

if TYPE_CHECKING:
    from geoaudit.model.chat import Rendered
    from geoaudit.model.hooks import Edit, Place
    from geoaudit.model.loaded import LoadedModel

Arrays = dict[str, NDArray[np.generic]]


def base(
    loaded: LoadedModel,
    harmful: Sequence[Rendered],
    harmless: Sequence[Rendered],
    low_layers: Sequence[int],
    refusal_ids: Sequence[int],
) -> Arrays:
    """What candidates are compared with: the same prompts in the same two batches, no intervention.

    Args:
        loaded: the model.
        harmful: h rendered validation prompts.
        harmless: s of them.
        low_layers: where COSMIC reads its similarity.
        refusal_ids: the refusal tokens.

    Returns:
        `harmful` [h] and `harmless` [s], refusal scores in nats; `x_harmful` [h, d] and `x_harmless` [s, d], each
        prompt's block output at the last token, averaged over `low_layers`; all float64. `logits` [s, vocabulary],
        float32, of the harmless prompts' next token.
    """
    harmful_logits, x_harmful = _whole_pass(loaded, {}, harmful, low_layers)
    harmless_logits, x_harmless = _whole_pass(loaded, {}, harmless, low_layers)
    return {
        "harmful": refusal_metric(harmful_logits, refusal_ids).numpy(),
        "harmless": refusal_metric(harmless_logits, refusal_ids).numpy(),
        "x_harmful": x_harmful.numpy(),
        "x_harmless": x_harmless.numpy(),
        "logits": harmless_logits.numpy(),
    }


def score_candidate(
    loaded: LoadedModel,
    direction: NDArray[np.floating],
    layer: int,
    harmful: Sequence[Rendered],
    harmless: Sequence[Rendered],
    base: Mapping[str, NDArray[np.generic]],
    low_layers: Sequence[int],
    refusal_ids: Sequence[int],
    *,
    operator: Literal["linear", "affine"] = "linear",
    scope: Literal["every_site", "every_site_but_first_token"] = "every_site",
    harmless_mean: NDArray[np.floating] | None = None,
) -> Arrays:
    """All scores of one candidate.

    Args:
        loaded: the model.
        direction: difference in means [d], at the norm that it has.
        layer: l of the resid_pre[l] that it was read at, from 0.
        harmful: h rendered validation prompts.
        harmless: s of them.
        base: what `base` gives for the same prompts, layers and tokens.
        low_layers: where COSMIC reads its similarity.
        refusal_ids: the refusal tokens.
        operator: `linear`: ablated at every site, added at resid_pre[layer]. `affine` (COSMIC's own default): both at
            resid_pre[layer] alone, x − proj_r(x) + proj_r(harmless_mean) + α r with α = 0 for ablation, 1 for addition.
        scope: `every_site_but_first_token` spares token 0 in every edit.
        harmless_mean: [d] mean of the harmless prompts at that position and layer; for `affine`.

    Returns:
        Per prompt: `kl` [s], `bypass` [h], `induce` [s], nats, float64. For COSMIC's cosines, float32 dot products:
        `comply_cross` [h, s] (ablated harmful × plain harmless), `comply_gram` [h, h], `refuse_cross` [s, h] (added
        harmless × plain harmful), `refuse_gram` [s, s].

    Raises:
        RequestError: `affine` without `harmless_mean`.
    """
    if operator == "affine" and harmless_mean is None:
        raise RequestError("the affine operator moves along the direction to the harmless mean: pass harmless_mean")
    r = torch.from_numpy(direction).float()
    source: Place = ("resid_pre", layer)
    ablation: dict[Place, Edit]
    addition: dict[Place, Edit]
    if operator == "affine":
        mean = torch.from_numpy(harmless_mean).float()
        ablation = {source: lambda x: affine(x, r, mean, 0.0)}
        addition = {source: lambda x: affine(x, r, mean, 1.0)}
    else:
        ablation = dict.fromkeys(every_site(loaded), lambda x: ablate(x, r))
        addition = {source: lambda x: add(x, r)}
    if scope == "every_site_but_first_token":
        ablation, addition = (
            {place: _sparing_first(edit) for place, edit in each.items()} for each in (ablation, addition)
        )

    bypassed, x_ablated = _whole_pass(loaded, ablation, harmful, low_layers)
    preserved, _ = _whole_pass(loaded, ablation, harmless, low_layers)
    induced, x_added = _whole_pass(loaded, addition, harmless, low_layers)
    x_harmful, x_harmless, base_logits = (torch.as_tensor(base[name]) for name in ("x_harmful", "x_harmless", "logits"))
    return {
        "kl": kl_to_base(base_logits, preserved).numpy(),
        "bypass": refusal_metric(bypassed, refusal_ids).numpy(),
        "induce": refusal_metric(induced, refusal_ids).numpy(),
        "comply_cross": (x_ablated @ x_harmless.T).float().numpy(),
        "comply_gram": (x_ablated @ x_ablated.T).float().numpy(),
        "refuse_cross": (x_added @ x_harmful.T).float().numpy(),
        "refuse_gram": (x_added @ x_added.T).float().numpy(),
    }


def _sparing_first(edit: Edit) -> Edit:
    """The same edit at all positions but the first."""
    return lambda x: torch.cat([x[:, :1], edit(x)[:, 1:]], dim=1)


def _whole_pass(
    loaded: LoadedModel, edits: Mapping[Place, Edit], prompts: Sequence[Rendered], low_layers: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """One batch of whole prompts, from their first token on, all under the edits.

    Returns:
        Logits of the next token [n, vocabulary] float32, and block outputs at the last token averaged over
        `low_layers` [n, d] float64; both on the CPU.
    """
    places: list[Place] = [("resid_post", layer) for layer in low_layers]
    with edited(loaded, edits), captured(loaded, places) as seen:
        logits = last_logits(loaded, prompts, shared=0, cache=None)
    rows, last = torch.arange(len(prompts)), last_index(prompts, 0)
    outputs = [seen[place].cpu()[rows, last].double() for place in places]
    return logits, torch.stack(outputs).mean(dim=0)
