"""Prompts made of others' sentences: the crossover of `autodan`, which keeps the place of the request.

Liu et al. (arXiv 2310.04451, section 3.2) exchange sentences between two prompts at a few common places. Their released
code cuts the longer prompt down to as many paragraphs as the shorter has, and may lose or double the place of the
request; here nothing is cut off, and each child asks for the request once.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from geoaudit.attacks.initial import REQUEST

Paragraphs = tuple[tuple[str, ...], ...]
"""A template: lines of sentences; an empty line is a line without any."""

_END = re.compile(rf"(?<=[.!?])\s+|(?<={re.escape(REQUEST)})\s+(?=[A-Z])")


def crossed(one: str, other: str, points: int, rng: random.Random) -> tuple[str, str]:
    """Two children of two templates.

    Args:
        one: a template, with `REQUEST` once.
        other: a template, with `REQUEST` once.
        points: places, at most, at which a pair of paragraphs is cut.
        rng: decides where, and which pieces are exchanged.

    Returns:
        Templates with the paragraphs of the first and of the second parent, pieces of them exchanged pair by pair.
        Paragraphs without a partner stay. A second place for the request goes with its sentence; where none is left
        the request gets a paragraph of its own at the end.
    """
    lines, others = list(split(one)), list(split(other))
    mine = [i for i, line in enumerate(lines) if line]
    theirs = [i for i, line in enumerate(others) if line]
    for i, j in zip(mine, theirs, strict=False):
        lines[i], others[j] = _exchanged(lines[i], others[j], points, rng)
    return joined(_asking_once(lines)), joined(_asking_once(others))


def split(text: str) -> Paragraphs:
    """The sentences of each line; what stands between two sentences of a line is read as one blank."""
    return tuple(tuple(one for one in _END.split(line.strip()) if one) for line in text.strip().split("\n"))


def joined(paragraphs: Paragraphs) -> str:
    """The text of such lines."""
    return "\n".join(" ".join(line) for line in paragraphs).strip()


def _exchanged(
    one: tuple[str, ...], other: tuple[str, ...], points: int, rng: random.Random
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Two paragraphs cut at the same `points` places (fewer where they are short), each piece exchanged or not."""
    shorter = min(len(one), len(other))
    places = sorted(rng.sample(range(1, shorter), min(points, shorter - 1))) if shorter > 1 else []
    a: list[str] = []
    b: list[str] = []
    for start, end in zip((0, *places), (*places, None), strict=True):
        pieces = (one[start:end], other[start:end])
        first, second = pieces if rng.random() < 0.5 else pieces[::-1]
        a += first
        b += second
    return tuple(a), tuple(b)


def _asking_once(lines: Sequence[tuple[str, ...]]) -> Paragraphs:
    found: list[tuple[str, ...]] = []
    there = False
    for line in lines:
        kept = []
        for sentence in line:
            if REQUEST in sentence and there:
                continue
            there |= REQUEST in sentence
            kept.append(sentence)
        found.append(tuple(kept))
    return tuple(found) if there else (*found, (), (REQUEST,))
