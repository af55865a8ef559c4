"""What a measure is given: its fulfilled needs and how the checkpoint is named. A measure sees no model and no store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoaudit.measures.needs import Need, Source


@dataclass(frozen=True)
class Evidence:
    """Fulfilled needs of one checkpoint."""

    checkpoint: str
    """Its name in this audit."""
    of: Callable[[Need], Any]
    """The evidence for a need."""
    trained_on: frozenset[str] = frozenset()
    """SHA-256 of the prompts that the checkpoint's training manifest lists."""

    @staticmethod
    def described(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as the record shows them: sources by name, files without their folder."""
        return {name: describe(value) for name, value in parameters.items()}


def describe(value: Any) -> Any:
    """A parameter value as JSON without a path of this machine."""
    if not isinstance(value, Source):
        return value
    if not value.file:
        return value.name
    return {key: part for key, part in asdict(value).items() if part} | {"file": Path(value.file).name}
