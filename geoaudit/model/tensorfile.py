"""The header of a safetensors file: what tensors it holds and where their bytes lie, read without torch.

The format is eight bytes (little endian) with the length of a JSON header, the header, then the tensors' bytes:
https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from geoaudit.errors import BrokenCheckpoint

FLOATING = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
"""Floating dtypes: the file's word to torch's."""

_BYTES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the safetensors library itself


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file: `start` and `end` are its byte range in `file`, `dtype` is the file's word (e.g. BF16)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def read(path: Path) -> list[Tensor]:
    """The tensors of a safetensors file, by name; reads the header only.

    Raises:
        BrokenCheckpoint: the file is not whole: no header, or fewer (or more) bytes than the header promises.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > min(_LONGEST_HEADER, size - 8):
            raise _broken(path, f"its {size} bytes hold no header")
        header = file.read(length)
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        begin = 8 + length
        tensors = [
            Tensor(
                name,
                str(entry["dtype"]),
                tuple(int(n) for n in entry["shape"]),
                path,
                begin + int(entry["data_offsets"][0]),
                begin + int(entry["data_offsets"][1]),
            )
            for name, entry in entries.items()
        ]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _broken(path, f"its header cannot be read ({type(error).__name__}: {error})") from error
    for tensor in tensors:
        _check(tensor, size)
    promised = max((tensor.end for tensor in tensors), default=begin)
    if promised != size:
        raise _broken(path, f"its header promises {promised} bytes and {size} are there")
    return sorted(tensors, key=lambda tensor: tensor.name)


def majority_dtype(tensors: Iterable[Tensor]) -> str | None:
    """Torch's name of the dtype that most floating elements are stored in; None where nothing is floating."""
    elements: Counter[str] = Counter()
    for tensor in tensors:
        if tensor.dtype in FLOATING:
            elements[FLOATING[tensor.dtype]] += tensor.numel
    return elements.most_common(1)[0][0] if elements else None


def _check(tensor: Tensor, size: int) -> None:
    if tensor.end > size:
        raise _broken(tensor.file, f"tensor {tensor.name!r} ends at byte {tensor.end} and the file at {size}")
    width = _BYTES.get(tensor.dtype)  # None: a packed type newer than this table; its length is the library's to check
    if tensor.start > tensor.end or (width is not None and tensor.end - tensor.start != width * tensor.numel):
        shape = "×".join(map(str, tensor.shape))
        raise _broken(
            tensor.file, f"tensor {tensor.name!r} ({tensor.dtype}, {shape}) has {tensor.end - tensor.start} bytes"
        )


def _broken(path: Path, why: str) -> BrokenCheckpoint:
    return BrokenCheckpoint(f"{path} is not a whole safetensors file: {why}. Save or copy the checkpoint again")
