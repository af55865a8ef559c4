"""A sample of a record's measurements made again, with nothing reused: what `geoaudit verify` compares it with."""

from __future__ import annotations

import math
import platform
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geoaudit.audit import profiles
from geoaudit.audit.agreeing import Verdict, agreement, tolerance
from geoaudit.audit.measuring import Options
from geoaudit.audit.plan import Planned
from geoaudit.audit.record_parts import measurements_of
from geoaudit.audit.replay import contract_of
from geoaudit.audit.run import Auditor
from geoaudit.audit.suite import Assertion, Suite
from geoaudit.errors import GeoauditError
from geoaudit.judges.setup import JudgeSetup
from geoaudit.measures.table import get
from geoaudit.model.checkpoint import Checkpoint, resolve
from geoaudit.model.load import resolve_device
from geoaudit.records import Measurement


@dataclass
class Findings:
    """What was looked at, line by line."""

    say: Callable[[str], None]
    verdicts: list[Verdict] = field(default_factory=list)

    def add(self, verdict: Verdict, line: str) -> None:
        """One thing that was looked at, with its line."""
        word = {"agrees": "agrees   ", "differs": "DIFFERS  ", "open": "open     "}[verdict]
        self.verdicts.append(verdict)
        self.say(f"{word} {line}")

    @property
    def worst(self) -> Verdict:
        """Differs before open before agrees."""
        return "differs" if "differs" in self.verdicts else "open" if "open" in self.verdicts else "agrees"


@dataclass(frozen=True)
class Asked:
    """What is verified, and how."""

    record: Path
    sample: float = 0.1
    """Share of the measurements, in [0, 1]."""
    seed: int = 0
    models: Mapping[str, str] = field(default_factory=dict)
    """Name of a checkpoint -> where it is."""
    device: str | None = None
    data: Path | None = None


def again(
    record: Mapping[str, Any], suites: Mapping[str, Suite], asked: Asked, store: Path, findings: Findings
) -> None:
    """Identify the checkpoints, and measure a sample again."""
    there = _checkpoints(record, asked.models, findings)
    if not there:
        return
    auditor = Auditor(
        there,
        _options(record, asked, store, {one.name for one in there}),
        lambda line: findings.say(f"          {line}"),
    )
    same = _identified(record, auditor, findings)
    found = {key: one for key, one in measurements_of(record).items() if one.estimate is not None}
    able = sorted(key for key, one in found.items() if one.checkpoint in same)
    n = math.ceil(asked.sample * len(able))
    chosen = sorted(random.Random(asked.seed).sample(able, n))
    planned: dict[str, Planned] = {}
    for key in chosen:
        try:
            given = _given(record, found[key], key, suites)
            planned[key] = auditor.plan(found[key].checkpoint, found[key].measure, given)
        except GeoauditError as error:
            findings.add("open", f"{found[key].measure} of {found[key].checkpoint}: cannot be measured here: {error}")
    if planned:
        from geoaudit.audit.measuring import clock

        seconds = sum(one for name in auditor.names for _, one in auditor.works(name))
        findings.say(
            f"measuring {len(planned)} of {len(found)} again (--sample {asked.sample:g} --seed {asked.seed}), "
            f"about {clock(seconds)}"
        )
    for key, one in planned.items():
        _compared(record, auditor, key, one, found[key], findings)


def _checkpoints(record: Mapping[str, Any], models: Mapping[str, str], findings: Findings) -> list[Checkpoint]:
    """The checkpoints that are there; one that is not is open, with what was tried and what to do."""
    found = []
    for one in record["checkpoints"]:
        name, given = one["name"], one["name"] in models
        spec = models[name] if given else str(one["spec"])
        gone = _gone(one, spec.removeprefix(f"{name}="))
        where = f"say where it is with --model {name}=PATH"
        if gone and not given:  # it lay in a folder: a model of the hub that is called alike is another one
            findings.add("open", f"checkpoint {name}: {gone}; {where}")
            continue
        base = (one.get("base") or {}).get("spec") or None
        try:
            (checkpoint,) = resolve(spec, base=base)
            found.append(replace(checkpoint, name=name, spec=spec))
        except (GeoauditError, ValueError) as error:
            said = f"{gone}, and no model of the hub; {where}" if gone else f"{error}{'' if given else f'; {where}'}"
            findings.add("open", f"checkpoint {name}: {said}")
    return found


