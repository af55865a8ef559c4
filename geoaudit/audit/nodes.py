"""Closed YAML, shared by suites and recipes: nodes that know their line and column, and no value but what is written.

No code, no templating, no environment, no tags or anchors. Whatever is wrong starts with file:line:column.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from geoaudit.audit.values import listed
from geoaudit.errors import GeoauditError, SuiteError, did_you_mean

_WHOLE = re.compile(r"[-+]?(?:0|[1-9]\d{0,14})\Z")
_DECIMAL = re.compile(r"[-+]?(?:(?:0|[1-9]\d*)\.\d*|\.\d+)(?:[eE][-+]\d+)?\Z")
"""Numbers as a reader takes them: YAML 1.1 would read 010 as 8 and 1:30 as 90."""


class Loader(yaml.SafeLoader):
    """YAML without anchors, aliases and tags, by which a value would be another than it looks."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One node, or the error that a grammar without them has for an anchor or a tag."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs have no types for it
        for what in ("anchor", "tag"):
            if getattr(event, what, None) is not None:
                raise yaml.MarkedYAMLError(
                    problem=f"{what}s and aliases are not part of the grammar, got {getattr(event, what)!r}",
                    problem_mark=event.start_mark,
                )
        return super().compose_node(parent, index)


class Nodes:
    """Walks YAML nodes, so that each error knows its line and column.

    Args:
        path: the file, as errors name it.
    """

    fails: ClassVar[type[GeoauditError]] = SuiteError
    """What is raised."""
    what: ClassVar[str] = "suite"
    """What the file is, for errors about the whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str:
        """The file's text.

        Raises:
            GeoauditError: of class `fails`, where it cannot be read.
        """
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self.fails(f"{self.path}:1:1: cannot read the {self.what}: {reason}") from None

    def compose(self, text: str) -> yaml.Node | None:
        """The root node, or None for an empty file.

        Raises:
            GeoauditError: of class `fails`, where the text is not closed YAML.
        """
        try:
            return yaml.compose(text, Loader=Loader)
        except RecursionError:
            raise self.fails(f"{self.path}:1:1: not a {self.what}: lists and mappings are nested without end") from None
        except yaml.reader.ReaderError as error:
            before = text[: error.position].split("\n")
            at = f"{len(before)}:{len(before[-1]) + 1}"
            raise self.fails(f"{self.path}:{at}: not YAML: the character U+{ord(text[error.position]):04X}") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            at = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise self.fails(f"{self.path}:{at}: not YAML: {problem}") from None

    def error(self, node: yaml.Node, message: str) -> GeoauditError:
        """The error at a node."""
        return self.fails(f"{self.path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: {message}")

    def mapping(self, node: yaml.Node, what: str, known: tuple[str, ...]) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> (key node, value node); unknown and repeated keys are errors."""
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} must be a mapping of keys to values, got {self.shown(node)}")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name not in known:
                raise self.error(key, f"unknown key {name!r} in {what}{did_you_mean(name, known)}; {listed(known)}")
            if name in found:
                raise self.error(key, f"key {name!r} is given twice in {what}")
            found[name] = (key, value)
        return found

    def scalar(self, node: yaml.Node, what: str) -> Any:
        """Text, a whole number, a decimal number, true or false."""
        if not isinstance(node, yaml.ScalarNode):
            raise self.error(node, f"{what} must be a single value, got {self.shown(node)}")
        match node.tag:
            case "tag:yaml.org,2002:str":
                return node.value
            case "tag:yaml.org,2002:bool":
                return bool(yaml.safe_load(node.value))
            case "tag:yaml.org,2002:int" if _WHOLE.match(node.value):
                return int(node.value)
            case "tag:yaml.org,2002:float" if _DECIMAL.match(node.value):
                return float(node.value)
            case "tag:yaml.org,2002:int" | "tag:yaml.org,2002:float":
                raise self.error(node, f"{what} must be a number in plain decimals, got {node.value!r}")
            case "tag:yaml.org,2002:null":
                raise self.error(node, f"{what} is empty")
        raise self.error(node, f"{what} must be plain text or a number, got {node.value!r} (quote it if it is text)")

    def text(self, node: yaml.Node, what: str) -> str:
        """Text that is not blank."""
        value = self.scalar(node, what)
        if not isinstance(value, str):
            raise self.error(node, f"{what} must be text, got {value!r}; quote it if it is text")
        if not value.strip():
            raise self.error(node, f"{what} is empty")
        return value

    def number(self, node: yaml.Node, what: str) -> float:
        """A finite number."""
        value = self.scalar(node, what)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.error(node, f"{what} must be a number, got {value!r}{scientific(value)}")
        if not math.isfinite(value):
            raise self.error(node, f"{what} must be a finite number, got {value!r}")
        return value

    def shown(self, node: yaml.Node) -> str:
        """A node in an error."""
        if isinstance(node, yaml.MappingNode):
            return "a mapping" if node.value else "an empty mapping"
        if isinstance(node, yaml.SequenceNode):
            return "a list" if node.value else "an empty list"
        return repr(node.value)


def scientific(value: Any) -> str:
    """What to write in place of `1e-3`, which YAML takes for text."""
    is_number = isinstance(value, str) and re.match(r"[-+]?[\d.]+[eE][-+]?\d+\Z", value)
    return "; write 1.0e-3, with dot and sign" if is_number else ""
