"""Two checkpoints beside each other: what they must share, and what their measurements have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.drift import Frame, refuse_unlike
from geoaudit.measures.definition import Against
from geoaudit.measures.evidence import Evidence
from geoaudit.measures.fulfilled import ProbeMeans
from geoaudit.measures.needs import Probe
from geoaudit.measures.table import get
from geoaudit.records import Flag, Measurement, digest


@dataclass(frozen=True, eq=False)
class Pair:
    """A checkpoint and the one that it is compared with, on the same prompts."""

    parameters: Mapping[str, Any]
    here: Evidence
    there: Evidence
    against: Against
    means: tuple[ProbeMeans, ProbeMeans]
    """Here, there."""

    @property
    def flags(self) -> tuple[Flag, ...]:
        """Prompts of the directions that one of the two was trained on."""
        here, there = (each.overlaps(estimating=self.means[0].prompts) for each in (self.here, self.there))
        return (*here, *self.of_the_other(there))

    def of_the_other(self, flags: Iterable[Flag]) -> tuple[Flag, ...]:
        """Flags that were raised of the other checkpoint."""
        return tuple(replace(flag, sentence=f"of {self.there.checkpoint}: {flag.sentence}") for flag in flags)

    def measured(
        self,
        measure: str,
        estimate: float,
        ends: tuple[float, float] | None,
        interval: str,
        *,
        n: int,
        seed: int,
        inputs: Mapping[str, str],
        flags: Iterable[Flag],
        detail: Mapping[str, Any],
        judge: str = "",
    ) -> Measurement:
        """A measurement of the pair, with whom it was compared in the detail."""
        return Measurement(
            measure=measure,
            checkpoint=self.here.checkpoint,
            parameters=self.here.described(self.parameters),
            unit=get(measure).unit,
            estimate=estimate,
            low=None if ends is None else ends[0],
            high=None if ends is None else ends[1],
            interval=interval,
            n=n,
            seed=seed,
            judge=judge,
            inputs=inputs,
            flags=tuple(flags),
            detail={**self.named, **detail},
        )

    @property
    def named(self) -> dict[str, Any]:
        """Whom the checkpoint is compared with, for the record."""
        return {"reference": self.against.checkpoint, "against": self.against.role}


def paired(parameters: Mapping[str, Any], evidence: Evidence) -> Pair:
    """The checkpoint beside the one that its parameter `against` says.

    Raises:
        NothingToMeasure: their sites or prompts do not mean the same: another width or depth, tokenizer, template, or
            list of prompts.
    """
    against: Against = parameters["against"]
    other = evidence.other(against.checkpoint)
    probe = Probe(parameters["n_train"], parameters["chat"])
    means: list[ProbeMeans] = [each.of(probe) for each in (evidence, other)]
    if means[0].inputs != means[1].inputs:
        raise NothingToMeasure(
            f"{evidence.checkpoint} and {other.checkpoint} were read on different prompts: drift is read on one list"
        )
    refuse_unlike(*(_frame(each, one, parameters) for each, one in zip((evidence, other), means, strict=True)))
    return Pair(parameters, evidence, other, against, (means[0], means[1]))


def _frame(evidence: Evidence, means: ProbeMeans, parameters: Mapping[str, Any]) -> Frame:
    """What a site of a checkpoint means; tokenizers are told apart by what they make of the prompts that are read."""
    chat = evidence.chat(parameters["chat"])
    texts = [prompt.text for prompts in means.prompts for prompt in prompts.prompts]
    ids = chat.tokenizer(texts, add_special_tokens=False)["input_ids"]
    return Frame(
        width=means.harmful.mean.shape[-1],
        n_layers=means.harmful.mean.shape[-2] - 1,
        tokens=means.tokens,
        tokenizer=digest([list(each) for each in ids]),
        template=chat.sha256,
    )
