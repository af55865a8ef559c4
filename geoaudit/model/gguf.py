"""GGUF files: what the header says, and the conversion to a Hugging Face folder, once.

The header is read here, in Python and without numpy, because the `gguf` package builds an array for every token of
the vocabulary (2.2 s for SmolLM2), which is too slow for something that every start of an audit does. The format:
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import math
import mmap
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoaudit.errors import BrokenCheckpoint, UnsupportedCheckpoint
from geoaudit.model.quiet import no_progress_bars
from geoaudit.model.unchanged import remembered

CONVERSION = 1
"""Version of the conversion. It is part of a GGUF file's identity: raise it when the same file gives other weights."""

MODEL_TYPES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "phi3": "phi3",
    "gpt2": "gpt2",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
}
"""GGUF architecture to transformers model type: those that both transformers' converter and geoaudit know."""

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class Array:
    """An array of the metadata: how many values, and their bytes as they stand in the file."""

    count: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """The metadata of a GGUF file and the number of elements of each of its tensors."""

    metadata: dict[str, Any]
    tensors: dict[str, int]

    @property
    def architecture(self) -> str:
        """GGUF's word for the kind of model, e.g. `llama`."""
        return str(self.metadata["general.architecture"])

    @property
    def model_type(self) -> str:
        """Transformers' word for it."""
        return MODEL_TYPES[self.architecture]

    @property
    def template(self) -> str | None:
        """The chat template, or None."""
        text = self.metadata.get("tokenizer.chat_template")
        return text if isinstance(text, str) and text else None

    def number(self, key: str) -> int:
        """A whole number of the architecture's own metadata, e.g. `block_count`."""
        return int(self.metadata[f"{self.architecture}.{key}"])


class _Cursor:
    """Reads little-endian values from a mapped file, front to back."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def take(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.data, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def skip(self, n: int) -> None:
        if n < 0 or self.at + n > len(self.data):
            raise ValueError(f"{n} bytes promised at {self.at}, past the end at {len(self.data)}")
        self.at += n

    def string(self) -> str:
        length = self.take("Q")
        self.skip(length)
        return self.data[self.at - length : self.at].decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self.take(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise ValueError(f"unknown type {kind} of a metadata value")
        inner, count, start = self.take("I"), self.take("Q"), self.at
        if inner in _SCALARS:
            self.skip(count * struct.calcsize(f"<{_SCALARS[inner]}"))
        else:
            for _ in range(count):
                if inner == _STRING:
                    self.skip(self.take("Q"))
                else:
                    self.value(inner)
        return Array(count, self.data[start : self.at])


def header(path: Path) -> Header:
    """The metadata of a GGUF file and what tensors it holds; reads no weights.

    Raises:
        UnsupportedCheckpoint: not a GGUF file, one part of a split one, or one that would lose something in the
            conversion.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _read(_Cursor(data))
    except (ValueError, OSError, struct.error) as error:
        raise UnsupportedCheckpoint(f"{path} cannot be read as GGUF: {error}. Download or convert it again") from error
    metadata = found.metadata
    if metadata.get("split.count", 1) > 1:
        raise UnsupportedCheckpoint(
            f"{path} is one of {metadata['split.count']} parts: merge them first (llama-gguf-split --merge)"
        )
    if found.architecture not in MODEL_TYPES:
        raise UnsupportedCheckpoint(
            f"{path} holds a model of architecture {found.architecture!r}, which cannot be converted; known: "
            f"{', '.join(sorted(MODEL_TYPES))}. Pass the original safetensors in its place"
        )
    scaling = metadata.get(f"{found.architecture}.rope.scaling.type", "none")
    if scaling != "none" or "rope_freqs.weight" in found.tensors:
        raise UnsupportedCheckpoint(
            f"{path} scales its rotary positions ({scaling if scaling != 'none' else 'rope_freqs'}), which is lost "
            "when transformers converts a GGUF file: the result would be another model. Pass the original safetensors"
        )
    return found


