"""The one order of every prompt set, so that a profile's prompts are a prefix of the next larger profile's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from geoaudit.records import Prompt

SALT = "geoaudit-order-1:"
"""Changing it changes which prompts a profile draws, and with them every stored number."""


def in_order(prompts: Iterable[Prompt]) -> tuple[Prompt, ...]:
    """The prompts sorted by SHA-256 of salt + `pair` (`id` where there is no pair).

    The order depends on each prompt's own name only: it is the same for any order of the file, a subset keeps it, and
    two sets with the same pairs come out aligned. Ties (one pair twice in one set) are broken by id.
    """
    return tuple(sorted(prompts, key=lambda prompt: (_place(prompt.pair or prompt.id), prompt.id)))


def _place(name: str) -> str:
    return hashlib.sha256((SALT + name).encode()).hexdigest()
