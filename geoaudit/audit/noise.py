"""The noise floor: how far two runs of one and the same checkpoint lie apart. Pure: what `geoaudit noise` found.

Three sources move a number without the weights: batches and the type of the weights (rounding), and seeds. What they
move it by is noise for any comparison. A fourth, the choice of prompts, is noise only where the two sides are not
compared prompt by prompt: the interval of a paired change has it already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoaudit.errors import RequestError
from geoaudit.records import Measurement

VERSION = 1
SOURCES: dict[str, str] = {
    "batch": "other batches when text is generated",
    "dtype": "another type of the weights",
    "seed": "another seed",
    "prompts": "other prompts of the same kind (resampled)",
}
"""What is varied, and in words."""
UNPAIRED = frozenset({"prompts"})
"""Sources whose noise the interval of a paired change has already."""
FREE = frozenset({"n", "max_unparsed", "paraphrases", "seed"})
"""Parameters in which what was repeated may differ from what is compared."""


@dataclass(frozen=True)
class Spread:
    """What one source moved one measurement by."""

    source: str
    """A key of `SOURCES`."""
    values: tuple[float, ...]
    """What each run gave; of resampled prompts their differences from the whole."""
    runs: tuple[str, ...]
    """What each run was, in words."""
    n: int
    """Prompts of a run."""

    @property
    def largest(self) -> float:
        """The largest difference between any two runs; of resamples the one that 95 % of them stay below."""
        if self.source == "prompts":
            ordered = sorted(abs(value) for value in self.values)
            return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return max(self.values) - min(self.values)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return {
            "source": self.source,
            "largest": self.largest,
            "repeats": len(self.values),
            "n": self.n,
            "runs": list(self.runs),
            "values": list(self.values),
        }


@dataclass(frozen=True)
class Noise:
    """The noise floors of a checkpoint's measurements."""

    file: str
    """What it was read from, for a reader."""
    checkpoint: str
    """Whose."""
    found: tuple[tuple[str, Mapping[str, Any], tuple[Spread, ...]], ...]
    """(measure, parameters, spreads)."""

    @classmethod
    def read(cls, path: Path) -> Noise:
        """The noise that `geoaudit noise` wrote.

        Raises:
            RequestError: no such file, or no file of that kind.
        """
        try:
            data = json.loads(path.read_bytes())
        except OSError as error:
            raise RequestError(f"cannot read the noise file {path}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise RequestError(f"the noise file {path} is not JSON: {error}") from None
        if not isinstance(data, dict) or data.get("geoaudit_noise") != VERSION:
            raise RequestError(f"{path} is no noise file of version {VERSION}: make one with `geoaudit noise MODEL`")
        try:
            found = tuple(
                (
                    str(one["measure"]),
                    dict(one["parameters"]),
                    tuple(
                        Spread(
                            str(each["source"]),
                            tuple(float(value) for value in each["values"]),
                            tuple(map(str, each["runs"])),
                            int(each["n"]),
                        )
                        for each in one["spreads"]
                        if each["values"]
                    ),
                )
                for one in data["measurements"]
            )
            return cls(path.name, str(data["checkpoint"]["name"]), found)
        except (KeyError, TypeError, ValueError) as error:
            raise RequestError(f"the noise file {path} is not whole: {type(error).__name__}: {error}") from None

    def of(self, candidate: Measurement) -> dict[str, Any]:
        """What a change line keeps: floors (0 where nothing was measured of this), and where they come from."""
        wanted = comparable(candidate.parameters)
        spreads = next(
            (
                spreads
                for measure, parameters, spreads in self.found
                if measure == candidate.measure and comparable(parameters) == wanted
            ),
            (),
        )
        paired = [one.largest for one in spreads if one.source not in UNPAIRED]
        return {
            "floor": max(paired, default=0.0),
            "unpaired_floor": max((one.largest for one in spreads), default=0.0),
            "sources": {one.source: {"largest": one.largest, "repeats": len(one.values)} for one in spreads},
            "checkpoint": self.checkpoint,
            "file": self.file,
        }


def comparable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that what was repeated must have like what is compared, as JSON has them."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(parameters), default=str))
    return {name: value for name, value in plain.items() if name not in FREE}


def to_json(
    checkpoint: Mapping[str, Any],
    about: Mapping[str, Any],
    found: Sequence[tuple[str, Mapping[str, Any], float | None, Sequence[Spread], Mapping[str, str]]],
) -> dict[str, Any]:
    """The file of `geoaudit noise`.

    Args:
        checkpoint: {"name", "id", "spec"}.
        about: how it was measured.
        found: (measure, parameters, estimate, spreads, source -> why it was not varied).
    """
    return {
        "geoaudit_noise": VERSION,
        **about,
        "checkpoint": dict(checkpoint),
        "sources": SOURCES,
        "measurements": [
            {
                "measure": measure,
                "parameters": dict(parameters),
                "estimate": estimate,
                "spreads": [one.to_json() for one in spreads],
                "not_varied": dict(why),
            }
            for measure, parameters, estimate, spreads, why in found
        ],
    }
