"""The recipe of a training run: a closed YAML file, read with the place of every word.

`recipe: sft|safety-sft|r2d2` says what is trained; every other key has a default that stands here with its meaning, and
`preset: paper` starts from the settings of arXiv 2604.27019. Whatever is wrong is a `RecipeError` that starts with
file:line:column and names the nearest valid word. Imports nothing heavy: `--dry-run` of a broken recipe costs nothing.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

from geoaudit.audit.nodes import Nodes, scientific
from geoaudit.errors import RecipeError, RequestError, did_you_mean
from geoaudit.records import digest
from geoaudit.training.blocks import (
    PROMPT_FILES,
    STARTS_OWN,
    Adapter,
    ChatFormat,
    Closed,
    NotNegative,
    Positive,
    Refusals,
    Source,
    Text,
)
from geoaudit.training.monitor_settings import MonitorSettings
from geoaudit.training.r2d2_settings import R2D2

Kind = Literal["sft", "safety-sft", "r2d2"]
KINDS: tuple[Kind, ...] = ("sft", "safety-sft", "r2d2")
Dtype = Literal["float32", "bfloat16"]
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # arXiv 2604.27019, section 4 and appendix: both regimes share these; R2D2 runs on four processes
    "paper": {
        "adapter": {
            "rank": 64,
            "alpha": 16,
            "dropout": 0.1,
            "modules": ["q_proj", "k_proj", "v_proj", "o_proj"],
        },
        "learning_rate": 2.0e-5,
        "schedule": "cosine",
        "warmup_steps": 0,
        "batch": 16,
        "micro_batch": 1,
        "max_length": 2048,
        "loss": "all",
        "packing": True,
        "steps": 500,
        "seed": 42,
        "weights": "bfloat16",
        "precision": "bfloat16",
        "gradient_checkpointing": True,
        "checkpoint_every": 5,
    },
}
"""What a preset sets where the recipe does not."""


class Recipe(Closed):
    """A training run, complete: with the data that it names, it determines the weights."""

    recipe: Kind = Field(description="What is trained: `sft`, `safety-sft` or `r2d2`.")
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*$")] = Field(
        default="run", description="Name of the run; the file's where it is left out."
    )
    about: str = Field(default="", description="A sentence for the reader.")
    preset: Literal["paper"] | None = Field(
        default=None, description="Settings to start from: `paper` (arXiv 2604.27019); keys beside it win."
    )
    base: Text = Field(description="What is trained: a folder beside the recipe, a built-in name or a hub id.")
    chat: ChatFormat = Field(default=ChatFormat(), description="How conversations are rendered: `template`, `system`.")
    adapter: Adapter | None = Field(
        default=None, description="Trains a LoRA; left out, every weight of the model is trained."
    )
    data: tuple[Source, ...] = Field(min_length=1, description="Sources of conversations, a list.")
    refusals: Refusals | None = Field(
        default=None, description="`safety-sft` only: refusals of harmful prompts, beside `data`."
    )
    loss: Literal["answers", "all"] = Field(
        default="answers", description="`answers`: only the assistant's tokens are learnt; `all`: every token."
    )
    max_length: int = Field(default=1024, ge=8, description="Tokens of one sequence; longer ones are cut behind.")
    packing: bool = Field(
        default=False,
        description="Lay conversations end to end into sequences of exactly `max_length` tokens (attention crosses "
        "their borders, as in the published recipes), in place of one a sequence, padded.",
    )
    steps: int = Field(default=100, ge=1, description="Optimiser steps.")
    batch: int = Field(default=8, ge=1, description="Sequences of one optimiser step, over all processes.")
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="Sequences that one process runs at a time, with gradients accumulated up to `batch`; all at once "
        "where it is left out.",
    )
    learning_rate: Positive = Field(default=2.0e-5, description="Highest learning rate of AdamW.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="How the learning rate falls to 0 behind the warm-up (`constant`: it does not)."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps in which the learning rate rises from 0.")
    weight_decay: NotNegative = Field(default=0.0, description="Decoupled weight decay, not on norms and biases.")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = Field(
        default=(0.9, 0.999), description="Decay of AdamW's two moving averages."
    )
    epsilon: Positive = Field(default=1.0e-8, description="AdamW's epsilon.")
    max_grad_norm: NotNegative = Field(default=1.0, description="Gradients are cut to this norm; 0: they are not.")
    weights: Dtype = Field(
        default="float32",
        description="What the weights are held in; with a LoRA the base's only, the adapter's are float32.",
    )
    precision: Dtype = Field(
        default="float32", description="What forward and backward passes run in (bfloat16: by autocast)."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations again in the backward pass: less memory, a third more time."
    )
    seed: int = Field(default=42, ge=0, lt=2**31, description="Of everything that is random.")
    checkpoints: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), description="Steps at which a checkpoint is written; 0 is the start, the last one always is."
    )
    checkpoint_every: int = Field(default=0, ge=0, description="And at every multiple of this; 0: no others.")
    checkpoint_dtype: Dtype = Field(default="bfloat16", description="What the weights of checkpoints are written in.")
    reference: int | None = Field(
        default=None, ge=0, description="Step that audits measure drift from; the first audited where it is left out."
    )
    resume_every: int = Field(
        default=0,
        ge=0,
        description="Steps between two states to resume from, besides one at every checkpoint; 0: no others.",
    )
    r2d2: R2D2 | None = Field(default=None, description="`r2d2` only: the adversarial part, see below.")
    monitor: MonitorSettings | None = Field(
        default=None, description="Follows the refusal carrier through the run; see below. It changes no weight."
    )
    folder: Path = Field(default=Path(), exclude=True, description="Where the recipe's file is; not a key.")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        """The preset's values under those that were given; blocks are merged key by key."""
        if isinstance(given, Mapping) and given.get("preset") in PRESETS:
            preset = PRESETS[given["preset"]]
            both = {
                key: {**_beside_start(preset[key], given[key]), **given[key]}
                for key in preset
                if isinstance(preset[key], Mapping) and isinstance(given.get(key), Mapping)
            }
            return {**preset, **given, **both}
        return given

    @model_validator(mode="before")
    @classmethod
    def _blocks(cls, given: Any) -> Any:
        """The blocks that a kind of training always has, with their defaults."""
        if isinstance(given, Mapping):
            needed = {"safety-sft": "refusals", "r2d2": "r2d2"}.get(str(given.get("recipe")))
            if needed is not None and needed not in given:
                return {**given, needed: {}}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        for key, kind in (("refusals", "safety-sft"), ("r2d2", "r2d2")):
            if getattr(self, key) is not None and self.recipe != kind:
                raise ValueError(f"{key} belongs to recipe: {kind}, and this is {self.recipe}")
        if self.micro_batch is not None and self.batch % self.micro_batch:
            raise ValueError(f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must be fewer than steps ({self.steps})")
        late = [step for step in self.checkpoints if step > self.steps]
        if late:
            raise ValueError(f"checkpoints names step {late[0]}, and the run ends at {self.steps}")
        if self.reference is not None and self.reference not in self.saved:
            raise ValueError(f"reference is step {self.reference}, at which no checkpoint is written")
        return self

    @property
    def saved(self) -> tuple[int, ...]:
        """The steps at which a checkpoint is written, in order; the last step is among them."""
        every = range(self.checkpoint_every, self.steps + 1, self.checkpoint_every) if self.checkpoint_every else ()
        return tuple(sorted({*self.checkpoints, *every, self.steps}))

    @property
    def sequences(self) -> int:
        """Sequences that one process runs at a time; at most `batch`."""
        return self.micro_batch or self.batch

    def accumulation(self, processes: int) -> int:
        """Micro-steps of one optimiser step.

        Raises:
            RequestError: the batch does not divide among the processes.
        """
        share = self.batch // processes
        micro = min(self.sequences, share) if self.micro_batch is None else self.sequences
        if not share or self.batch % processes or share % micro:
            raise RequestError(
                f"batch: {self.batch} cannot be shared by {processes} processes of {micro} sequences at a time: "
                "make it a multiple of both together"
            )
        return share // micro

    def beside(self, word: str) -> str:
        """A word that may be a path relative to the recipe: as an absolute path where something is there."""
        path = self.folder / Path(word).expanduser()
        return str(path.resolve()) if path.exists() else word

    def files(self) -> Iterator[tuple[tuple[int | str, ...], str]]:
        """The files of its own that it learns from: where the recipe names them, and their names."""
        for number, source in enumerate(self.data):
            if source.file is not None:
                yield ("data", number, "file"), source.file
            if source.answers is not None and Path(source.answers).suffix.lower() in PROMPT_FILES:
                yield ("data", number, "answers"), source.answers
        if self.refusals is not None and Path(self.refusals.prompts).suffix.lower() in PROMPT_FILES:
            yield ("refusals", "prompts"), self.refusals.prompts

    def to_json(self) -> dict[str, Any]:
        """Every key with its value, JSON-able."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def sha256(self) -> str:
        """Hash of every key but those that change nothing in the weights; a run is resumed under the same one only."""
        idle = {"name", "about", "preset", "monitor", "reference", "resume_every"}
        idle |= {"checkpoints", "checkpoint_every", "checkpoint_dtype"}
        return digest({key: value for key, value in self.to_json().items() if key not in idle})


def _beside_start(preset: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A preset's keys for a block, but for those that an adapter to start from brings."""
    return {key: value for key, value in preset.items() if "start" not in given or key not in STARTS_OWN}


def read(path: Path) -> Recipe:
    """Parse a recipe.

    Raises:
        RecipeError: for anything that is not exactly the grammar; file:line:column, and the nearest valid word.
    """
    reader = _Reader(path)
    root = reader.compose(reader.read())
    if root is None:
        raise RecipeError(f"{path}:1:1: the recipe is empty; it starts with `recipe: {'|'.join(KINDS)}`")
    return reader.recipe(root)


class _Reader(Nodes):
    """From nodes to a `Recipe`; an error of the grammar finds its node again by its place."""

    fails = RecipeError
    what = "recipe"

    def recipe(self, root: yaml.Node) -> Recipe:
        if not isinstance(root, yaml.MappingNode):
            raise self.error(root, f"the recipe must be a mapping of keys to values, got {self.shown(root)}")
        given = self.value(root, "the recipe", Recipe)
        given.setdefault("name", self.path.name.split(".")[0])
        try:
            found = Recipe.model_validate({**given, "folder": self.path.absolute().parent})
        except ValidationError as error:
            first = error.errors()[0]
            raise self.error(*self.said(root, first["loc"], first)) from None
        for where, name in found.files():
            if not (found.folder / name).is_file():
                node: yaml.Node = root
                for part in where:
                    node = _child(node, part) or node
                raise self.error(node, f"no such file: {found.folder / name}")
        return found

    def value(self, node: yaml.Node, what: str, annotation: Any) -> Any:
        """The plain value of a node; keys are checked where they are those of a known block."""
        block = _block(annotation)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.value(item, f"an entry of {what}", annotation) for item in node.value)
        if isinstance(node, yaml.MappingNode):
            if block is None:
                raise self.error(node, f"{what} is a single value, not a mapping of keys")
            fields = {name: field for name, field in block.model_fields.items() if name != "folder"}
            keys = self.mapping(node, what, tuple(fields))
            return {name: self.value(value, name, fields[name].annotation) for name, (_, value) in keys.items()}
        value = self.scalar(node, what)
        if block is not None:
            raise self.error(node, f"{what} must be a mapping of keys to values, got {self.shown(node)}")
        if scientific(value):
            raise self.error(node, f"{what} must be a number, got {value!r}{scientific(value)}")
        if isinstance(value, bool) and annotation is not bool:  # which would pass as 0 or 1
            raise self.error(node, f"{what} is not true or false; quote it if it is text, got {self.shown(node)}")
        return value

    def said(self, root: yaml.Node, where: tuple[int | str, ...], error: Any) -> tuple[yaml.Node, str]:
        """The node that an error of the grammar is about, and what is wrong with it."""
        node, name = root, "the recipe"
        for part in where:
            below = _child(node, part)
            if below is None:
                break
            node, name = below, (part if isinstance(part, str) else f"an entry of {name}")
        match error["type"]:
            case "missing":
                return node, f"{name} has no key {where[-1]!r}"
            case "literal_error":
                words = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
                near = did_you_mean(str(error["input"]), words.split(", "))
                return node, f"unknown {name} {error['input']!r}{near}; one of {words}"
            case "value_error":  # from a check of several keys, whose sentence begins with the one that is wrong
                said = str(error["ctx"]["error"])
                return _child(node, said.partition(" ")[0]) or node, said
            case "tuple_type":
                return node, f"{name} must be a list, got {self.shown(node)}"
            case "string_pattern_mismatch":
                said = "must be letters, digits, dots and dashes" if name == "name" else "is blank"
                return node, f"{name} {said}, got {self.shown(node)}"
        got = f", got {self.shown(node)}" if isinstance(node, yaml.ScalarNode) else ""
        return node, f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}{got}"


def _child(node: yaml.Node, part: int | str) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part]  # type: ignore[no-any-return]
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None


def _block(annotation: Any) -> type[BaseModel] | None:
    """The block of keys that a field holds, one or a list of them, or None for plain values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) in (typing.Union, tuple):
        return next((found for one in typing.get_args(annotation) if (found := _block(one)) is not None), None)
    return None
