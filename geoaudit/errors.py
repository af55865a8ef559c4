"""Every exception that geoaudit raises on purpose.

::

    GeoauditError
    ├── RequestError              what was asked for cannot be right; found before anything is loaded (pytest exit 4)
    │   ├── CheckpointNotFound    no such path, built-in name or hub id
    │   ├── UnsupportedCheckpoint there, but of a kind or format that cannot be audited
    │   ├── UnknownArchitecture   a model type that the architecture table does not hold
    │   ├── MissingTemplate       no chat template, and none was named
    │   ├── DataMissing           a benchmark or prompt file that is not there, or not the pinned one
    │   ├── RecipeError           a training recipe that does not parse
    │   └── UnknownName           a measure, judge, source or parameter that does not exist
    ├── SuiteError                a suite file that does not parse (pytest exit 2)
    └── NothingToMeasure          the checkpoint loaded, but a number cannot be had from it (outcome *invalid*)
        └── BrokenCheckpoint      weights that are NaN, truncated or of the wrong shape

A message says what was wrong, what was got, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class GeoauditError(Exception):
    """Root of the tree."""


class RequestError(GeoauditError):
    """What was asked for cannot be right."""


class CheckpointNotFound(RequestError):
    """No such path, built-in name or hub id."""


class UnsupportedCheckpoint(RequestError):
    """The checkpoint is there, but of a kind or format that cannot be audited."""


class UnknownArchitecture(RequestError):
    """The model type has no row in the architecture table."""


class MissingTemplate(RequestError):
    """The tokenizer has no chat template and none was named."""


class DataMissing(RequestError):
    """A benchmark or prompt file is not there, or is not the pinned one."""


class RecipeError(RequestError):
    """A training recipe that does not parse; the message starts with file:line:column."""


class UnknownName(RequestError):
    """A measure, judge, source or parameter that does not exist."""

    @classmethod
    def among(cls, kind: str, got: str, known: Iterable[str]) -> UnknownName:
        """The error for `got` with the nearest of `known`, then all of them."""
        names = sorted(known)
        return cls(f"unknown {kind} {got!r}{did_you_mean(got, names)}; known: {', '.join(names)}")


class SuiteError(GeoauditError):
    """A suite file that does not parse; the message starts with file:line:column."""


class NothingToMeasure(GeoauditError):
    """The checkpoint loaded, but this number cannot be had from it.

    `detail` is what there is to show in its place (JSON-able), such as the frontier where no carrier is admissible.
    """

    def __init__(self, why: str, detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(why)
        self.detail = dict(detail or {})


class BrokenCheckpoint(NothingToMeasure):
    """Weights that are NaN, truncated or of the wrong shape."""


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(got, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
