"""Prompts that occur twice: near-duplicates between two lists, and prompts that a checkpoint was trained on."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence

from geoaudit.records import PromptSet

SHINGLE = 3
"""Words in one shingle."""


def normalise(text: str) -> str:
    """NFKC, case-folded, every run of characters that are neither letters nor digits made one space, ends stripped."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(char if char.isalnum() else " " for char in folded).split())


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """The set of word 3-grams of the normalised text; a text of one or two words is its own single shingle."""
    words = normalise(text).split()
    if not words:
        return frozenset()
    return frozenset(tuple(words[i : i + SHINGLE]) for i in range(max(1, len(words) - SHINGLE + 1)))


def near_duplicates(
    texts_a: Sequence[str], texts_b: Sequence[str], threshold: float = 0.5
) -> list[tuple[int, int, float]]:
    """Pairs whose word 3-gram sets A and B have a Jaccard similarity |A ∩ B| / |A ∪ B| of at least `threshold`.

    Texts are normalised first (`normalise`), and repeated 3-grams count once. Texts without a letter or digit match
    nothing. The cost grows with the 3-grams that are shared, not with the number of pairs.

    Args:
        texts_a: First list.
        texts_b: Second list; may be the first one, whose every text is then found to equal itself.
        threshold: In (0, 1]; 1 finds texts with equal 3-gram sets.

    Returns:
        (index in `texts_a`, index in `texts_b`, similarity), in the order of the indices.

    Raises:
        ValueError: if the threshold is outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    sets_b = [shingles(text) for text in texts_b]
    holders: dict[tuple[str, ...], list[int]] = {}
    for j, set_b in enumerate(sets_b):
        for shingle in set_b:
            holders.setdefault(shingle, []).append(j)
    found: list[tuple[int, int, float]] = []
    for i, text in enumerate(texts_a):
        set_a = shingles(text)
        shared = Counter(j for shingle in set_a for j in holders.get(shingle, ()))
        for j, common in sorted(shared.items()):
            similarity = common / (len(set_a) + len(sets_b[j]) - common)
            if similarity >= threshold:
                found.append((i, j, similarity))
    return found


def overlap(prompts: PromptSet, hashes: Collection[str]) -> tuple[str, ...]:
    """Ids of the prompts whose text's SHA-256 is among `hashes` (of a training manifest), in the set's order."""
    known = frozenset(hashes)
    return tuple(prompt.id for prompt in prompts.prompts if prompt.sha256 in known)
