"""What a measure is given: fulfilled needs, the checkpoint's name and what it was trained on; no model and no store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from geoaudit.errors import NothingToMeasure
from geoaudit.measures.definition import Against
from geoaudit.measures.inputs import ChatSetting, File, Source
from geoaudit.measures.labels import NO_LABELS, Labels
from geoaudit.measures.needs import Need
from geoaudit.prompts.overlap import overlap
from geoaudit.records import Flag, PromptSet

if TYPE_CHECKING:
    from geoaudit.model.chat import Chat


def _alone(name: str) -> Any:
    raise NothingToMeasure(f"there is no other checkpoint {name!r} to compare with")


def _unread(setting: ChatSetting) -> Any:
    raise NothingToMeasure("the tokenizer was not opened, so that it cannot be compared with another's")


@dataclass(frozen=True)
class Evidence:
    """Fulfilled needs of one checkpoint."""

    checkpoint: str
    """Its name in this audit."""
    of: Callable[[Need], Any]
    """The evidence for a need."""
    trained_on: frozenset[str] = frozenset()
    """SHA-256 of the prompts that the checkpoint's training manifest lists."""
    labels: Labels = NO_LABELS
    """What people said of samples of completions."""
    manifest: bool = False
    """Whether there is a training manifest; without one overlap cannot be checked."""
    other: Callable[[str], Evidence] = _alone
    """The same of another checkpoint of the audit, by its name; its needs must be among the measure's (`Elsewhere`)."""
    chat: Callable[[ChatSetting], Chat] = _unread
    """How the checkpoint renders requests."""

    def overlaps(self, scored: Iterable[PromptSet] = (), estimating: Iterable[PromptSet] = ()) -> tuple[Flag, ...]:
        """The check `train-eval-overlap`: prompts that the checkpoint was trained on.

        Args:
            scored: sets whose rows are the number itself; they stop the verdict.
            estimating: sets that a direction is only estimated on; they are a note.
        """
        checks: list[tuple[Literal["stops", "note"], str, list[PromptSet]]] = [
            ("stops", "scored", list(scored)),
            ("note", "estimating", list(estimating)),
        ]
        flags = []
        for effect, verb, sets in checks:
            seen = sum(len(overlap(each, self.trained_on)) for each in sets)
            if seen:
                asked = sum(len(each) for each in sets)
                sentence = f"{seen} of {asked} {verb} prompts are in the checkpoint's training manifest"
                flags.append(Flag("train-eval-overlap", effect, sentence))
        return tuple(flags)

    @staticmethod
    def described(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as the record shows them: sources by name, files without their folder, no empty setting."""
        shown = {name: describe(value) for name, value in parameters.items()}
        return {name: value for name, value in shown.items() if value != {}}


def describe(value: Any) -> Any:
    """A parameter value as JSON without a path of this machine."""
    if isinstance(value, ChatSetting):
        return {key: part for key, part in asdict(value).items() if part not in (None, False)}
    if isinstance(value, Against):
        return value.checkpoint if value.role == "named" else value.role
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, File):
        return value.name
    if not isinstance(value, Source):
        return value
    if not value.file:
        return value.name
    return {key: part for key, part in asdict(value).items() if part} | {"file": Path(value.file).name}
