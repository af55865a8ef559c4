"""What a suite hands to measures besides numbers and words: a source of prompts, a file, how requests are rendered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Literal

from geoaudit.prompts.files import load_file
from geoaudit.prompts.sources import load as load_named
from geoaudit.records import PromptSet


@dataclass(frozen=True, slots=True)
class Source:
    """Where prompts come from: a name, or a file of the user's (`file` absolute)."""

    name: str
    file: str = ""
    column: str = "prompt"
    category: str = ""
    label: Literal["harmful", "harmless"] = "harmful"


@dataclass(frozen=True, slots=True)
class File:
    """A file of the user's that holds no prompts."""

    path: str
    """Absolute."""

    @property
    def name(self) -> str:
        """Without its folder, as reports show it."""
        return PurePath(self.path).name


@dataclass(frozen=True, slots=True)
class ChatSetting:
    """What a suite's `chat:` says of how requests are rendered; what is not said is the audit's own."""

    system: str | None = None
    """System prompt, empty for none at all."""
    template: str | None = None
    """Jinja text, or the name of a built-in template."""
    thinking: bool = False
    """Whether the model may think before it answers."""


AS_AUDITED = ChatSetting()
"""Nothing said."""


def load_source(source: Source, data: Path | None) -> PromptSet:
    """The whole prompt set of a source, in its fixed order."""
    if source.file:
        return load_file(
            Path(source.file),
            text_column=source.column,
            label=source.label,
            category_column=source.category or None,
        )
    return load_named(source.name, data=data)
