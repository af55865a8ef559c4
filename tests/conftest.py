"""Fixtures that more than one room uses."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.model.planted import Planted

pytest_plugins = ["pytester"]

# Before torch is imported, here and in the subprocesses of tests: models this small gain nothing from a second thread,
# and on a busy machine threads that wait for each other slow them down a hundredfold.
if not any(argument.startswith("--geoaudit-model") for argument in sys.argv):  # an audit may use every core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples in every run, and no limit on time: a busy machine must not fail a test.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

REPOSITORY = Path(__file__).resolve().parent.parent

CHANGES_WHAT_IS_PRINTED = {"BUILD_NUMBER", "CI", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "PY_COLORS"}
"""Variables by which a terminal or a CI job has pytest print other words; with the prefixes below."""
OF_THE_OUTER_RUN = ("GEOAUDIT_", "GITHUB_", "PYTEST_")


def pytest_collection_finish() -> None:
    """Nine thousand tests and torch are a heap that lasts: the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that this machine says about how to print or what to load: a test sets what it needs itself."""
    for name in list(os.environ):
        if name in CHANGES_WHAT_IS_PRINTED or (name.startswith(OF_THE_OUTER_RUN) and name != "PYTEST_CURRENT_TEST"):
            monkeypatch.delenv(name)


@pytest.fixture
def pytester(plain_environment: None, pytester: pytest.Pytester) -> pytest.Pytester:
    """Pytest's own, whose runs come out the same on every machine."""
    return pytester


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The public benchmarks, from GEOAUDIT_DATA or a shared folder beside the checkout; absent: skipped, and said."""
    for candidate in (os.environ.get("GEOAUDIT_DATA"), REPOSITORY.parent / "shared" / "data"):
        if candidate and (Path(candidate) / "SHA256SUMS").is_file():
            return Path(candidate)
    pytest.skip("public benchmark data not found: set GEOAUDIT_DATA")


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Planted]]:
    """Makes checkpoints with a refusal carrier at a known place, each once: `planted(layer=3, position=-2)`.

    They know the words of the built-in probe sets and of `harmful`. Torch gets one thread: models this small are slowed
    down a hundredfold by threads that wait for each other on a busy machine.
    """
    import torch

    from geoaudit.prompts.sources import load
    from tests.model.planted import planted_checkpoint

    words: dict[str, list[str]] = {"harmful": [], "harmless": []}
    for name in ("harmful", *(f"probe-{label}-{half}" for label in words for half in ("train", "validation"))):
        for prompt in load(name).prompts:
            words[prompt.label].append(prompt.text)

    @cache
    def make(*, layer: int = 3, position: int = -2, refuses: bool = True, seed: int = 0) -> Planted:
        folder = tmp_path_factory.mktemp("planted") / "model"
        return planted_checkpoint(folder, layer=layer, position=position, refuses=refuses, seed=seed, **words)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make
    torch.set_num_threads(threads)