def _gone(entry: Mapping[str, Any], place: str) -> str:
    """That a checkpoint which a record found in a folder or a file is not at a place; empty where something is."""
    if entry.get("kind") not in ("directory", "adapter", "gguf") or Path(place).expanduser().exists():
        return ""
    return f"no such {'file' if entry['kind'] == 'gguf' else 'folder'}: {place} (looked from {Path.cwd()})"


def _options(record: Mapping[str, Any], asked: Asked, store: Path, there: set[str]) -> Options:

    kept, around = record["options"], record["environment"]
    device = resolve_device(asked.device or ("cpu" if around.get("device") == "cpu" else "auto"))
    return Options(
        profile=profiles.get(record["profile"]["name"]),
        store=store,
        device=device,
        dtype=kept["dtype"],
        template=kept["template"],
        system=kept["system"],
        judging=JudgeSetup(
            data=asked.data, store=store, device=device, quantise=kept["judge_quantise"], models=kept["judge_models"]
        ),
        threads=around.get("threads"),
        reference=kept["reference"] if kept["reference"] in there else None,
    )


def _identified(record: Mapping[str, Any], auditor: Auditor, findings: Findings) -> set[str]:
    """The checkpoints whose content is what the record says."""
    same = set()
    for entry in record["checkpoints"]:
        name = entry["name"]
        if name not in auditor.names:
            continue
        try:
            identity = auditor.subject(name).identity.id
        except GeoauditError as error:
            findings.add("open", f"checkpoint {name}: {error}")
            continue
        if identity == entry["id"]:
            same.add(name)
            findings.add("agrees", f"checkpoint {name}: the same content")
        else:
            findings.add("differs", f"checkpoint {name}: other content than the record's {str(entry['id'])[:12]}")
    return same


def _given(record: Mapping[str, Any], one: Measurement, key: str, suites: Mapping[str, Suite]) -> Mapping[str, Any]:
    """The parameters of a measurement: as a suite that is here gives them, else as the record shows them."""
    for entry in record["assertions"]:
        if key in (entry["measurement"], *entry["others"]) and entry["file"] in suites:
            for assertion in suites[entry["file"]].assertions:
                given = _of(assertion, one)
                if assertion.id == entry["id"] and given is not None:
                    return given
    known = get(one.measure).parameters
    return {name: value for name, value in one.parameters.items() if name in known and value is not None}


def _of(assertion: Assertion, one: Measurement) -> Mapping[str, Any] | None:
    if assertion.measure == one.measure:
        return assertion.parameters
    other = assertion.across.other if assertion.across is not None else None
    return other.parameters if other is not None and other.measure == one.measure else None


def _compared(
    record: Mapping[str, Any],
    auditor: Auditor,
    key: str,
    planned: Planned,
    recorded: Measurement,
    findings: Findings,
) -> None:

    name = f"{recorded.measure} of {recorded.checkpoint}"
    try:
        again = auditor.measurement(planned)
    except Exception as error:  # out of memory, a broken file: no verdict on the record
        findings.add("open", f"{name}: {type(error).__name__}: {error}")
        return
    measure, contract = get(recorded.measure), auditor.subject(recorded.checkpoint).contract
    found = agreement(
        recorded,
        again,
        kind=measure.kind,
        span=measure.range,
        relative=tolerance(contract.dtype, auditor.size(recorded.checkpoint).n_layers),
        excuse=_excuse(record, auditor, key, planned),
    )
    findings.add(found.verdict, f"{name}: {found.sentence}")


def _excuse(record: Mapping[str, Any], auditor: Auditor, key: str, planned: Planned) -> str:
    """What else than tampering may explain a difference: another contract, or rounding to half precision elsewhere."""
    contract = auditor.subject(planned.checkpoint).contract
    before = contract_of(record, planned.checkpoint)
    now = {name: getattr(contract, name) for name in before}
    apart = [f"{name} {before[name]} then, {now[name]} now" for name in before if before[name] != now[name]]
    if apart:
        return f"it was made under another contract ({', '.join(apart)})"
    if record["options"]["labels"]:
        return "labels of people corrected it, which are not in the record"
    around, here = record["environment"], platform.platform()
    if contract.dtype != "float32" and (around.get("platform") != here):
        return f"{contract.dtype} text may change with the machine ({around.get('platform')} then, {here} now)"
    if not key.endswith(planned.key):
        return "other checkpoints of the audit, the prompts or the definition of the measure are not what they were"
    return ""