def file_sha256(path: Path, store: Path) -> str:
    """SHA-256 (hex) of a file, remembered in `store` while it does not change."""

    def compute() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return str(remembered("file-sha256", [path], store, compute))


def convert(path: Path, store: Path) -> Path:
    """A Hugging Face folder (bfloat16 safetensors, tokenizer, template) with the de-quantised weights of a GGUF file.

    Converted once into `store/converted/<sha256 of the file>-<version>/`: later calls, and calls that wait for another
    process, return the folder that is there. SmolLM2-135M takes about 5 s.

    Raises:
        UnsupportedCheckpoint: see `header`.
        BrokenCheckpoint: the file is truncated, or not all of it would arrive in the model.
    """
    from filelock import FileLock

    header(path)
    name = f"{file_sha256(path, store)}-{CONVERSION}"
    target = store / "converted" / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    (store / "locks").mkdir(exist_ok=True)
    with FileLock(store / "locks" / f"convert-{name}.lock"):
        if target.is_dir():
            return target
        for left_over in target.parent.glob(f".{name}-*"):  # of a conversion that was killed
            shutil.rmtree(left_over)
        partial = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
        try:
            _convert(path, partial)
            os.rename(partial, target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return target


def _read(cursor: _Cursor) -> Header:
    magic, version = cursor.take("4s"), cursor.take("I")
    if magic != b"GGUF":
        raise ValueError(f"it starts with {magic!r}")
    if version not in (2, 3):
        raise ValueError(f"version {version}; 2 and 3 are known")
    n_tensors, n_values = cursor.take("Q"), cursor.take("Q")
    metadata: dict[str, Any] = {}
    for _ in range(n_values):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.take("I"))
    if not isinstance(metadata.get("general.architecture"), str):
        raise ValueError("its metadata has no general.architecture")
    tensors: dict[str, int] = {}
    for _ in range(n_tensors):
        name = cursor.string()
        tensors[name] = math.prod(cursor.take("Q") for _ in range(cursor.take("I")))
        cursor.skip(12)  # how it is stored, and where
    return Header(metadata, tensors)


@contextlib.contextmanager
def _read_quickly() -> Iterator[None]:
    """Take out what most of a conversion's time went into: what is read stays the same.

    transformers has the header read three times, 250,000 entries each, by slices of an `np.memmap`, which cost several
    times those of a plain array; and it asks for the whole table of tensors' names once a module.
    """
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):  # type: ignore[misc]
        data: Any

        def _get(self, *args: Any, **kwargs: Any) -> Any:
            if isinstance(self.data, np.memmap):
                self.data = np.asarray(self.data)
            return super()._get(*args, **kwargs)

    before = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = Reader, functools.cache(gguf.get_tensor_name_map)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = before


def _convert(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # its GGUF reader draws a bar that cannot be switched off
    with no_progress_bars(), contextlib.redirect_stderr(io.StringIO()), _read_quickly():
        try:
            # In float32, then rounded once: de-quantising in bfloat16 would round at every step. `dequantize` keeps
            # transformers from leaving weights packed where it has kernels that can compute with them.
            model, info = AutoModelForCausalLM.from_pretrained(
                path.parent,
                gguf_file=path.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                local_files_only=True,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
        except (ValueError, KeyError, IndexError, NotImplementedError) as error:
            raise BrokenCheckpoint(f"{path} cannot be converted ({error}). Download or convert it again") from error
        stored = sum(header(path).tensors.values())
        arrived = sum(parameter.numel() for parameter in model.parameters())  # tied ones counted once
        if info["missing_keys"] or stored != arrived:
            raise BrokenCheckpoint(
                f"{path} holds {stored} weights and the converted model {arrived}"
                f" ({len(info['missing_keys'])} of its tensors unfilled): it would be another model. "
                "Pass the original safetensors in its place"
            )
        vars(model.config).pop("quantization_config", None)  # else the folder would load as a quantised model again
        model.hf_quantizer = None  # else save_pretrained refuses
        model.to(torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
