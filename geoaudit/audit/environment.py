"""What else than the weights could move a number, and whether two measurements had it alike. Pure: no files, no torch.

A change between a candidate and its baseline is one of the weights only where everything else was the same: the
template, the system prompt, the type of the weights, the device, the libraries, how text was generated and who judged
it. What differs stops a comparison under the name `environment-mismatch`, and is overridden by its name. What a record
does not say counts as different: nobody knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import geoaudit
from geoaudit.errors import UnknownName
from geoaudit.records import Measurement, digest

SETTINGS: dict[str, str] = {
    "template": "the chat template",
    "system": "the system prompt",
    "dtype": "the type of the weights",
    "device": "the kind of device",
    "torch": "torch's version",
    "transformers": "transformers' version",
    "generation": "how prompts were batched when text was generated",
    "judge": "the judge and its rules",
    "measure": "the version of the measure",
    "numerics": "how geoaudit computes a pass",
    "geoaudit": "geoaudit's version",
}
"""Name, as `--geoaudit-allow-mismatch` takes it -> what it is."""
UNKNOWN = "not recorded"
OWN_TEXT = frozenset({"gcg", "autodan", "worst"})
"""Attacks under which two checkpoints are not asked the same."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One setting in which two measurements differ."""

    name: str
    """A key of `SETTINGS`."""
    here: str
    """Of the candidate, in words."""
    there: str
    """Of what it is compared with."""

    @property
    def sentence(self) -> str:
        """For a reader."""
        return f"{SETTINGS[self.name]}: {self.here} here, {self.there} there"

    def to_json(self) -> dict[str, str]:
        """A JSON-able dictionary."""
        return {"name": self.name, "here": self.here, "there": self.there}


@dataclass(frozen=True)
class Environment:
    """What the numbers of one checkpoint depended on besides its weights; None where nobody wrote it down."""

    dtype: str | None
    device: str | None
    """Kind: cpu, cuda, mps."""
    torch: str | None
    """Minor version, as are the next two."""
    transformers: str | None
    geoaudit: str | None
    template: str | None
    """SHA-256 of the chat template in force."""
    system: str | None
    """SHA-256 of the system prompt, empty for none beyond the template's."""
    numerics: int | None
    batch: tuple[int, int] | None
    """Rows and padded tokens of a generated batch, at most."""
    rules: str | None
    """SHA-256 of the offline judges' rules."""
    versions: Mapping[str, int]
    """Measure -> its version."""

    @classmethod
    def of_record(cls, record: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> Environment:
        """The environment of a checkpoint of a record.

        Args:
            record: as read.
            checkpoint: its entry in the record's checkpoints.
        """
        around: Mapping[str, Any] = record.get("environment") or {}
        contract: Mapping[str, Any] = checkpoint.get("contract") or {}
        template: Mapping[str, Any] = checkpoint.get("template") or {}
        device = contract.get("device") or around.get("device")
        rows, tokens = contract.get("generation_batch"), contract.get("generation_tokens")
        system = checkpoint.get("system_prompt")
        return cls(
            dtype=contract.get("dtype") or checkpoint.get("dtype"),
            device=str(device).partition(":")[0] if device else None,
            torch=contract.get("torch") or minor(around.get("torch")),
            transformers=contract.get("transformers") or minor(around.get("transformers")),
            geoaudit=minor(record.get("geoaudit")),
            template=template.get("sha256"),
            system=contract.get("system_sha256", digest(system) if system else ""),
            numerics=contract.get("numerics"),
            batch=(int(rows), int(tokens)) if rows and tokens else None,
            rules=around.get("judge_rules"),
            versions={
                name: one["version"] for name, one in (record.get("measures") or {}).items() if one.get("version")
            },
        )

    @classmethod
    def live(
        cls, contract: Mapping[str, Any], template: str | None, rules: str, versions: Mapping[str, int]
    ) -> Environment:
        """The environment of a checkpoint that is measured now.

        Args:
            contract: `Contract` as a dictionary.
            template: SHA-256 of the template in force.
            rules: SHA-256 of the offline judges' rules.
            versions: measure -> its version.
        """
        return cls(
            dtype=contract["dtype"],
            device=contract["device"],
            torch=contract["torch"],
            transformers=contract["transformers"],
            geoaudit=minor(geoaudit.__version__),
            template=template,
            system=contract["system_sha256"],
            numerics=contract["numerics"],
            batch=(contract["generation_batch"], contract["generation_tokens"]),
            rules=rules,
            versions=versions,
        )

    def settings(self, found: Measurement) -> dict[str, Any]:
        """What one measurement hangs on: name -> a value to compare, None where it is not known."""
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("template", "system", "dtype", "device", "torch", "transformers", "geoaudit", "numerics")
        }
        values["measure"] = self.versions.get(found.measure)
        if "max_new_tokens" in found.parameters and values["dtype"] != "float32":
            # in float32 greedy text does not depend on its neighbours: none of 64 completions differed between batches
            # text that is made for each checkpoint, or the worst of several attacks, has batches of its own
            own = found.parameters.get("attack") in OWN_TEXT
            values["generation"] = self.batch if own else found.detail.get("batches") or self.batch
        if found.judge:
            rules = None if self.rules is None else f"{found.judge} {self.rules[:16]}"
            values["judge"] = found.detail.get("judge_id") or rules
        return values


def mismatches(
    here: Environment, candidate: Measurement, there: Environment, other: Measurement
) -> tuple[Mismatch, ...]:
    """In what two measurements of the same measure differ besides the weights, in the order of `SETTINGS`."""
    ours, theirs = here.settings(candidate), there.settings(other)
    return tuple(
        Mismatch(name, _word(ours.get(name)), _word(theirs.get(name)))
        for name in SETTINGS
        if name in ours and name in theirs and not _alike(ours[name], theirs[name])
    )


def check_names(names: Iterable[str]) -> frozenset[str]:
    """Names of settings that may differ.

    Raises:
        UnknownName: one that there is not, with the nearest.
    """
    found = list(names)
    for name in found:
        if name not in SETTINGS:
            raise UnknownName.among("setting for --geoaudit-allow-mismatch", name, SETTINGS)
    return frozenset(found)


def minor(version: Any) -> str | None:
    """The first two parts of a version: 2.13 of 2.13.0+cpu."""
    found = re.match(r"\d+\.\d+", str(version)) if version else None
    return found.group(0) if found else None


def _alike(ours: Any, theirs: Any) -> bool:
    """Whether two settings are the same; nobody knows that of one that was not recorded.

    Batches of the first prompts of a longer list are those that they have by themselves: they were generated alike.
    """
    if ours is None or theirs is None:
        return False
    if isinstance(ours, list) and isinstance(theirs, list):
        shared = min(len(ours), len(theirs))
        return ours[:shared] == theirs[:shared]
    return bool(ours == theirs)


def _word(value: Any) -> str:
    if value is None:
        return UNKNOWN
    if value == "":
        return "none"
    if isinstance(value, list | tuple):
        shown = ", ".join(map(str, value[:6]))
        return f"{shown}, … ({len(value)} batches)" if len(value) > 6 else shown
    text = str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{64}", text) else text
