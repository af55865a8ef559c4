"""Finding the checkpoint that a person means, and checking it without loading anything.

`[NAME=]PATH` is, in this order: an existing path (a Hugging Face folder, a PEFT adapter, a `.gguf` file), a built-in
name, a quoted glob, a hub id `org/name[@revision]`.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from geoaudit.errors import (
    BrokenCheckpoint,
    CheckpointNotFound,
    RequestError,
    UnsupportedCheckpoint,
    did_you_mean,
)
from geoaudit.model import architecture, builtin, folder, gguf, hub, tensorfile

Kind = Literal["directory", "adapter", "gguf", "hub", "builtin"]

_NAME = re.compile(r"[\w@+-][\w.@+/-]*")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One set of weights: where it is and what it was asked for as. What it *is* says `identity.identify`."""

    name: str
    """What reports call it: what the user named it, else the last two parts of its path, or its hub id."""
    kind: Kind
    path: Path
    """The folder with its files, absolute; for `gguf` and `builtin` the one file."""
    base: Checkpoint | None
    """For an adapter: the model that it changes."""
    model_type: str
    """Transformers' word, a key of the architecture table."""
    dtype: str
    """What to compute in by default: the dtype that most floating weights are stored in (an adapter: its base's; a GGUF
    file: bfloat16, which it is converted to); float32 for float64 and for a broken header, which loading reports."""
    commit: str | None
    """The hub's commit, for what comes from the hub."""
    spec: str
    """What finds this checkpoint again when it is passed to `resolve`."""

    @property
    def tokenizer_from(self) -> Checkpoint:
        """The checkpoint whose tokenizer is used: an adapter's base where the adapter has none of its own."""
        if self.base is None or folder.has_tokenizer(self.path):
            return self
        return self.base

    @property
    def template(self) -> str | dict[str, str] | None:
        """The chat template, or several by name: an adapter's own, else its base's; None if there is none."""
        in_file = self.kind in ("gguf", "builtin")
        own = gguf.header(self.path).template if in_file else folder.template(self.path)
        return own if own is not None or self.base is None else self.base.template


def resolve(spec: str, *, base: str | None = None) -> list[Checkpoint]:
    """The checkpoints that `[NAME=]PATH` means; more than one only for a glob, in natural order (step50, step100).

    Args:
        spec: what the user wrote. A part before `=` is a name unless the whole is itself a path or a matching glob;
            on a glob it stands in front of each one's last path part.
        base: where an adapter's base is (anything that `resolve` takes), in place of what its config says.

    Raises:
        CheckpointNotFound: there is nothing there, or an adapter's base is missing.
        UnsupportedCheckpoint: there is something that cannot be audited.
        UnknownArchitecture: a model type without a row in the architecture table.
    """
    name, target = _split(spec)
    try:
        found = _resolve(target, base)
    except CheckpointNotFound as error:
        if name is None:
            raise
        raise CheckpointNotFound(f"{error} ({spec!r} was read as NAME=PATH with the name {name!r})") from error
    for checkpoint in found:
        if (source := checkpoint.tokenizer_from.path).is_dir():  # a GGUF file carries its own
            folder.check_tokenizer(source)
    if name is None:
        return found
    if len(found) == 1 and not _is_glob(target):
        return [replace(found[0], name=name, spec=f"{name}={target}")]
    named = [(f"{name}/{_printable(one.path.name)}", one) for one in found]
    return [replace(one, name=its_name, spec=f"{its_name}={one.spec}") for its_name, one in named]


