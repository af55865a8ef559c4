"""The example record and an HTML reader for the tests of the report."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

VOID = {"meta"}


def _example(name: str) -> Any:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"geoaudit_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_EXAMPLE = _example("example_record")
_JUDGED = _example("example_judged")
_GEOMETRY = _example("example_geometry")
_TRAJECTORY = _example("example_trajectory")


@pytest.fixture(scope="session")
def make_record() -> Callable[..., dict[str, Any]]:
    """`example_record` of example_record.py."""
    return _EXAMPLE.example_record


@pytest.fixture(scope="session")
def make_judged() -> Callable[..., dict[str, Any]]:
    """The example record with everything that can stand beside a rate (example_judged.py)."""

    def made(**more: Any) -> dict[str, Any]:
        record: dict[str, Any] = _JUDGED.judged(_EXAMPLE.example_record(**more))
        return record

    return made


@pytest.fixture(scope="session")
def make_geometry() -> Callable[..., dict[str, Any]]:
    """The example record with everything that is drawn of geometry (example_geometry.py)."""

    def made(**more: Any) -> dict[str, Any]:
        record: dict[str, Any] = _GEOMETRY.with_geometry(_EXAMPLE.example_record(**more))
        return record

    return made


@pytest.fixture(scope="session")
def make_trajectory() -> Callable[..., dict[str, Any]]:
    """Two runs with changes and rules over trajectories (example_trajectory.py)."""
    return _TRAJECTORY.example_trajectory


@pytest.fixture
def trajectory(make_trajectory: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return make_trajectory()


@pytest.fixture
def geometric(make_geometry: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return make_geometry(rows=12, layers=10)


@pytest.fixture
def record(make_record: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return make_record()


@pytest.fixture
def judged(make_judged: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return make_judged()


class Page(HTMLParser):
    """The elements of a document as a browser would meet them: (tag, attributes) and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.comments: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> inside <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        unseen = self.open and self.open[-1] in ("style", "script", "title", "desc")
        if not unseen and self.elements[-1:] != [("a", {"class": "skip", "href": "#assertions"})]:
            self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def shape(self) -> set[tuple[str, str]]:
        """Every (tag, attribute) that occurs; "" for a tag by itself."""
        found = {(tag, "") for tag, _ in self.elements}
        return found | {(tag, name) for tag, attributes in self.elements for name in attributes}


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Page]:
    return Page


@pytest.fixture(scope="session")
def known(
    make_record: Callable[..., dict[str, Any]],
    make_judged: Callable[..., dict[str, Any]],
    make_geometry: Callable[..., dict[str, Any]],
    make_trajectory: Callable[..., dict[str, Any]],
    read_page: Callable[[str], Page],
) -> set[tuple[str, str]]:
    """Every element and attribute of reports about harmless records."""
    from geoaudit.report import html

    shape: set[tuple[str, str]] = set()
    for more in ({}, {"checkpoints": 1, "decide": "estimate"}):
        shape |= read_page(html.render(make_record(**more))).shape
    shape |= read_page(html.render(make_judged())).shape
    shape |= read_page(html.render(make_geometry(checkpoints=3, layers=12))).shape
    shape |= read_page(html.render(make_trajectory())).shape
    record = make_record()
    record["checkpoints"][0]["system_prompt"] = "Answer briefly."
    record["checkpoints"][0]["unidentified"] = "the weights are truncated"
    return shape | read_page(html.render(record)).shape
