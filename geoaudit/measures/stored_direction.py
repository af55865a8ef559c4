"""A direction of the user's own: a safetensors file with one floating tensor, a direction [d] or a subspace [k, d].

Looking at a file reads its header only, so that planning imports no numpy and no torch. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from geoaudit.errors import BrokenCheckpoint, NothingToMeasure, RequestError
from geoaudit.measures.inputs import File
from geoaudit.model import tensorfile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAMED = 3
"""Tensors of a file that holds too many, named in the error."""


def shape_of(file: File) -> tuple[int, int]:
    """(k, d): how many directions a file holds, and how wide they are.

    Raises:
        RequestError: there is no such file, it is no whole safetensors file, or it does not hold one floating tensor
            [d] or [k, d].
    """
    tensor = _tensor(file)
    return (1, *tensor.shape)[-2], tensor.shape[-1]


def rows_of(file: File) -> NDArray[np.float64]:
    """The directions of a file at the norms that they have, float64 [k, d].

    Raises:
        RequestError: as `shape_of`.
        NothingToMeasure: a number that is not finite, or a row that is zero but for rounding.
    """
    import numpy as np
    from safetensors.torch import load_file

    from geoaudit.geometry.directions import NULL_NORM, norms

    tensor = _tensor(file)
    values: NDArray[np.float64] = load_file(file.path)[tensor.name].double().numpy()
    rows = np.atleast_2d(values)
    if not np.isfinite(rows).all():
        raise NothingToMeasure(f"the stored direction {file.name} holds NaN or infinity")
    if not (norms(rows) > NULL_NORM).all():
        raise NothingToMeasure(
            f"null-direction: the stored direction {file.name} has norm {norms(rows).min():.2g}: it points nowhere"
        )
    return rows


def sha256(file: File) -> str:
    """Of the bytes of a file, by which a measurement knows it; its name and folder do not count.

    Raises:
        RequestError: there is no such file.
    """
    about = _there(file).stat()
    return _sha256(file.path, about.st_mtime_ns, about.st_size)


@cache
def _sha256(path: str, changed: int, size: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _there(file: File) -> Path:
    path = Path(file.path)
    if not path.is_file():
        raise RequestError(f"no such file: {str(path)!r} (a stored direction is a safetensors file)")
    return path


def _tensor(file: File) -> tensorfile.Tensor:
    """The one tensor of a file, from its header."""
    try:
        tensors = tensorfile.read(_there(file))
    except BrokenCheckpoint as error:
        raise RequestError(
            f"the stored direction {file.name} is not a whole safetensors file: save one tensor [d] or [k, d] with "
            "safetensors (a pickle may run any code and is not read)"
        ) from error
    if len(tensors) != 1:
        names = ", ".join(tensor.name for tensor in tensors[:NAMED]) + (", …" if len(tensors) > NAMED else "")
        raise RequestError(
            f"the stored direction {file.name} must hold one tensor, got {len(tensors)} ({names or 'none'}): save the "
            "one that is meant on its own"
        )
    (tensor,) = tensors
    if len(tensor.shape) not in (1, 2) or not tensor.numel or tensor.dtype not in tensorfile.FLOATING:
        shape = "×".join(map(str, tensor.shape)) or "scalar"
        raise RequestError(
            f"the stored direction {file.name} must be a floating tensor [d] or [k, d], got {tensor.dtype} {shape}"
        )
    return tensor
