"""R2D2: training on fresh attacks (Mazeika et al. 2024, HarmBench section 5 and its adversarial training code).

In every micro-step some cases of a persistent pool are attacked on the weights as they are, and the losses on what the
attack found join the clean loss: *away* from the attacked opening, *toward* a refusal. The attack's prompts, the
training pass and later audits are rendered by one `Chat` and tokenised from end to end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geoaudit.attacks import gcg
from geoaudit.attacks.target import Aim, Heads, suffixed, target_ids
from geoaudit.errors import RequestError
from geoaudit.model.chat import Chat
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.manifest import TrainedOn
from geoaudit.training import behaviors, pool
from geoaudit.training.conversations import end_of_turn
from geoaudit.training.joint import Joint, forks, joint
from geoaudit.training.losses import Row, away_terms, toward_terms
from geoaudit.training.r2d2_settings import R2D2
from geoaudit.training.recipe import Recipe
from geoaudit.training.trainer import Prepared, Training

PADDED = 1.25
"""Clean and adversarial rows share a pass unless that takes more tokens than this times those of two passes."""


@dataclass(frozen=True, slots=True)
class Attacked:
    """What GCG made of one case."""

    place: int
    """In the pool."""
    before: float
    """Loss of the case's suffix on the weights as they are, nats."""
    after: float
    """Loss of `suffix`."""
    suffix: str
    steps: int
    """Steps of GCG that were made."""


def search(settings: R2D2, seed: int) -> gcg.GCG:
    """The settings of the attack."""
    return gcg.GCG(
        steps=settings.gcg_steps,
        width=settings.width,
        topk=settings.topk,
        positions=settings.positions,
        monotone=settings.monotone,
        filter=settings.filter,
        ascii_only=settings.ascii_only,
        share=settings.share,
        early_stop=False,
        seed=seed,
    )


def attack_cases(
    loaded: LoadedModel, cases: Sequence[pool.Case], places: Sequence[int], settings: gcg.GCG
) -> list[Attacked]:
    """Some more steps of GCG for each case, all of them in shared passes.

    The draws of a case depend on the seed, the case and how many steps it had before, not on the cases beside it.

    Args:
        loaded: the model in eval mode.
        cases: n cases of the pool.
        places: where they are in it.
        settings: of the attack; `steps` of them are made.
    """
    aims = [Aim(case.id, case.request, case.target) for case in cases]
    if settings.steps:  # the first step finds the loss of what it begins with
        started = [gcg.State(aim, (), case.suffix, math.nan) for aim, case in zip(aims, cases, strict=True)]
    else:
        started = gcg.start(loaded, aims, settings, [case.suffix for case in cases])
    states = [replace(state, step=case.steps) for state, case in zip(started, cases, strict=True)]
    before = [state.loss for state in states]
    heads = Heads()
    for number in range(settings.steps):
        states = gcg.step(loaded, states, settings, heads=heads)
        if not number:
            before = [math.nan if state.before is None else state.before for state in states]
    return [
        Attacked(place, first, last.loss, last.suffix, settings.steps)
        for place, first, last in zip(places, before, states, strict=True)
    ]


def adversarial_terms(logits: Tensor, rows: Joint, floor: float) -> tuple[Tensor, Tensor]:
    """Both losses token by token.

    Args:
        logits: `[n, vocab]`, at the wanted positions of the prompts' rows.
        rows: what was passed.
        floor: see `losses.away_terms`.

    Returns:
        `[tokens of the openings]` and `[tokens of the refusals]`, float32, nats.
    """
    (away, openings), (toward, refusals) = (
        (logits[at.to(logits.device)], tokens.to(logits.device)) for at, tokens in (rows.away, rows.toward)
    )
    return away_terms(away, openings, floor), toward_terms(toward, refusals)