def resolve_all(specs: Sequence[str], base: str | None = None) -> list[Checkpoint]:
    """The checkpoints of several specs, in order, each under a name of its own.

    Raises:
        RequestError: two have the same name, or a base was given and no checkpoint is an adapter; else as `resolve`.
    """
    found = [checkpoint for spec in specs for checkpoint in resolve(spec, base=base)]
    by_name: dict[str, Checkpoint] = {}
    for checkpoint in found:
        if (other := by_name.get(checkpoint.name)) is not None:
            raise RequestError(
                f"two checkpoints are called {checkpoint.name!r}: {other.path} and {checkpoint.path}. "
                f"Name one of them: --geoaudit-model=NAME={checkpoint.spec.removeprefix(f'{checkpoint.name}=')}"
            )
        by_name[checkpoint.name] = checkpoint
    if base is not None and all(checkpoint.kind != "adapter" for checkpoint in found):
        raise RequestError(f"--geoaudit-base={base} was given, and none of the checkpoints is an adapter: leave it out")
    return found


def _split(spec: str) -> tuple[str | None, str]:
    """(name, path) of `[NAME=]PATH`; paths may have `=` in them (`runs/lr=2e-5`)."""
    name, equals, target = spec.partition("=")
    if not equals or Path(spec).expanduser().exists() or (_is_glob(spec) and _matches(spec)):
        return None, spec
    if not target:
        raise RequestError(f"{spec!r} names a checkpoint and says no path: NAME=PATH")
    return (name, target) if _NAME.fullmatch(name) else (None, spec)


def _is_glob(target: str) -> bool:
    return glob.has_magic(target)


def _matches(pattern: str) -> list[Path]:
    """What a glob matches, numbers in names in the order of their values."""

    def natural(path: str) -> list[str | int]:
        return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", path))]

    found = sorted(glob.glob(os.path.expanduser(pattern)), key=natural)
    # logs and notes beside the checkpoints are passed over; weights that cannot be loaded are not: they are refused
    weights = (".gguf", ".safetensors", *folder.PICKLES)
    return [Path(path) for path in found if os.path.isdir(path) or path.endswith(weights)]


def _resolve(target: str, base: str | None) -> list[Checkpoint]:
    if not target.strip():
        raise CheckpointNotFound("an empty path was given for a checkpoint: pass a folder, a file, a name or a hub id")
    path = Path(target).expanduser()
    if path.exists():
        return [_at_path(path, target, base)]
    if target in builtin.BUILTINS:
        return [_from_gguf(builtin.find(target), name=target, kind="builtin", spec=target)]
    if _is_glob(target):
        paths = _matches(target)
        if not paths:
            raise CheckpointNotFound(f"the glob {target!r} matches no checkpoint in {os.getcwd()}{_nearest(target)}")
        return [_at_path(one, str(one), base) for one in paths]
    if hub.split(target) is None:
        raise CheckpointNotFound(
            f"no checkpoint at {target!r}{_nearest(target)}: no such path, built-in name or hub id"
        )
    try:
        snapshot, commit = hub.fetch(target)
    except CheckpointNotFound as error:
        raise CheckpointNotFound(f"no path {target!r} here{_nearest(target)}; as a hub id: {error}") from error
    return [_in_folder(snapshot, name=target, spec=target, base=base, commit=commit)]


def _at_path(path: Path, spec: str, base: str | None) -> Checkpoint:
    path = Path(os.path.abspath(path))  # links are kept: the name is the one that was asked for
    name = _printable("/".join(path.parts[-2:]))
    if path.is_dir():
        return _in_folder(path, name=name, spec=spec, base=base, commit=None)
    if path.suffix == ".gguf":
        return _from_gguf(path, name=name, kind="gguf", spec=spec)
    if path.suffix in folder.PICKLES:
        raise UnsupportedCheckpoint(
            f"{path} would have to be unpickled, which may run any code: convert it to safetensors where you trust it, "
            "and pass the folder that save_pretrained wrote"
        )
    if path.suffix in (".safetensors", ".json"):
        raise UnsupportedCheckpoint(f"{path} is one file of a checkpoint: pass its folder, {str(path.parent)!r}")
    raise UnsupportedCheckpoint(f"{path} is no checkpoint: pass a folder with config.json, an adapter or a .gguf file")


