"""The training loop: transformers' `Trainer` on the clean loss, with checkpoints that are ready to be audited.

A kind of training that adds losses derives from `Training` and overrides `compute_loss`; what it has to keep, list or
write beside its checkpoints goes through `extra_state`, `sets` and `beside`. Nothing is pickled: where `Trainer` would,
the hooks of `resuming` and `saving` write safetensors and JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from geoaudit.errors import BrokenCheckpoint
from geoaudit.model.architecture import causal_lm
from geoaudit.model.chat import Chat
from geoaudit.model.loaded import LoadedModel
from geoaudit.model.manifest import Base, TrainedOn
from geoaudit.training import learnt, resuming, saving
from geoaudit.training.progress import Progress
from geoaudit.training.recipe import Recipe
from geoaudit.training.rows import Rows, collate
from geoaudit.training.starting import Start


@dataclass
class Prepared:
    """What a run starts from: everything that is loaded or collected before the first step."""

    model: Any
    """A transformers causal language model or a `PeftModel` around one; what is trained requires gradients."""
    tokenizer: Any
    chat: Chat
    """How conversations, and whatever a kind of training asks the model, are rendered."""
    rows: Rows
    """The sequences of the run in their order, `steps × batch` of them."""
    sets: Mapping[str, TrainedOn]
    """What the sequences hold, for the manifest."""
    base: Base
    run: str
    """Id of the run, the same after a resume."""
    answers_left: float = 0.0
    """To estimate a run: seconds that answers which were not made would have cost."""
    answers_made: float = 0.0
    """Seconds that those cost which were made, and are kept."""
    start: Start | None = None
    """The adapter that it goes on from, where it does."""


class Training(Trainer):  # type: ignore[misc]
    """One run of a recipe.

    The loss of a step is the mean cross-entropy (nats a token) over all learnt tokens of its `batch` sequences,
    whatever the number of micro-steps and processes (`Trainer` divides by the step's tokens). What a subclass adds to
    it in a micro-step goes through `share`.

    Args:
        recipe: what is trained and how.
        prepared: what it starts from.
        out: folder of the checkpoints.
        say: shows a line; called by the first process only.
        callbacks: further callbacks, such as a `Monitor`.
        device: `cpu`, or anything else for the accelerator that accelerate finds.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        out: Path,
        *,
        say: Callable[[str], None] = print,
        callbacks: Sequence[TrainerCallback] = (),
        device: str = "cpu",
    ) -> None:
        self.recipe = recipe
        self.prepared = prepared
        self.out = out
        self.say = say
        self.started_at = 0
        """Step that this process began with."""
        self._noted: dict[str, list[float]] = {}
        super().__init__(
            model=prepared.model,
            args=arguments(recipe, out, device),
            data_collator=collate,
            train_dataset=prepared.rows,
            callbacks=[_Saves(self), Progress(recipe.steps, prepared.rows.tokens, say), *callbacks],
        )
        self.remove_callback(PrinterCallback)

    # --- for kinds of training that add losses --------------------------------------------------------------------

    @property
    def chat(self) -> Chat:
        """How prompts are rendered."""
        return self.prepared.chat

    @property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return self.prepared.tokenizer

    @property
    def step_number(self) -> int:
        """The optimiser step that is being made, from 1."""
        return int(self.state.global_step) + 1

    @contextmanager
    def reading(self) -> Iterator[LoadedModel]:
        """The model as it is now, to read or attack: in eval mode, and in its own mode again afterwards.

        Gradients are neither cleared nor kept from being made; use `torch.no_grad` or `torch.autograd.grad`.
        """
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            yield LoadedModel(self.model, self.tokenizer, self.chat)
        finally:
            for module, training in modes:
                module.training = training

    def share(self, term: Tensor) -> Tensor:
        """A loss term that is a mean of this micro-step, as its share of the step.

        A step's gradient is then the mean over its micro-steps; the mean over processes is taken with the gradients.
        """
        micro_steps: int = self.current_gradient_accumulation_steps
        return term / micro_steps

    def note(self, **values: float) -> None:
        """Numbers of this micro-step for the loss curves; a step's entry is their mean, over the processes too.

        Every process must note the same names.
        """
        for name, value in values.items():
            self._noted.setdefault(name, []).append(float(value))

    def extra_state(self) -> dict[str, Any]:
        """What this process has to keep, besides weights and optimiser, to go on after a kill; JSON-able."""
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `extra_state` gave; called once before the first step of a resumed run."""

    def sets(self) -> Mapping[str, TrainedOn]:
        """What is trained on, for the manifest and `train-eval-overlap`."""
        return self.prepared.sets

    def notes(self) -> tuple[str, ...]:
        """Sentences for the manifest."""
        return () if self.prepared.start is None else self.prepared.start.notes

    def beside(self, folder: Path) -> None:
        """Write further files into a checkpoint's folder; called by the first process, before the folder appears."""

    # --- the loss -------------------------------------------------------------------------------------------------

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The clean loss of a micro-step, as its share of the step's; outside training what the model says."""
        if return_outputs or num_items_in_batch is None or not model.training or self._own_loss:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        wanted, tokens = learnt.predicting(inputs["labels"])
        given = {name: value for name, value in inputs.items() if name != "labels"}
        return self.clean_loss(self.logits(model, given, wanted), tokens, num_items_in_batch)

    def logits(self, model: Any, inputs: Mapping[str, Tensor], wanted: Tensor) -> Tensor:
        """Logits `[n, vocab]` at some positions of a forward pass; see `learnt.logits`."""
        with learnt.short_rows(self.model, recomputed=self.recipe.gradient_checkpointing):
            return learnt.logits(model, inputs, wanted)

    def clean_loss(self, logits: Tensor, tokens: Tensor, num_items_in_batch: Tensor | int) -> Tensor:
        """Cross-entropy of a micro-step's learnt tokens over the number of the step's, whose gradients add up to it.

        Args:
            logits: `[n, vocab]`, where they are predicted.
            tokens: `[n]`, their ids.
            num_items_in_batch: learnt tokens of the step, in all processes.
        """
        total = torch.nn.functional.cross_entropy(logits.float(), tokens.to(logits.device), reduction="sum")
        loss: Tensor = total / num_items_in_batch * self.accelerator.num_processes  # gradients are averaged over them
        return loss

    @property
    def _own_loss(self) -> bool:
        """Whether the model's loss holds more than the cross-entropy: that of a router among experts."""
        config: Any = causal_lm(self.model).config
        return bool(getattr(config.get_text_config(), "output_router_logits", False))

    # --- the loop -------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Train to the last step, from the latest state in `out` if there is one.

        Returns:
            Whether it came to the last step; a callback may have stopped it before, and a checkpoint and a state to go
            on from are then written where it stopped.
        """
        latest = resuming.latest(self.out)
        self.started_at = resuming.step_of(latest) if latest is not None else 0
        self.train(resume_from_checkpoint=None if latest is None else str(latest))
        step = int(self.state.global_step)
        if step < self.recipe.steps:
            if step not in self.recipe.saved:
                saving.write(self, step)
            resuming.save(self, step)
        return step == self.recipe.steps

    def curves(self) -> dict[str, tuple[float | None, ...]]:
        """Name -> one number a step, up to the last one that was made."""
        logged = {int(entry["step"]): entry for entry in self.state.log_history if "loss" in entry}
        names = sorted({name for entry in logged.values() for name in entry} - {"step", "epoch"})
        steps = range(1, max(logged, default=0) + 1)
        return {name: tuple(logged.get(step, {}).get(name) for step in steps) for name in names}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """`Trainer.log`, with what was noted; a loss that is no number ends the run before anything is written.

        Raises:
            BrokenCheckpoint: the loss or the gradient is NaN or infinite.
        """
        if self._noted:
            names = sorted(self._noted)
            means = torch.tensor([sum(self._noted[name]) / len(self._noted[name]) for name in names])
            means = self.accelerator.reduce(means.to(self.args.device), reduction="mean")
            logs.update(zip(names, means.tolist(), strict=True))
            self._noted.clear()
        for name, value in logs.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise BrokenCheckpoint(
                    f"{name} is {value} at step {self.state.global_step}: the weights are lost from here on. Lower "
                    "learning_rate, add warmup_steps, or train in float32"
                )
        super().log(logs, start_time)

    # --- where Trainer would pickle -------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = int(self.state.global_step)
        if step in self.recipe.saved:
            saving.write(self, step)
        if step < self.recipe.steps:
            resuming.save(self, step)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        resuming.load_weights(self, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            resuming.load_optimiser(self, Path(checkpoint))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            resuming.load_random(self, Path(checkpoint))

    def _load_scaler(self, checkpoint: str | None) -> None:
        """There is none: bfloat16 needs no loss scaling."""


class _Saves(TrainerCallback):  # type: ignore[misc]
    """Asks for a save at the recipe's steps: `Trainer` then logs the step's loss first, and saves afterwards."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0 and 0 in self.training.recipe.saved:
            saving.write(self.training, 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        recipe = self.training.recipe
        every = recipe.resume_every
        if state.global_step in recipe.saved or (every and state.global_step % every == 0):
            control.should_save = True
        return control


def arguments(recipe: Recipe, out: Path, device: str) -> TrainingArguments:
    """The recipe in `Trainer`'s words.

    Raises:
        RequestError: the batch does not divide among the processes.
    """
    processes = resuming.processes()
    accumulation = recipe.accumulation(processes)
    on_cpu = device == "cpu"
    return TrainingArguments(
        output_dir=str(out),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch // processes // accumulation,
        gradient_accumulation_steps=accumulation,
        learning_rate=recipe.learning_rate,
        # "constant" alone would leave the warm-up out
        lr_scheduler_type="constant_with_warmup" if recipe.schedule == "constant" else recipe.schedule,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        adam_beta1=recipe.betas[0],
        adam_beta2=recipe.betas[1],
        adam_epsilon=recipe.epsilon,
        max_grad_norm=recipe.max_grad_norm,
        optim="adamw_torch",
        bf16=recipe.precision == "bfloat16",
        activation_checkpointing=recipe.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if recipe.gradient_checkpointing else None,
        seed=recipe.seed,
        train_sampling_strategy="sequential",  # the rows are in the order of the run
        remove_unused_columns=False,
        save_strategy="no",  # `_Saves` asks
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,  # would put the last mean in the place of a loss that is NaN
        report_to=[],
        disable_tqdm=True,
        use_cpu=on_cpu,
        ddp_backend="gloo" if on_cpu and processes > 1 else None,
        ddp_find_unused_parameters=False,
        average_tokens_across_devices=True,
    )