class R2D2Training(Training):
    """A run of a recipe with an `r2d2:` block.

    With several processes each attacks and trains on its share of the cases; every process keeps the whole pool, which
    stays the same in all of them. A token weighs the same in whichever process its case is.

    Args:
        recipe: of kind r2d2.
        prepared: what it starts from.
        out: folder of the checkpoints.
        sets: the behaviours; None loads those that the recipe names.
        data: folder of the benchmark files; None for GEOAUDIT_DATA or the user's cache.
        how: as for `Training`.

    Raises:
        RequestError: cases that do not divide among the processes; weights that are split among them.
        DataMissing: a benchmark's file is not there.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        out: Path,
        *,
        sets: Sequence[behaviors.BehaviorSet] | None = None,
        data: Path | None = None,
        **how: Any,
    ) -> None:
        if recipe.r2d2 is None:
            raise RequestError(f"recipe {recipe.name!r} is of kind {recipe.recipe}, without an r2d2 block")
        self.settings = recipe.r2d2
        self.behavior_sets = behaviors.load(self.settings, recipe.folder, data) if sets is None else tuple(sets)
        self.pool = pool.Pool(self.settings, behaviors.every(self.behavior_sets), recipe.seed)
        self.search = search(self.settings, recipe.seed)
        self.end = self._end(prepared.chat)
        super().__init__(recipe, prepared, out, **how)
        self._check_processes()

    # --- one micro-step -------------------------------------------------------------------------------------------

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Clean, away and toward loss of a micro-step, weighted; outside training the clean loss alone."""
        if return_outputs or not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        clean, terms = self._losses(model, inputs, num_items_in_batch, *self.attacked_rows())
        counts = torch.tensor([float(len(one)) for one in terms], device=self.args.device)
        counts = self.accelerator.reduce(counts, reduction="sum")
        # the mean over processes, which gradients get, times their number is the sum over all tokens
        sums = [self.accelerator.num_processes * one.sum() for one in (*terms, terms[0].detach() > 0)]
        means = [sums[0] / counts[0], sums[1] / counts[1]]
        self.note(
            clean=float(clean.detach()) * self.current_gradient_accumulation_steps,
            away=float(means[0].detach()),
            toward=float(means[1].detach()),
            away_tokens=float(sums[2] / counts[0]),
        )
        self.pool.end_micro_step()
        added = self.settings.away_weight * means[0] + self.settings.toward_weight * means[1]
        return self.settings.clean_weight * clean + self.share(added)

    def _losses(
        self, model: Any, inputs: Any, num_items_in_batch: Any, away: Sequence[Row], toward: Sequence[Row]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The clean loss, and both adversarial ones token by token; from one pass where rows are alike in length."""
        longest = max(len(one.ids) + len(other.answer) for one, other in zip(away, toward, strict=True))
        width = inputs["input_ids"].shape[1]
        rows = joint(None, away, toward, fork=forks(self.model, longest))
        together = joint(inputs, away, toward, fork=forks(self.model, max(longest, width)))
        worth = num_items_in_batch is not None and not self._own_loss
        worth = worth and together.size <= PADDED * (rows.size + inputs["input_ids"].numel())
        if self._all(worth):
            n = len(together.clean)
            logits = self._logits(model, together)
            logits, rest = torch.split(logits, [n, len(logits) - n])  # whose gradient is one copy
            clean = self.clean_loss(logits, together.clean, num_items_in_batch)
            return clean, adversarial_terms(rest, together, self.settings.away_floor)
        clean = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        return clean, adversarial_terms(self._logits(model, rows), rows, self.settings.away_floor)

    def _logits(self, model: Any, rows: Joint) -> Tensor:
        device = self.args.device
        return self.logits(model, rows.inputs(device), rows.wanted.to(device))

    def _all(self, here: bool) -> bool:
        """Whether something is so in every process: all of them must make as many passes."""
        return bool(self.accelerator.reduce(torch.tensor(float(not here), device=self.args.device)) == 0)

    def attacked_rows(self) -> tuple[list[Row], list[Row]]:
        """Attack this micro-step's cases and keep what was found; the rows of this process's share."""
        self.pool.reset_if_due(int(self.state.global_step))
        places = self._mine(self.pool.draw())
        cases = [self.pool.cases[place] for _, place in places]
        with self.reading() as loaded, self.accelerator.autocast():
            found = attack_cases(loaded, cases, [place for _, place in places], self.search)
            texts = [suffixed(case.request, one.suffix) for case, one in zip(cases, found, strict=True)]
            openings = [case.target for case in cases]
            numbers = [number for number, _ in places]
            for number, behavior in self._mine(self.pool.plain()):
                texts.append(behavior.request)
                openings.append(self.pool.opening(behavior, number))
                numbers.append(self.settings.updated + number)
            prompts = [loaded.chat.render(text).ids for text in texts]
            refusals = [target_ids(loaded, self.pool.refusal(number)) for number in numbers]
            away = [Row(prompt, target_ids(loaded, opening)) for prompt, opening in zip(prompts, openings, strict=True)]
            toward = [Row(prompt, (*ids, *self.end)) for prompt, ids in zip(prompts, refusals, strict=True)]
        self.note(
            attack_before=sum(one.before for one in found) / len(found),
            attack_after=sum(one.after for one in found) / len(found),
        )
        for one in self._from_all(found):
            self.pool.attacked(one.place, one.suffix, one.after, one.steps)
        return away, toward

    def _from_all(self, found: Sequence[Attacked]) -> list[Attacked]:
        """What all processes found, in their order; sent as JSON, since torch would pickle objects."""
        text = json.dumps([asdict(one) for one in found]).encode()
        lengths = self.accelerator.gather(torch.tensor([len(text)], device=self.args.device))
        padded = torch.zeros(int(lengths.max()), dtype=torch.uint8, device=self.args.device)
        padded[: len(text)] = torch.tensor(list(text), dtype=torch.uint8)
        texts = self.accelerator.gather(padded).reshape(len(lengths), -1)
        received = (json.loads(bytes(row[:n].tolist())) for row, n in zip(texts, lengths.tolist(), strict=True))
        return [Attacked(**one) for part in received for one in part]

    def _mine(self, drawn: Sequence[Any]) -> list[tuple[int, Any]]:
        """This process's share of what was drawn, each with its number among all."""
        share = len(drawn) // self.accelerator.num_processes
        first = share * self.accelerator.process_index
        return list(enumerate(drawn))[first : first + share]

    def _check_processes(self) -> None:
        n = self.accelerator.num_processes
        for key in ("updated", "plain"):
            if getattr(self.settings, key) % n:
                raise RequestError(
                    f"r2d2.{key} is {getattr(self.settings, key)}, which does not divide among {n} processes: make it "
                    f"a multiple of {n}"
                )
        kind = str(getattr(self.accelerator.distributed_type, "value", ""))
        stage = getattr(getattr(self.accelerator.state, "deepspeed_plugin", None), "zero_stage", 0)
        if kind == "FSDP" or stage == 3:
            raise RequestError(
                "R2D2 attacks the whole model in each process, and here its weights are split among them: use plain "
                "data parallelism or DeepSpeed ZeRO-2"
            )

    def _end(self, chat: Chat) -> tuple[int, ...]:
        """What a refusal ends with."""
        token = end_of_turn(chat)
        if self.settings.refusal_end and token is None:
            raise RequestError(
                "neither the chat template nor the tokenizer has a token that ends an answer: set refusal_end: false"
            )
        return (token,) if self.settings.refusal_end and token is not None else ()

    # --- what is kept ---------------------------------------------------------------------------------------------

    def extra_state(self) -> dict[str, Any]:
        """The pool."""
        return {**super().extra_state(), "pool": self.pool.to_json()}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take the pool back.

        Raises:
            RequestError: it is of another run.
        """
        super().load_extra_state(state)
        if "pool" not in state:
            raise RequestError("the saved state holds no pool: it is not of an R2D2 run; start again with --fresh")
        self.pool.restore(state["pool"])

    def sets(self) -> Mapping[str, TrainedOn]:
        """The clean data and the behaviours: audits on either are in-sample."""
        return {**super().sets(), **behaviors.trained_on(self.behavior_sets)}

    def notes(self) -> tuple[str, ...]:
        """What differs from the published runs."""
        said = f"the published run ({self.settings.preset})" if self.settings.preset else "HarmBench's loop"
        return (*super().notes(), *(f"Unlike {said}: {one}." for one in self.settings.differences))

    def beside(self, folder: Path) -> None:
        """The pool as it was at this step, in the checkpoint's folder."""
        super().beside(folder)
        self.pool.write(folder)
