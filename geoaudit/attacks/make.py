"""From an attack and a prompt set to the cases that are put to a model. Plain data: no model, no torch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

from geoaudit.attacks import free, initial, stored
from geoaudit.attacks.cases import Attack, AttackName, Cases
from geoaudit.errors import RequestError, UnknownName
from geoaudit.prompts.benchmarks import BENCHMARKS, load_targets
from geoaudit.records import PromptSet


def check(attack: Attack, data: Path | None = None, *, source: str = "") -> None:
    """That the attack can be made: its parameters are in their ranges and its files are there.

    Args:
        attack: The attack.
        data: The data folder; None for GEOAUDIT_DATA or the user's cache.
        source: Name of the prompt source, for attacks that need a file with it (`prefill` HarmBench's targets).

    Raises:
        UnknownName: if there is no such attack, format, stored set, method or source model.
        DataMissing: if a file is not there or is not the pinned one.
        RequestError: if a parameter is out of its range, or a file's content is wrong.
    """
    match attack.name:
        case "direct" | "past_tense":
            pass
        case "fixed":
            stored.check(attack, data)
        case "prefill":
            if attack.k < 1:
                raise RequestError(
                    f"attack prefill puts k tokens into the model's mouth; k must be 1 or more, got {attack.k}"
                )
            if source in BENCHMARKS:
                load_targets(BENCHMARKS[source], data)
        case "format":
            if attack.format and attack.format not in free.FORMATS:
                raise UnknownName.among("format", attack.format, free.FORMATS)
        case "system":
            if attack.system is None:
                raise RequestError("attack system needs a system prompt to ask under: a text, or an empty one for none")
        case "sampled":
            if attack.samples < 1:
                raise RequestError(f"attack sampled needs 1 sample or more, got {attack.samples}")
            if not (math.isfinite(attack.temperature) and attack.temperature > 0):
                raise RequestError(
                    f"attack sampled needs a temperature above 0, got {attack.temperature}; "
                    "at 0 every sample is the greedy answer"
                )
        case "gcg" | "autodan":
            for what, value in (("a budget", attack.budget), ("a width", attack.width)):
                if value < 1:
                    raise RequestError(f"attack {attack.name} needs {what} of 1 or more, got {value}")
            if attack.name == "autodan":
                initial.initial(attack.initial, data)
            if source in BENCHMARKS:
                load_targets(BENCHMARKS[source], data)
        case _:
            raise UnknownName.among("attack", attack.name, get_args(AttackName))


def cases(attack: Attack, prompts: PromptSet, data: Path | None = None) -> Cases:
    """The cases of an attack on a prompt set, in the order of the prompts.

    Args:
        attack: The attack.
        prompts: The behaviours.
        data: The data folder; None for GEOAUDIT_DATA or the user's cache.

    Raises:
        UnknownName, DataMissing, RequestError: as `check`, and for an attack whose cases a checkpoint makes.
    """
    if attack.adaptive:
        raise RequestError(f"attack {attack.name} has no cases before it was optimised against a checkpoint")
    check(attack, data)
    match attack.name:
        case "fixed":
            return stored.stored_cases(attack, prompts, data)
        case "prefill":
            return targeted(prompts, data)
        case "past_tense":
            return free.asked_of_the_past(prompts)
        case "format":
            return free.in_a_format(prompts, attack.format or next(iter(free.FORMATS)))
        case "sampled":
            return free.sampled(prompts, attack)
        case _:  # direct; system asks the same under another system prompt
            return free.direct(prompts)


def targeted(prompts: PromptSet, data: Path | None = None) -> Cases:
    """The prompts with their affirmative targets (`Case.prefill`), which attacks prefill or make likelier.

    A benchmark's target comes from its file, the other ones from the prompts; where there is none it is a general one.

    Args:
        prompts: The behaviours.
        data: The data folder; None for GEOAUDIT_DATA or the user's cache.

    Raises:
        DataMissing: if a benchmark's file of targets is not there or is not the pinned one.
        RequestError: if the prompts' targets are refusals.
    """
    benchmark = BENCHMARKS.get(prompts.name)
    return free.prefill(prompts, load_targets(benchmark, data) if benchmark else {})
