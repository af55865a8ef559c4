"""Rows of beliefs with planted distances: what tests of beliefs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geoaudit.geometry.beliefs import products
from geoaudit.measures.fulfilled import BeliefRows
from geoaudit.measures.needs import CONTRASTS, SCARY
from geoaudit.prompts.sources import load

WIDTH, LAYERS, BLOCKS = 24, 5, 16
USUAL: Mapping[str, int] = {
    "harmful_refused": 40,
    "harmful_answered": 30,
    "harmless_refused": 25,
    "harmless_answered": 40,
    "scary_refused": 25,
    "scary_answered": 30,
}
SOURCES = {"harmful": ("harmful", CONTRASTS), "harmless": ("probe-harmless-validation",), "scary": (SCARY,)}


@dataclass
class World:
    """Activations at `t_inst` hold a harmfulness axis, at −1 a refusal axis; both lie beside a common mean."""

    harm: float = 2.0
    """How far harmful prompts lie along the harmfulness axis, in standard deviations of a coordinate."""
    refusal: float = 2.0
    seed: int = 0
    common: float = 3.0
    same_below: int = 1
    """Layer rows below this one do not differ between prompts at −1."""

    def rows(self, counts: Mapping[str, int] = USUAL, unread: int = 0, centre: int = 4) -> BeliefRows:
        """Scored prompts by group, and centres of 16 blocks of `centre` prompts of either kind."""
        g = np.random.default_rng(self.seed)
        base = self.common * g.standard_normal((2, LAYERS, WIDTH))
        axes = np.linalg.qr(g.standard_normal((WIDTH, WIDTH)))[0][:2]

        def drawn(n: int, harmful: bool, refused: bool, spread: float = 1.0) -> np.ndarray:
            """[n, 2, LAYERS, WIDTH]."""
            noise = spread * g.standard_normal((n, 2, LAYERS, WIDTH))
            amounts = self.harm * harmful, self.refusal * refused
            shift = np.stack([amount * axis for amount, axis in zip(amounts, axes, strict=True)])[:, None]
            moved = noise + shift
            moved[:, 1, : self.same_below] = 0
            return base + moved

        centres = np.concatenate([drawn(BLOCKS, kind, kind, 1 / np.sqrt(centre)) for kind in (True, False)])
        parts, kinds, answers, sources = [], [], [], []
        groups = [*counts.items(), *([("harmful_unread", unread)] if unread else [])]
        for name, n in groups:
            kind, _, answer = name.rpartition("_")
            parts.append(drawn(n, kind == "harmful", answer == "refused"))
            kinds += [kind] * n
            answers += [answer] * n
            sources += [SOURCES[kind][i % len(SOURCES[kind])] for i in range(n)]
        h = np.concatenate(parts)
        made = [products(h[:, i], centres[:, i]) for i in (0, 1)]
        return BeliefRows(
            cross=np.stack([each.cross for each in made], axis=1).astype(np.float32),
            norm=np.stack([each.norm for each in made], axis=1).astype(np.float32),
            gram=np.stack([each.gram for each in made]),
            count=np.full(2 * BLOCKS, centre),
            refused=np.arange(2 * BLOCKS) < BLOCKS,
            kind=tuple(kinds),
            answer=tuple(answers),
            source=tuple(sources),
            scored=tuple(load(name).first(40) for names in SOURCES.values() for name in names),
            centres=(load("probe-harmful-train").first(64), load("probe-harmless-train").first(64)),
        )
