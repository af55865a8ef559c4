"""What a checkpoint is, whatever it is called and wherever it lies: hashes of its content, and one id over them.

Weights: SHA-256 over (name, dtype, shape, bytes) of the tensors in the order of their names, so that resharding,
renaming and copying change nothing; of a GGUF file: of the file. Beside them the config, the tokenizer and the chat
template, without the keys that only say where or by what they were saved. An adapter's id covers its base's.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from geoaudit.errors import BrokenCheckpoint
from geoaudit.model import builtin, folder, gguf, tensorfile
from geoaudit.model.checkpoint import Checkpoint
from geoaudit.model.unchanged import remembered
from geoaudit.records import digest

_VERSION = 1
"""Raise it when an id's meaning changes, so that nothing remembered under the old one is used."""

_CHUNK = 1 << 24  # bytes handed to the hash at a time

_VOLATILE = frozenset({"transformers_version", "_name_or_path", "_commit_hash", "auto_map", "_from_model_config"})
"""Keys of `config.json` and `generation_config.json` that say who saved the file, not what the model is."""

_VOLATILE_TOKENIZER = frozenset(
    {
        "name_or_path",
        "tokenizer_file",
        "special_tokens_map_file",
        "is_local",
        "local_files_only",
        "chat_template",  # hashed on its own, as text, wherever it is kept
        "auto_map",
    }
)
_VOLATILE_ADAPTER = frozenset({"base_model_name_or_path", "revision", "peft_version", "inference_mode", "auto_mapping"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Hashes (SHA-256, hex) of a checkpoint's content; `id` is over all of them."""

    id: str
    weights_sha256: str
    config_sha256: str
    tokenizer_sha256: str | None
    """None only of a base without a tokenizer, whose adapter brings one."""
    template_sha256: str | None
    """None where there is no chat template."""
    base: Identity | None
    """Of an adapter: its base's."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return dataclasses.asdict(self)


def identify(checkpoint: Checkpoint, store: Path) -> Identity:
    """The identity of a checkpoint; reads the weights once, and not again while no file of it changes.

    Args:
        checkpoint: what `resolve` found.
        store: folder that remembers the hashes (`identity/`).

    Raises:
        BrokenCheckpoint: weights that are truncated or not there twice over.
        UnsupportedCheckpoint: the file of a built-in model is not the pinned one.
    """
    if checkpoint.kind in ("gguf", "builtin"):
        return _of_gguf(checkpoint, store)
    base = identify(checkpoint.base, store) if checkpoint.base is not None else None
    path = checkpoint.path
    if base is None:
        weights = folder.weights(path)
        settings = [path / folder.CONFIG, path / "generation_config.json"]
        read_config = _config
    else:
        weights = [folder.adapter(path)[1]]
        settings = [path / folder.ADAPTER_CONFIG]
        read_config = _adapter_config
    settings = [file for file in settings if file.is_file()]
    texts = [*folder.tokenizer_files(path), path / folder.TOKENIZER_CONFIG, *folder.template_files(path)]
    texts = [file for file in texts if file.is_file()]

    def compute() -> dict[str, str | None]:
        return {
            "weights": _weights(weights),
            "config": read_config(settings),
            "tokenizer": _tokenizer(path),
            "template": _template(folder.template(path)),
        }

    found = remembered(f"identity-{_VERSION}", [*weights, *settings, *texts], store, compute)
    tokenizer, template = found["tokenizer"], found["template"]
    if base is not None:  # what the adapter does not bring is the base's
        tokenizer = tokenizer or base.tokenizer_sha256
        template = template or base.template_sha256
    return _identity(found["weights"], found["config"], tokenizer, template, base)


def _of_gguf(checkpoint: Checkpoint, store: Path) -> Identity:
    path = checkpoint.path
    sha256 = gguf.file_sha256(path, store)
    if checkpoint.kind == "builtin":
        builtin.check(path, sha256)

    def compute() -> dict[str, str | None]:
        header = gguf.header(path)
        values = {
            key: hashlib.sha256(value.raw).hexdigest() if isinstance(value, gguf.Array) else value
            for key, value in header.metadata.items()
        }
        vocabulary = {key: value for key, value in values.items() if key.startswith("tokenizer.ggml.")}
        settings = {key: value for key, value in values.items() if key.startswith(f"{header.architecture}.")}
        return {
            "config": digest([gguf.CONVERSION, header.architecture, settings]),
            "tokenizer": digest(vocabulary),
            "template": _template(header.template),
        }

    found = remembered(f"identity-gguf-{_VERSION}-{gguf.CONVERSION}", [path], store, compute)
    return _identity(sha256, found["config"], found["tokenizer"], found["template"], None)


def _identity(
    weights: str, config: str, tokenizer: str | None, template: str | None, base: Identity | None
) -> Identity:
    parts = [weights, config, tokenizer, template, base.id if base is not None else None]
    return Identity(digest([_VERSION, *parts]), weights, config, tokenizer, template, base)


def _weights(files: Sequence[Path]) -> str:
    """SHA-256 over (name, dtype, shape, bytes) of the tensors of all files, in the order of their names."""
    tensors = sorted((one for file in files for one in tensorfile.read(file)), key=lambda tensor: tensor.name)
    twice = next((a for a, b in pairwise(tensors) if a.name == b.name), None)
    if twice is not None:
        raise BrokenCheckpoint(f"tensor {twice.name!r} is in two weight files of {twice.file.parent}: save it again")
    if not tensors:
        raise BrokenCheckpoint(f"{files[0]} holds no tensors. Save the checkpoint again")
    hashed = hashlib.sha256()
    for tensor in tensors:
        # a line of JSON cannot run into the bytes before or behind it: their number follows from dtype and shape
        hashed.update(json.dumps([tensor.name, tensor.dtype, tensor.shape]).encode() + b"\n")
        if tensor.end > tensor.start:
            _update(hashed, tensor)
    return hashed.hexdigest()


def _update(hashed: Any, tensor: tensorfile.Tensor) -> None:
    first = tensor.start - tensor.start % mmap.ALLOCATIONGRANULARITY  # a mapping starts at a page
    length = tensor.end - first
    with (
        tensor.file.open("rb") as file,
        mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=first) as data,
        memoryview(data) as view,
    ):
        for start in range(tensor.start - first, length, _CHUNK):
            with view[start : start + _CHUNK] as chunk:
                hashed.update(chunk)


def _config(files: Sequence[Path]) -> str:
    """Hash of `config.json` and of what `generation_config.json` adds, e.g. further end-of-turn tokens."""
    return digest([_without(folder.read_json(file), _VOLATILE) for file in files])


def _adapter_config(files: Sequence[Path]) -> str:
    settings = _without(folder.read_json(files[0]), _VOLATILE_ADAPTER)
    # PEFT keeps module names in sets and saves them in any order
    return digest({key: sorted(value) if _is_names(value) else value for key, value in settings.items()})


def _tokenizer(path: Path) -> str | None:
    """Hash of the files that turn text into ids; None where the folder has no tokenizer."""
    files = folder.tokenizer_files(path)
    if not files:
        return None
    parts: list[Any] = [[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]
    if (path / folder.TOKENIZER_CONFIG).is_file():
        parts.append(_without(folder.read_json(path / folder.TOKENIZER_CONFIG), _VOLATILE | _VOLATILE_TOKENIZER))
    return digest(parts)


def _template(template: str | Mapping[str, str] | None) -> str | None:
    return None if template is None else digest(template)


def _without(value: Any, keys: frozenset[str]) -> Any:
    """The value without `keys`, at any depth, and with the dtype under the name that transformers 5 gives it."""
    if isinstance(value, dict):
        kept = {key: _without(one, keys) for key, one in value.items() if key not in keys}
        if "torch_dtype" in kept:
            kept.setdefault("dtype", kept.pop("torch_dtype"))
        return kept
    if isinstance(value, list):
        return [_without(one, keys) for one in value]
    return value


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