def _in_folder(path: Path, *, name: str, spec: str, base: str | None, commit: str | None) -> Checkpoint:
    if folder.is_adapter(path):
        settings, _ = folder.adapter(path)
        under = _base_of(path, settings, base)
        if under.kind == "adapter":
            raise UnsupportedCheckpoint(
                f"the base of the adapter {path} is itself an adapter ({under.path}): merge that one into its own base "
                "first (merge_and_unload, then save_pretrained), and pass the result with --geoaudit-base"
            )
        return Checkpoint(name, "adapter", path, under, under.model_type, under.dtype, commit, spec)
    settings = folder.config(path)
    files = folder.weights(path)
    kind: Kind = "directory" if commit is None else "hub"
    return Checkpoint(name, kind, path, None, settings["model_type"], _dtype(path, files, settings), commit, spec)


def _from_gguf(path: Path, *, name: str, kind: Kind, spec: str) -> Checkpoint:
    model_type = gguf.header(path).model_type
    architecture.check_model_type(model_type)
    return Checkpoint(name, kind, path, None, model_type, "bfloat16", None, spec)


def _dtype(path: Path, files: Sequence[Path], settings: dict[str, Any]) -> str:
    try:
        stored = tensorfile.majority_dtype(tensor for file in files for tensor in tensorfile.read(file))
    except BrokenCheckpoint:  # for loading to report; until then what the config says
        stored = None
    stored = stored or str(settings.get("dtype") or settings.get("torch_dtype"))
    if stored.startswith("float8"):
        raise UnsupportedCheckpoint(
            f"{path} is stored in {stored} without the scales that belong to it: save it in bfloat16"
        )
    return stored if stored in ("bfloat16", "float16") else "float32"


def _base_of(adapter: Path, settings: dict[str, Any], asked: str | None) -> Checkpoint:
    """The base of an adapter: as asked for, else as its config says, else what lies beside it."""
    if asked is not None:
        found = _resolve(asked, None)
        if len(found) != 1:
            raise RequestError(f"--geoaudit-base={asked} matches {len(found)} checkpoints; an adapter has one base")
        return found[0]
    named = settings.get("base_model_name_or_path")
    named = named if isinstance(named, str) else ""
    revision = settings.get("revision")
    hub_id = f"{named}@{revision}" if isinstance(revision, str) and revision else named
    if named:
        for path in (adapter / named, Path(named).expanduser()):
            if path.exists() and path.resolve() != adapter.resolve():
                return _at_path(path, str(path), None)
        if named in builtin.BUILTINS:
            return _resolve(named, None)[0]
        if hub.split(hub_id) is not None and hub.cached(hub_id) is not None:
            return _resolve(hub_id, None)[0]
    # moved together with its base: below it, next to it, or inside the base's own folder
    for path in (adapter / "base", adapter.parent / "base", adapter.parent / Path(named).name, adapter.parent):
        if (path / folder.CONFIG).is_file() and path.resolve() != adapter.resolve():
            return _at_path(path, str(path), None)
    why = ""
    if hub.split(hub_id) is not None:
        try:
            return _resolve(hub_id, None)[0]
        except CheckpointNotFound as error:
            why = f": {error}"
    raise CheckpointNotFound(
        f"the base of the adapter {adapter} cannot be found: its config names {named!r}, which is neither a path nor a "
        f"model at hand, and no base lies beside it. Pass --geoaudit-base=PATH{why}"
    )


def _printable(name: str) -> str:
    r"""A file name as it can stand in a terminal, a test's id and a report: a newline as `\n`, an escape as `\x1b`."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in name)


def _nearest(target: str) -> str:
    """`" (did you mean …?)"` from what lies in the same folder and the built-in names."""
    parent = Path(target).expanduser().parent
    try:
        beside = [str(Path(target).parent / name) for name in os.listdir(parent)]
    except OSError:  # the folder is not there either, so nothing in it is near
        beside = []
    return did_you_mean(target, [*beside, *builtin.BUILTINS])
