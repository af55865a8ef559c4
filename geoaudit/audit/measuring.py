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
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.labels import NO_LABELS, Labels

if TYPE_CHECKING:
    from geoaudit.audit.baseline import RecordBaseline
    from geoaudit.audit.noise import Noise
    from geoaudit.audit.store import Store
    from geoaudit.model.chat import Chat
    from geoaudit.model.checkpoint import Checkpoint
    from geoaudit.model.held import Held
    from geoaudit.model.identity import Identity
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
    baseline: RecordBaseline | Checkpoint | None = None
    """What change lines are compared with: an earlier record, or a model that is measured for them."""
    allow_mismatch: frozenset[str] = frozenset()
    """Names of settings in which a baseline may differ (`environment.SETTINGS`)."""
    noise: Noise | None = None
    """How far runs of an unchanged checkpoint lie apart."""
    generation_batch: int | None = None
    """Prompts in a generated batch; None: as always. Only `geoaudit noise` asks for others."""


class Timings(dict[str, float]):
    """Phase -> seconds."""

    def spent(self, phase: str, started: float) -> None:
        """A part of a phase ends that began at `started` (`time.monotonic`)."""
        self[phase] = self.get(phase, 0.0) + time.monotonic() - started


class Chats:
    """The tokenizers and chat formats of an audit: opened once for all checkpoints that have the same.

    What a request was rendered to is kept with them (`Chat.render`), so that probe prompts are rendered once.
    """

    def __init__(self, options: Options, spent: Callable[[str, float], None]) -> None:
        self.options = options
        self._spent = spent
        self._tokenizers: dict[tuple[Any, ...], Any] = {}
        self._chats: dict[tuple[Any, ...], Chat] = {}

    def of(self, checkpoint: Checkpoint, identity: Identity, setting: ChatSetting) -> Chat:
        """How a checkpoint's requests are rendered under a suite's setting; its tokenizer is read at first use."""
        # what the model is decides which class of transformers reads the files
        same = identity.tokenizer_sha256, identity.template_sha256, checkpoint.model_type
        if (*same, setting) not in self._chats:
            started = time.monotonic()
            try:
                self._chats[*same, setting] = self._opened(checkpoint, same, setting)
            finally:
                self._spent("load", started)
        return self._chats[*same, setting]

    def _opened(self, checkpoint: Checkpoint, same: tuple[Any, ...], setting: ChatSetting) -> Chat:
        from geoaudit.model.chat import Chat
        from geoaudit.model.load import load_tokenizer

        if same not in self._tokenizers:
            self._tokenizers[same] = load_tokenizer(checkpoint, store=self.options.store)
        template = self.options.template if setting.template is None else setting.template
        system = self.options.system if setting.system is None else setting.system
        return Chat(self._tokenizers[same], template, system, thinking=setting.thinking)


def open_bench(
    checkpoint: Checkpoint,
    identity: Identity,
    contract: Contract,
    options: Options,
    store: Store,
    *,
    chats: Chats,
    held: Held,
    trained_on: frozenset[str],
    others: Callable[[str], Bench],
    trajectory: Callable[[], list[Bench]],
    say: Progress,
    spent: Callable[[str, float], None],
) -> Bench:
    """The bench of a checkpoint; its tokenizer and its weights are read when they are first needed.

    Args:
        checkpoint: what `resolve` found.
        identity: of its content.
        contract: what else its rows depend on.
        options: of the audit.
        store: where rows are kept.
        chats: tokenizers that were read.
        held: what lends the model, to this bench or to another one.
        trained_on: hashes of the prompts in its training manifest.
        others: the bench of another checkpoint of the audit.
        trajectory: the benches that share refusal tokens with this one, itself among them.
        say: where "loading" is said.
        spent: takes a phase and when it started.
    """

    def open_model() -> LoadedModel:
        import torch

        from geoaudit.model.loaded import LoadedModel

        if options.threads is not None:
            torch.set_num_threads(options.threads)

        chat = bench.chat
        started = time.monotonic()
        say(f"{checkpoint.name}: loading")
        model = held.lend(checkpoint, chat.tokenizer, contract.dtype, bench.release)
        spent("load", started)
        return LoadedModel(model, chat.tokenizer, chat)

    bench = Bench(
        checkpoint_id=identity.id,
        contract=contract,
        rows=store,
        open_chat=lambda setting: chats.of(checkpoint, identity, setting),
        open_model=open_model,
        make_room=held.release,
        judging=options.judging,
        trained_on=trained_on,
        others=others,
        trajectory=trajectory,
    )
    return bench


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
