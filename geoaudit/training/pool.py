"""The persistent pool of R2D2: test cases that training keeps attacking, as plain data that a kill does not lose.

A case is a behaviour, one opening of it that is attacked, and a suffix. Everything that is drawn comes from a generator
of its own, made of the seed, what is drawn and a running number: no generator is shared or seeded again, so lengths and
targets of cases that start together differ, a pool read back goes on as if nothing had happened, and every process
draws the same.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from geoaudit.errors import RequestError
from geoaudit.records import digest
from geoaudit.training.r2d2_settings import R2D2

FILE = "r2d2-pool.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Behavior:
    """What is asked for, and the openings of an answer that attacks may aim at."""

    id: str
    request: str
    targets: tuple[str, ...]
    """Not empty."""

    @property
    def sha256(self) -> str:
        """Hash of the request: what the manifest keeps, and the overlap check compares."""
        return hashlib.sha256(self.request.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Case:
    """One entry of the pool."""

    serial: int
    """Cases made before it in this run; with the behaviour's id it names the case to the attack."""
    behavior: str
    """The behaviour's id."""
    request: str
    target: str
    suffix: str
    loss: float | None = None
    """Mean cross-entropy of the target (nats) when the case was last attacked; None before."""
    steps: int = 0
    """Steps of GCG so far."""
    visits: int = 0
    """Micro-steps that drew it."""

    @property
    def id(self) -> str:
        """The case's own name: randomness of its attack hangs on it and on `steps` only."""
        return f"{self.behavior}#{self.serial}"


class Pool:
    """N cases, and what is drawn from them.

    Args:
        settings: the recipe's.
        behaviors: what cases are made of; ids differ.
        seed: of everything drawn.

    Raises:
        RequestError: no behaviours, or two with one id.
    """

    def __init__(self, settings: R2D2, behaviors: Sequence[Behavior], seed: int) -> None:
        ids = [one.id for one in behaviors]
        if not ids or len(set(ids)) != len(ids):
            twice = next((one for one in ids if ids.count(one) > 1), None)
            raise RequestError(
                "R2D2 has no behaviours to attack: name a source that has some"
                if twice is None
                else f"two behaviours of R2D2 have the id {twice!r}: name each source once"
            )
        self.settings = settings
        self.behaviors = tuple(behaviors)
        self.seed = seed
        self.micro_step = 0
        """Micro-steps done."""
        self.last_reset = 0
        """Optimiser step of the last reset."""
        self._made = 0
        self.cases: list[Case] = [self._fresh(one) for one in self._spread(settings.cases, "start", 0)]

    # --- what is drawn -----------------------------------------------------------------------------------------

    def draw(self) -> tuple[int, ...]:
        """Places of the cases that this micro-step attacks, without replacement."""
        return tuple(self._random("draw", self.micro_step).sample(range(len(self.cases)), self.settings.updated))

    def plain(self) -> tuple[Behavior, ...]:
        """Behaviours that this micro-step trains on without a suffix."""
        return tuple(self._spread(self.settings.plain, "plain", self.micro_step))

    def opening(self, behavior: Behavior, place: int) -> str:
        """The opening that a plain request is trained away from in this micro-step; `place` among those drawn."""
        return self._random(f"opening {place}", self.micro_step).choice(behavior.targets)

    def refusal(self, place: int) -> str:
        """The wording that row number `place` of this micro-step is trained toward."""
        return self._random(f"refusal {place}", self.micro_step).choice(self.settings.refusals)

    # --- what changes ------------------------------------------------------------------------------------------

    def attacked(self, place: int, suffix: str, loss: float, steps: int) -> None:
        """Keep what `steps` more steps of an attack made of a case."""
        case = self.cases[place]
        self.cases[place] = replace(case, suffix=suffix, loss=loss, steps=case.steps + steps, visits=case.visits + 1)

    def end_micro_step(self) -> None:
        """Go on to the next draw."""
        self.micro_step += 1

    def reset_if_due(self, step: int) -> tuple[int, ...]:
        """Replace a share of the cases if `step` optimiser steps ask for it and it was not done yet.

        Returns:
            Places of the new cases, in order; empty where nothing was due.
        """
        every, n = self.settings.reset_every, self.settings.n_reset
        if not n or step == 0 or step % every or step <= self.last_reset:
            return ()
        places = sorted(self._random("reset", step).sample(range(len(self.cases)), n))
        for place, behavior in zip(places, self._spread(n, "reset behaviors", step), strict=True):
            self.cases[place] = self._fresh(behavior)
        self.last_reset = step
        return tuple(places)

    # --- between runs ------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The state: cases and counters, and hashes of what they were made under."""
        return {
            "r2d2_pool": VERSION,
            "made_under": self._made_under(),
            "micro_step": self.micro_step,
            "last_reset": self.last_reset,
            "made": self._made,
            "cases": [asdict(case) for case in self.cases],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `to_json` gave.

        Raises:
            RequestError: if it is none, or is of another recipe, seed or set of behaviours.
        """
        if state.get("r2d2_pool") != VERSION:
            raise RequestError(f"not the state of a pool that this version writes (r2d2_pool: {VERSION})")
        if state["made_under"] != self._made_under():
            raise RequestError(
                "the saved pool is of another recipe, seed or set of behaviours, and cannot be gone on from: restore "
                "the recipe, or start again with --fresh"
            )
        self.cases = [Case(**case) for case in state["cases"]]
        self.micro_step, self.last_reset, self._made = state["micro_step"], state["last_reset"], state["made"]

    def write(self, folder: Path) -> Path:
        """Write the state into `folder`, whole or not at all."""
        path = folder / FILE
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        part = path.with_suffix(".part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(path)
        return path

    def read(self, folder: Path) -> None:
        """Go on from the state in `folder`.

        Raises:
            RequestError: if there is none, or it does not belong to this run.
        """
        path = folder / FILE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            self.restore(state)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RequestError(
                f"{path}: the pool's state cannot be read ({type(error).__name__}: {error}), so training cannot go on "
                "as it would have: start again with --fresh"
            ) from None
        except RequestError as error:
            raise RequestError(f"{path}: {error}") from None

    # --- how -----------------------------------------------------------------------------------------------------

    def _random(self, what: str, number: int) -> random.Random:
        # seeded with text, which Python hashes with SHA-512: the same everywhere
        return random.Random(f"{self.seed}/{what}/{number}")

    def _spread(self, n: int, what: str, number: int) -> list[Behavior]:
        """That many behaviours, none of them more than once more often than another."""
        generator = self._random(what, number)
        drawn: list[Behavior] = []
        while len(drawn) < n:
            drawn += generator.sample(self.behaviors, min(n - len(drawn), len(self.behaviors)))
        return drawn

    def _fresh(self, behavior: Behavior) -> Case:
        """A new case: a target and a starting suffix drawn for it alone."""
        generator = self._random("case", self._made)
        case = Case(
            serial=self._made,
            behavior=behavior.id,
            request=behavior.request,
            target=generator.choice(behavior.targets),
            suffix=" ".join([self.settings.initial] * generator.randint(*self.settings.initial_tokens)),
        )
        self._made += 1
        return case

    def _made_under(self) -> str:
        """Hash of settings, seed and behaviours."""
        return digest([self.settings.model_dump(mode="json"), self.seed, [asdict(one) for one in self.behaviors]])
