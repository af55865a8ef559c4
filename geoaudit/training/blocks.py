"""The blocks of keys that a recipe has: chat format, adapter, sources of conversations, refusals.

Every default stands here with its meaning; examples/recipes/README.md is made from them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

Text = Annotated[str, StringConstraints(pattern=r"\S")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

ULTRACHAT = "HuggingFaceH4/ultrachat_200k"
UltraChat = Literal["train_sft", "test_sft", "train_gen", "test_gen"]


STARTS_OWN = ("rank", "alpha", "modules")
"""Keys of an adapter that one to go on from brings itself."""


class Closed(BaseModel):
    """Unknown keys are errors, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


PROMPT_FILES = (".jsonl", ".csv", ".txt")
"""What a file of prompts ends in; any other word is a source by name."""


class ChatFormat(Closed):
    """How conversations are rendered; the checkpoints carry it, so that an audit renders them alike."""

    template: Text | None = Field(
        default=None,
        description="`zephyr`, `chatml`, or a Jinja file beside the recipe; the base model's own where it is left out.",
    )
    system: str | None = Field(
        default=None,
        description="System prompt of every conversation that brings none; the template's own where it is left out.",
    )


class Adapter(Closed):
    """A LoRA (Hu et al. 2021): fresh, or one that is gone on from."""

    start: Text | None = Field(
        default=None,
        description="A LoRA to go on from, a folder beside the recipe or a hub id; fresh weights where it is left "
        "out. Step 0 is that adapter: `rank`, `alpha` and `modules` are its own, and `dropout` where that is left out.",
    )
    rank: int = Field(default=8, ge=1, description="Rank r of the update.")
    alpha: Positive = Field(default=16.0, description="The update is scaled by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of the adapter's inputs that is dropped.")
    modules: tuple[Text, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj"),
        min_length=1,
        description="Names of the linear layers that get one; `all-linear` for every one but the output head.",
    )

    @model_validator(mode="after")
    def _own(self) -> Adapter:
        if self.start is not None and (given := [key for key in STARTS_OWN if key in self.model_fields_set]):
            raise ValueError(f"{given[0]} is that of the adapter under `start`: leave it out")
        return self

    @model_serializer(mode="wrap")
    def _given(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without defaults that do not hold: what a start brings is not the recipe's."""
        found: dict[str, Any] = serialise(self)
        if self.start is None:
            return found
        idle = {*STARTS_OWN, *({"dropout"} - self.model_fields_set)}
        return {key: value for key, value in found.items() if key not in idle}


class Source(Closed):
    """One source of conversations: exactly one of `file`, `ultrachat` and `answers`."""

    file: Text | None = Field(
        default=None,
        description='JSON lines beside the recipe, each {"messages": [{"role": ..., "content": ...}, ...]}.',
    )
    ultrachat: UltraChat | None = Field(
        default=None,
        description=f"A split of UltraChat-200k ({ULTRACHAT}) by name; needs the hub or its cache, and `datasets`.",
    )
    answers: Text | None = Field(
        default=None,
        description="Harmless prompts that a model answers itself: a source by name, such as `tune-harmless`, or a "
        ".jsonl, .csv or .txt file.",
    )
    model: Text | None = Field(
        default=None,
        description="Whose answers those of `answers` are, any model that can be audited; the base if left out, "
        "untouched, also where the adapter has a `start`.",
    )
    max_new_tokens: int = Field(default=40, ge=1, description="Where an answer of `answers` is cut.")
    column: Text = Field(default="prompt", description="CSV column or JSON key of a file of prompts.")
    n: int | None = Field(default=None, ge=1, description="How many, in the source's order; all where it is left out.")

    @model_validator(mode="after")
    def _one(self) -> Source:
        given = [name for name in ("file", "ultrachat", "answers") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of file, ultrachat and answers, got {' and '.join(given) or 'none'}")
        if self.answers is None:
            for key in ("model", "max_new_tokens", "column"):
                if key in self.model_fields_set:
                    raise ValueError(f"{key} is read with `answers` only")
        return self


class Refusals(Closed):
    """Refusals of harmful prompts."""

    prompts: Text = Field(
        default="tune-harmful", description="Harmful prompts: a source by name, or a .jsonl, .csv or .txt file."
    )
    wordings: tuple[Text, ...] = Field(
        default=(),
        description="What refuses, drawn for each prompt; the prompts' own refusals (`target`) where it is left out.",
    )
    column: Text = Field(default="prompt", description="CSV column or JSON key of a file of prompts.")
    n: int | None = Field(default=None, ge=1, description="How many prompts; all where it is left out.")
    share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of refusals among the examples drawn; as they come, by number, where it is left out.",
    )
