"""The passes that score candidates, each through the store: KL in steps, addition, ablation of harmful prompts.

What is scored, and why no more, is told in `search`; how passes are shared, in `passes`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geoaudit.carriers.field import Field, How
from geoaudit.carriers.select import Row
from geoaudit.model.batches import shared_prefix
from geoaudit.records import digest

if TYPE_CHECKING:
    from torch import Tensor

    from geoaudit.carriers.passes import Passes
    from geoaudit.carriers.scores import Base
    from geoaudit.model.chat import Rendered
    from geoaudit.model.loaded import LoadedModel

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

GROUP = 24
"""Candidates that are ablated together."""
POOL_TOKENS = 4096
"""Tokens of the prefixes of candidates that are screened together, about: two passes."""
STEP_TOKENS = 768
"""Tokens in one step of the screening, at least: few enough to stop early, enough to keep two CPU cores busy."""
FIRST_LOOK = 4
"""Prompts after which the mean KL of a candidate says whether it is likely to stay within the limit."""


class ArrayRows(Protocol):
    """What the search needs of the store."""

    def get_arrays(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays under `key`, or None."""

    def put_arrays(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays under `key`, atomically."""


@dataclass
class Scorer:
    """The passes themselves, through the store. The model is opened at the first one that is missing there."""

    open_model: Callable[[], LoadedModel]
    harmful: Sequence[Rendered]
    harmless: Sequence[Rendered]
    field: Field
    how: How
    refusal_ids: list[int]
    rows: ArrayRows
    key: Callable[..., str]

    # --- rows -------------------------------------------------------------------------------------------------------

    @cached_property
    def context(self) -> str:
        """Hash of what every row depends on besides its candidate."""
        prompts = [list(one.ids) for one in (*self.harmful, *self.harmless)]
        how = [self.how.operator, self.how.scope, self.how.search == "exhaustive"]
        return digest([prompts, self.field.low_layers, sorted(self.refusal_ids), how])

    @cached_property
    def base(self) -> Arrays:
        """No intervention: refusal scores [n] and COSMIC's representations [n, d] of both classes, least KL [s]."""
        name = self.key("unedited", self.context)
        stored = self.rows.get_arrays(name)
        if stored is None:
            stored = self._make_base()
            self.rows.put_arrays(name, stored)
        return stored

    def screened(
        self,
        places: Sequence[Row],
        progress: Callable[[int], None],
        worth: Callable[[Sequence[Row]], Collection[Row]] | None = None,
    ) -> Iterator[tuple[Row, Floats]]:
        """KL [s] of every candidate; NaN on the prompts that were not read before it was given up.

        Args:
            places: the candidates.
            progress: called with the candidates done, about.
            worth: which of those that are likely to stay within the limit are worth reading on. Asked once about a
                candidate: as soon as the mean of `FIRST_LOOK` prompts or more lies within, so at the latest when the
                last prompt was read.
        """
        done = 0
        for pool in self._groups(places, self._pool):
            yield from zip(pool, self._screen(pool, progress, done, worth), strict=True)
            done += len(pool)

    def _screen(
        self,
        pool: Sequence[Row],
        progress: Callable[[int], None],
        done: int,
        worth: Callable[[Sequence[Row]], Collection[Row]] | None,
    ) -> Floats:
        """KL [G, s] of a pool on more and more harmless prompts, while the mean may still lie within the limit.

        A prompt is read of all candidates that are left before the next one is: passes stay full while candidates are
        given up, and rows of one prompt need no padding.
        """
        kl = np.full((len(pool), len(self.harmless)), np.nan)
        lengths = [len(prompt.ids) for prompt in self.harmless]
        unread = sorted(self.of_harmless, key=lengths.__getitem__)  # the cheapest first
        alive = list(range(len(pool)))
        asked: set[int] = set()
        prefix = _Prefix(lambda: self.passes.prefix(self._vectors(pool), spare_first=self._spare_first), list(pool))
        while alive and unread:
            width = lengths[unread[0]] - self._shared
            count = max(1, round(STEP_TOKENS / (len(alive) * width)))
            prompts, unread = unread[:count], unread[count:]
            make = partial(self._kl, prompts=prompts, prefix=prefix)
            read = self._group("kl", [pool[i] for i in alive], make, prompts)["kl"]
            kl[np.ix_(alive, prompts)] = read
            # what each mean must be at least; a NaN leaves its candidate without any number
            bounds = np.where(np.isnan(kl[alive]), self.base["least_kl"], kl[alive]).mean(axis=1)
            broken = np.isnan(read).any(axis=1)
            kl[[alive[k] for k in np.flatnonzero(broken)]] = np.nan
            alive = [alive[k] for k in np.flatnonzero(~broken & (bounds <= self.how.limit))]
            if worth is not None and (not unread or len(lengths) - len(unread) >= FIRST_LOOK):
                likely = [i for i in alive if i not in asked and np.nanmean(kl[i]) <= self.how.limit]
                asked |= set(likely)
                kept = worth([pool[i] for i in likely]) if likely else ()
                alive = [i for i in alive if i not in likely or pool[i] in kept]
            progress(done + len(pool) - len(alive) * len(unread) // len(lengths))
        return kl

    def added(self, places: Sequence[Row]) -> Iterator[tuple[Row, Arrays]]:
        """Harmless prompts with the candidate added."""
        yield from self._each("added", _by_layer(places), self._added)

    def ablated(self, places: Sequence[Row]) -> Iterator[tuple[Row, Arrays]]:
        """Harmful prompts with the candidate ablated."""
        yield from self._each("ablated", self._groups(places, GROUP), self._ablated)

    def plainly(self, place: Row) -> Arrays:
        """Everything of one candidate, by plain passes."""
        return self._group("plain", [place], lambda group: self._plainly(group[0]))

    def _each(
        self, kind: str, groups: Iterable[Sequence[Row]], make: Callable[[Sequence[Row]], Arrays]
    ) -> Iterator[tuple[Row, Arrays]]:
        """Scores of each candidate, made together with those of its group."""
        for group in groups:
            scores = self._group(kind, group, make)
            for index, place in enumerate(group):
                yield place, {name: values[index] for name, values in scores.items()}

    def _group(self, kind: str, group: Sequence[Row], make: Callable[[Sequence[Row]], Arrays], *more: Any) -> Arrays:
        """Scores of candidates that share passes, from the store or made whole.

        One row: below float32 a score depends on what it shares a pass with, so a group is never completed in part.
        """
        name = self.key(kind, [self.name(kind, place) for place in group], *more)
        stored = self.rows.get_arrays(name)
        if stored is None:
            stored = make(group)
            self.rows.put_arrays(name, stored)
        return stored

    def name(self, kind: str, place: Row, *more: Any) -> str:
        """The key of a row about one candidate."""
        direction = self.direction(place)
        of_mean = digest(self.mean(place).tobytes().hex()) if self.how.operator == "affine" else ""
        return self.key(kind, self.context, place.layer, digest(direction.tobytes().hex()), of_mean, *more)

    # --- passes -----------------------------------------------------------------------------------------------------

    @cached_property
    def passes(self) -> Passes:
        """Over the harmless prompts, then the harmful ones."""
        from geoaudit.carriers.passes import Passes

        return Passes(self.open_model(), [*self.harmless, *self.harmful], self.field.low_layers)

    @cached_property
    def base_kl(self) -> Base:
        """What harmless prompts' distributions are compared with."""
        from geoaudit.carriers.scores import Base

        return Base(self.passes.plain.logits[0, : len(self.harmless)])

    @property
    def of_harmless(self) -> range:
        """Where `passes` has the harmless prompts."""
        return range(len(self.harmless))

    @property
    def of_harmful(self) -> range:
        """Where `passes` has the harmful prompts."""
        return range(len(self.harmless), len(self.harmless) + len(self.harmful))

    def direction(self, place: Row) -> NDArray[np.float32]:
        """The difference in means at a place, [d]."""
        direction: NDArray[np.float32] = self.field.directions[place.position, place.layer].astype(np.float32)
        return direction

    def mean(self, place: Row) -> NDArray[np.float32]:
        """The mean of the harmless prompts at a place, [d]."""
        mean: NDArray[np.float32] = self.field.harmless_mean[place.position, place.layer].astype(np.float32)
        return mean

    def _make_base(self) -> Arrays:
        from geoaudit.carriers import exhaustive
        from geoaudit.carriers.scores import refusal_metric

        if self.how.search == "exhaustive":
            made = exhaustive.base(
                self.open_model(), self.harmful, self.harmless, self.field.low_layers, self.refusal_ids
            )
            return {name: np.asarray(value) for name, value in made.items()}
        plain, s = self.passes.plain, len(self.harmless)
        scores, low = as_array(refusal_metric(plain.logits[0], self.refusal_ids)), as_array(plain.low[0])
        return {
            "harmful": scores[s:],
            "harmless": scores[:s],
            "x_harmful": low[s:],
            "x_harmless": low[:s],
            "least_kl": as_array(self.base_kl.least_kl),
        }

    def _groups(self, places: Sequence[Row], size: int) -> Iterable[list[Row]]:
        """Candidates that share passes: any for ablation at every site, of one layer for an edit there."""
        if self.how.operator == "affine":
            return _by_layer(places)
        return [list(places[start : start + size]) for start in range(0, len(places), size)]

    @property
    def _pool(self) -> int:
        """Candidates whose prefixes are held at once: as many as fill a pass."""
        return max(GROUP, POOL_TOKENS // max(1, self._shared))

    @cached_property
    def _shared(self) -> int:
        """Leading tokens that all prompts share, as `Passes` finds them."""
        return shared_prefix([*self.harmless, *self.harmful])

    def _kl(self, group: Sequence[Row], prompts: Sequence[int], prefix: _Prefix) -> Arrays:
        if self.how.operator == "affine":
            read = self._affine(group, 0.0, prompts)
        else:
            read = self.passes.ablated(
                self._vectors(group), prompts, spare_first=self._spare_first, prefix=prefix.of(group)
            )
        return {"kl": as_array(self.base_kl.kl(read.logits, prompts))}

    @property
    def _spare_first(self) -> bool:
        return self.how.scope == "every_site_but_first_token"

    def _vectors(self, group: Sequence[Row]) -> Tensor:
        import torch

        return torch.from_numpy(np.stack([self.direction(place) for place in group]))

    def _added(self, group: Sequence[Row]) -> Arrays:
        from geoaudit.carriers.scores import refusal_metric

        layer = group[0].layer
        if self.how.operator == "linear":
            read = self.passes.added(self._vectors(group), layer, self.of_harmless, spare_first=self._spare_first)
        else:
            read = self._affine(group, 1.0, self.of_harmless)
        x = as_array(read.low)
        return {
            "induce": as_array(refusal_metric(read.logits, self.refusal_ids)),
            "refuse_cross": (x @ self.base["x_harmful"].T).astype(np.float32),
            "refuse_gram": (x @ x.swapaxes(-1, -2)).astype(np.float32),
        }

    def _ablated(self, group: Sequence[Row]) -> Arrays:
        from geoaudit.carriers.scores import refusal_metric

        if self.how.operator == "linear":
            read = self.passes.ablated(self._vectors(group), self.of_harmful, spare_first=self._spare_first)
        else:
            read = self._affine(group, 0.0, self.of_harmful)
        x = as_array(read.low)
        return {
            "bypass": as_array(refusal_metric(read.logits, self.refusal_ids)),
            "comply_cross": (x @ self.base["x_harmless"].T).astype(np.float32),
            "comply_gram": (x @ x.swapaxes(-1, -2)).astype(np.float32),
        }

    def _affine(self, group: Sequence[Row], coefficient: float, prompts: Sequence[int]) -> Any:
        import torch

        vectors, means = (
            torch.from_numpy(np.stack([of(place) for place in group])) for of in (self.direction, self.mean)
        )
        return self.passes.affine(vectors, means, coefficient, group[0].layer, prompts, spare_first=self._spare_first)

    def _plainly(self, place: Row) -> Arrays:
        from geoaudit.carriers.exhaustive import score_candidate

        scores = score_candidate(
            self.open_model(),
            self.direction(place),
            place.layer,
            self.harmful,
            self.harmless,
            self.base,
            self.field.low_layers,
            self.refusal_ids,
            operator=self.how.operator,
            scope=self.how.scope,
            harmless_mean=self.mean(place),
        )
        return {name: np.asarray(values) for name, values in scores.items()}


@dataclass
class _Prefix:
    """Keys and values of the shared prefix under the ablation of each candidate of a pool, made when first asked for.

    Always of the whole pool, then narrowed: below float32 they would be others if made of the candidates left.
    """

    make: Callable[[], Any]
    held: list[Row]
    value: Any = None
    made: bool = False

    def of(self, group: Sequence[Row]) -> Any:
        """For candidates that are among those of the last call."""
        from geoaudit.carriers.passes import narrowed

        if not self.made:
            self.value, self.made = self.make(), True
        if list(group) != self.held:
            self.value = narrowed(self.value, [self.held.index(place) for place in group])
            self.held = list(group)
        return self.value


def _by_layer(places: Sequence[Row]) -> list[list[Row]]:
    layers = dict.fromkeys(place.layer for place in places)
    return [[place for place in places if place.layer == layer] for layer in layers]


def as_array(values: Any) -> Floats:
    """A tensor or array as float64 on the CPU."""
    array: Floats = np.asarray(values.cpu() if hasattr(values, "cpu") else values, dtype=np.float64)
    return array
