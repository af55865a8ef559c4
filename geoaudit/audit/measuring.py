"""What measuring takes besides the measures: opened checkpoints, silence from other libraries, lines on progress."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from geoaudit.audit.profiles import Profile
from geoaudit.judges.setup import JudgeSetup
from geoaudit.measures.bench import Bench, Contract
from geoaudit.measures.labels import NO_LABELS, Labels
from geoaudit.measures.needs import ChatSetting

if TYPE_CHECKING:
    from geoaudit.audit.store import Store
    from geoaudit.model.chat import Chat
    from geoaudit.model.checkpoint import Checkpoint
    from geoaudit.model.loaded import LoadedModel


class Progress(Protocol):
    """Where lines about the run go."""

    def __call__(self, line: str) -> None:
        """Show one line."""


@dataclass(frozen=True)
class Options:
    """What was asked for, apart from the checkpoints; all checked before."""

    profile: Profile
    store: Path
    device: str
    """Resolved: cpu, cuda, mps or with an index."""
    dtype: str | None
    """None: as stored in the checkpoint."""
    template: str | None
    """Template text or a built-in name; None: the checkpoint's own."""
    system: str | None
    judging: JudgeSetup = field(default_factory=JudgeSetup)
    """What judges need; the data folder is there."""
    labels: Labels = NO_LABELS
    """Human labels that correct rates."""
    threads: int | None = None
    """CPU threads; None leaves them to torch. Workers that share the cores must not each take all of them."""
    reference: str | None = None
    """The checkpoint that drift of every other one is measured from; None: each trajectory has its own."""


def open_bench(
    checkpoint: Checkpoint,
    checkpoint_id: str,
    contract: Contract,
    options: Options,
    store: Store,
    *,
    trained_on: frozenset[str],
    others: Callable[[str], Bench],
    trajectory: Callable[[], list[Bench]],
    say: Progress,
    spent: Callable[[str, float], None],
) -> Bench:
    """The bench of a checkpoint; its tokenizer and its weights are read when they are first needed.

    Args:
        checkpoint: what `resolve` found.
        checkpoint_id: of its content.
        contract: what else its rows depend on.
        options: of the audit.
        store: where rows are kept.
        trained_on: hashes of the prompts in its training manifest.
        others: the bench of another checkpoint of the audit.
        trajectory: the benches that share refusal tokens with this one, itself among them.
        say: where "loading" is said.
        spent: takes a phase and when it started.
    """
    from geoaudit.model.load import load, load_tokenizer

    def chat(tokenizer: Any, setting: ChatSetting) -> Chat:
        from geoaudit.model.chat import Chat

        template = options.template if setting.template is None else setting.template
        system = options.system if setting.system is None else setting.system
        return Chat(tokenizer, template, system, thinking=setting.thinking)

    def open_chat(setting: ChatSetting) -> Chat:
        started = time.monotonic()
        try:
            return chat(load_tokenizer(checkpoint, store=options.store), setting)
        finally:
            spent("load", started)

    def open_model() -> LoadedModel:
        import torch

        from geoaudit.model.loaded import LoadedModel

        if options.threads is not None:
            torch.set_num_threads(options.threads)

        started = time.monotonic()
        say(f"{checkpoint.name}: loading")
        model, tokenizer = load(checkpoint, store=options.store, device=options.device, dtype=contract.dtype)
        spent("load", started)
        return LoadedModel(model, tokenizer, chat(tokenizer, ChatSetting()))

    return Bench(
        checkpoint_id=checkpoint_id,
        contract=contract,
        rows=store,
        open_chat=open_chat,
        open_model=open_model,
        judging=options.judging,
        trained_on=trained_on,
        others=others,
        trajectory=trajectory,
    )


class Benches:
    """The opened checkpoints of one measuring; no more than one holds its model."""

    def __init__(self, opening: Callable[[str, Benches], Bench]) -> None:
        self._opening = opening
        self._open: dict[str, Bench] = {}

    def of(self, name: str) -> Bench:
        """The bench of a checkpoint."""
        if name not in self._open:
            self._open[name] = self._opening(name, self)
        return self._open[name]

    def alone(self, name: str) -> Bench:
        """The same, once the others have let go of their models."""
        for other, bench in self._open.items():
            if other != name:
                bench.release()
        return self.of(name)

    def close(self) -> None:
        """Let go of every model."""
        for bench in self._open.values():
            bench.release()


def facts_of(bench: Bench) -> dict[str, Any]:
    """What only an opened checkpoint tells."""
    import torch

    return {
        "template": {
            "sha256": bench.chat.sha256,
            "origin": "named on the command line" if bench.contract.template_sha256 else "the checkpoint's own",
            "rendered": bench.chat.rendered_template,
            "post_tokens": list(bench.chat.post_tokens),
        },
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


@contextmanager
def quiet(lines: list[str]) -> Iterator[None]:
    """Warnings and log lines of other libraries go into `lines`, each once; their progress bars go nowhere."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    handler = _Collect(lines)
    logger = logging.getLogger("transformers")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from transformers.utils import logging as transformers_logging

        bars = transformers_logging.is_progress_bar_enabled()
        transformers_logging.disable_progress_bar()
        shown, propagate = list(logger.handlers), logger.propagate
        logger.handlers, logger.propagate = [handler], False
        try:
            yield
        finally:
            logger.handlers, logger.propagate = shown, propagate
            if bars:
                transformers_logging.enable_progress_bar()
            for one in caught:
                line = f"{one.category.__name__}: {one.message}"
                if line not in lines:
                    lines.append(line)


class _Collect(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.name}: {record.getMessage()}"
        if line not in self.lines:
            self.lines.append(line)


def every(seconds: float, say: Progress, label: str, started: float) -> Callable[[int, int], None]:
    """A progress callback that says at most one line in so many seconds, with the time left."""
    last = started

    def progress(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds and 0 < done < total:
            last = now
            say(f"{label}: {done}/{total}, about {clock((now - started) / done * (total - done))} left")

    return progress


def clock(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
