"""Every candidate direction, scored once for both selection rules.

One ablation pass and one addition pass a candidate serve the rule of the refusal-direction reference (bypass, induce,
KL) and COSMIC's (S_comply, S_refuse). Ablation acts at every site (block inputs, attention and MLP outputs), addition
at the candidate's own resid_pre with its raw norm, both at all positions (Arditi et al. 2406.11717 §2.4; spec of
COSMIC, linear). The prefix that all prompts share (system prompt and template) is computed once a candidate, and KL is
tried on a few prompts first: a candidate whose mean KL must exceed `KL_FRONTIER` whatever the other prompts say is
screened out.

What is kept of a candidate is per prompt, so that selection can be resampled without the model: refusal scores and KL,
and for COSMIC the dot products between prompts that its cosines of means are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.resample import ArditiScores, CosmicScores
from geoaudit.carriers.scores import kl_to_base, refusal_metric
from geoaudit.carriers.select import Row
from geoaudit.geometry.directions import BlockMeans, activation_scale, cosine, differences, norms, null_rows, overall
from geoaudit.interventions.edits import ablate, add
from geoaudit.records import digest

if TYPE_CHECKING:
    from torch import Tensor

    from geoaudit.model.chat import Rendered
    from geoaudit.model.hooks import Place
    from geoaudit.model.loaded import LoadedModel

Floats = NDArray[np.float64]

KL_FRONTIER = 0.5
"""Nats. No budget lies above it, and a candidate that costs more is no `nearest` either."""
SCREEN = 8
"""Harmless prompts on which KL is tried first."""
LOW_LAYERS = 0.10
"""COSMIC reads its similarity at the tenth of the layers where harmful and harmless are least alike."""


class ArrayRows(Protocol):
    """What the search needs of the store."""

    def get_arrays(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays under `key`, or None."""

    def put_arrays(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays under `key`, atomically."""


@dataclass(frozen=True, eq=False)
class SearchTable:
    """All C candidates of one checkpoint on n harmful and n harmless prompts, with what they are compared with."""

    candidates: tuple[Row, ...]
    """Position, layer, and why a candidate was not scored in full; without scores."""
    norm: tuple[float, ...]
    """Of each difference in means, in activation units."""
    arditi: ArditiScores
    cosmic: CosmicScores
    """Both NaN where there is no score; a screened candidate has the KL of its first prompts."""
    base_harmful: Floats
    """[n] refusal score of harmful prompts, no intervention, nats."""
    base_harmless: Floats
    """[n] the same of harmless prompts."""
    n_layers: int
    low_layers: tuple[int, ...]
    """Where COSMIC reads its similarity."""
    refusal_tokens: tuple[str, ...]
    inputs: Mapping[str, str]
    """Prompt set -> hash."""

    @property
    def n(self) -> int:
        """Validation prompts a class."""
        return int(self.base_harmful.size)


def search(
    *,
    harmful: BlockMeans,
    harmless: BlockMeans,
    rendered_harmful: Sequence[Rendered],
    rendered_harmless: Sequence[Rendered],
    open_model: Callable[[], LoadedModel],
    refusal_tokens: Mapping[str, int],
    max_layer_fraction: float,
    inputs: Mapping[str, str],
    rows: ArrayRows,
    key: Callable[..., str],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SearchTable:
    """Score every (position, layer) of the probe means on the validation prompts.

    Args:
        harmful: block means [B, P, L + 1, d] of the harmful probe prompts; the last row is the last block's output.
        harmless: the same of the harmless ones.
        rendered_harmful: n validation prompts.
        rendered_harmless: as many harmless ones.
        open_model: gives the model; called only when a row is missing.
        refusal_tokens: text -> id of the tokens with which this model's refusals begin.
        max_layer_fraction: layers from int(fraction · L) on are not scored.
        inputs: prompt set -> hash, passed on.
        rows: where finished candidates are kept.
        key: makes a row's key from what determines it, besides checkpoint and contract.
        progress: called with (candidates done, in all).
    """
    directions = differences(harmful, harmless)
    positions, n_layers = directions.shape[0], directions.shape[1] - 1
    null = null_rows(directions, activation_scale(harmful, harmless))
    low_layers = _least_alike(harmful, harmless)
    scorer = _Scorer(open_model, rendered_harmful, rendered_harmless, low_layers, list(refusal_tokens.values()))
    context = digest(
        [
            [list(one.ids) for one in (*rendered_harmful, *rendered_harmless)],
            low_layers,
            KL_FRONTIER,
            sorted(refusal_tokens.values()),
        ]
    )

    def stored(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        found = rows.get_arrays(name)
        if found is None:
            found = make()
            rows.put_arrays(name, found)
        return found

    base = stored(key("base", context), scorer.base)
    scorer.know(base)
    grid = [
        (position - positions, layer)
        for position in range(positions)
        for layer in range(min(n_layers, int(n_layers * max_layer_fraction)))
    ]
    candidates: list[Row] = []
    found: list[dict[str, np.ndarray]] = []
    for index, (position, layer) in enumerate(grid):
        row: dict[str, np.ndarray] = {}
        excluded: Literal["", "null", "screened"] = "null"
        if not null[position, layer]:
            direction = directions[position, layer].astype(np.float32)
            name = key("candidate", context, layer, digest(direction.tobytes().hex()))
            row = stored(name, lambda: scorer.candidate(direction, layer))  # noqa: B023 - called at once
            excluded = "" if "bypass" in row else "screened"
        candidates.append(Row(position, layer, excluded=excluded))
        found.append(row)
        progress(index + 1, len(grid))
    n = len(rendered_harmful)
    kl = _stacked(found, "kl", (n,))
    return SearchTable(
        candidates=tuple(candidates),
        norm=tuple(float(norms(directions[row.position, row.layer - n_layers - 1])) for row in candidates),
        arditi=ArditiScores(_stacked(found, "bypass", (n,)), _stacked(found, "induce", (n,)), kl),
        cosmic=CosmicScores(
            **{name: _stacked(found, name, (n, n)) for name in _SQUARE},
            harmful_gram=base["x_harmful"] @ base["x_harmful"].T,
            harmless_gram=base["x_harmless"] @ base["x_harmless"].T,
            base_cross=base["x_harmful"] @ base["x_harmless"].T,
            kl=kl,
        ),
        base_harmful=base["harmful"],
        base_harmless=base["harmless"],
        n_layers=n_layers,
        low_layers=low_layers,
        refusal_tokens=tuple(refusal_tokens),
        inputs=inputs,
    )


_SQUARE = ("comply_cross", "comply_gram", "refuse_cross", "refuse_gram")


def _least_alike(harmful: BlockMeans, harmless: BlockMeans) -> tuple[int, ...]:
    """COSMIC's layers: lowest cosine between mean harmful and mean harmless block output at the last token.

    Of layers that are equally alike the latest is read: a direction that is added behind a layer cannot be seen there.
    """
    one, other = overall(harmful)[-1, 1:], overall(harmless)[-1, 1:]
    alike = [round(cosine(a, b), 9) for a, b in zip(one, other, strict=True)]
    count = max(1, int(LOW_LAYERS * len(alike)))
    return tuple(sorted(sorted(range(len(alike)), key=lambda layer: (alike[layer], -layer))[:count]))


def _stacked(rows: Sequence[Mapping[str, np.ndarray]], name: str, shape: tuple[int, ...]) -> Floats:
    """One score of all candidates, [C, *shape], NaN where a candidate lacks it or has it for fewer prompts."""
    out = np.full((len(rows), *shape), np.nan)
    for index, row in enumerate(rows):
        if name in row:
            target = out[index][: len(row[name])] if len(shape) == 1 else out[index]
            target[...] = row[name]
    return out


class _Scorer:
    """The passes themselves. The model is opened at the first one."""

    def __init__(
        self,
        open_model: Callable[[], LoadedModel],
        harmful: Sequence[Rendered],
        harmless: Sequence[Rendered],
        low_layers: tuple[int, ...],
        refusal_ids: Sequence[int],
    ) -> None:
        self.open_model = open_model
        self.harmful = list(harmful)
        self.harmless = list(harmless)
        self.low_layers = low_layers
        self.refusal_ids = list(refusal_ids)
        self.base_logits: Tensor | None = None
        self.plain: Mapping[str, np.ndarray] = {}

    def base(self) -> dict[str, np.ndarray]:
        """No intervention: refusal scores [n] and COSMIC's representations [n, d] of both classes."""
        harmless, harmful, x_harmless, x_harmful = self._plain()
        return {
            "harmful": _numpy(refusal_metric(harmful, self.refusal_ids)),
            "harmless": _numpy(refusal_metric(harmless, self.refusal_ids)),
            "x_harmful": x_harmful,
            "x_harmless": x_harmless,
        }

    def _plain(self) -> tuple[Tensor, Tensor, Floats, Floats]:
        """No intervention, in the batches of the ablation passes, so that an edit of nothing has a KL of exactly 0.

        Logits of the harmless and of the harmful prompts [n, vocab], then their representations [n, d].
        """
        first, rest = self._passes({}, *self._groups())
        harmless, harmful, x_harmless, x_harmful = self._split(first, rest)
        self.base_logits = harmless
        return harmless, harmful, x_harmless, x_harmful

    def _groups(self) -> tuple[list[Rendered], list[Rendered]]:
        """The batches of an ablation: the few harmless prompts that KL is tried on, then all others in one."""
        return self.harmless[:SCREEN], [*self.harmless[SCREEN:], *self.harmful]

    def _split(
        self, first: tuple[Tensor, Floats], rest: tuple[Tensor, Floats]
    ) -> tuple[Tensor, Tensor, Floats, Floats]:
        """(harmless, harmful) logits and representations from the two batches."""
        import torch

        (logits, x), (more, x_more) = first, rest
        border = len(more) - len(self.harmful)
        return (
            torch.cat([logits, more[:border]]),
            more[border:],
            np.concatenate([x, x_more[:border]]),
            x_more[border:],
        )

    def know(self, base: Mapping[str, np.ndarray]) -> None:
        """What candidates are compared with."""
        self.plain = base

    def candidate(self, direction: NDArray[np.float32], layer: int) -> dict[str, np.ndarray]:
        """All scores of one candidate [d] at `layer`; only `kl` if it is screened out."""
        import torch

        from geoaudit.model.hooks import every_site

        loaded = self.open_model()
        vector = torch.from_numpy(direction).to(loaded.device)
        unit = vector / vector.norm()
        base_logits = self._plain()[0] if self.base_logits is None else self.base_logits

        def without(x: Tensor) -> Tensor:
            return ablate(x, unit)

        def with_it(x: Tensor) -> Tensor:
            return add(x, vector)

        everywhere = dict.fromkeys(every_site(loaded), without)
        n = len(self.harmless)
        passes = self._lazy_passes(everywhere, *self._groups())
        first = next(passes)
        kl = _numpy(kl_to_base(base_logits[: len(first[0])], first[0]))
        if kl.sum() / n > KL_FRONTIER:
            passes.close()
            return {"kl": kl}
        harmless, bypassed, _, x_ablated = self._split(first, next(passes))
        passes.close()
        kl = _numpy(kl_to_base(base_logits, harmless))
        ((induced, x_added),) = self._passes({("resid_pre", layer): with_it}, self.harmless)
        return {
            "kl": kl,
            "bypass": _numpy(refusal_metric(bypassed, self.refusal_ids)),
            "induce": _numpy(refusal_metric(induced, self.refusal_ids)),
            "comply_cross": (x_ablated @ self.plain["x_harmless"].T).astype(np.float32),
            "comply_gram": (x_ablated @ x_ablated.T).astype(np.float32),
            "refuse_cross": (x_added @ self.plain["x_harmful"].T).astype(np.float32),
            "refuse_gram": (x_added @ x_added.T).astype(np.float32),
        }

    def _passes(
        self, edits: Mapping[Place, Callable[[Tensor], Tensor]], *groups: list[Rendered]
    ) -> list[tuple[Tensor, Floats]]:
        return list(self._lazy_passes(edits, *groups))

    def _lazy_passes(
        self, edits: Mapping[Place, Callable[[Tensor], Tensor]], *groups: list[Rendered]
    ) -> Generator[tuple[Tensor, Floats], None, None]:
        """For each group: last-position logits [n, vocab] and the mean over `low_layers` of block outputs [n, d]."""
        from geoaudit.model.hooks import captured, edited
        from geoaudit.model.prefix import last_index, last_logits, prefill, shared_prefix

        loaded = self.open_model()
        shared = shared_prefix([*self.harmful, *self.harmless])
        places: list[Place] = [("resid_post", layer) for layer in self.low_layers]
        outer: AbstractContextManager[Any] = edited(loaded, edits)
        with outer:
            cache = prefill(loaded, self.harmful[0].ids[:shared])
            for group in groups:
                with captured(loaded, places) as seen:
                    logits = last_logits(loaded, group, shared=shared, cache=cache)
                last = last_index(group, shared)
                at_last = [seen[place][range(len(group)), last].double() for place in places]
                yield logits, _numpy(sum(at_last[1:], at_last[0]) / len(at_last))


def _numpy(values: Any) -> Floats:
    array: Floats = np.asarray(values.cpu() if hasattr(values, "cpu") else values, dtype=np.float64)
    return array
