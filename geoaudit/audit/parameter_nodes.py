"""The words under `with:` in a suite: a measure's parameters, sources and files, each checked where it stands.

A file of prompts is read here already: a column that it does not have is a mistake of the suite, and is said before
anything is measured.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from geoaudit.audit.nodes import Nodes
from geoaudit.audit.values import CHAT_KEYS, check_parameter, listed
from geoaudit.errors import GeoauditError, UnknownName, did_you_mean
from geoaudit.measures.asking import problem
from geoaudit.measures.definition import Measure, Parameter
from geoaudit.measures.inputs import ChatSetting, File, Source

SOURCE_KEYS = ("file", "column", "category", "label")
_TEMPLATES = ("zephyr", "chatml", "none")


class ParameterNodes(Nodes):
    """Walks the parameters of a measure."""

    def parameters(self, node: yaml.Node | None, measure: Measure, chat: ChatSetting | None) -> dict[str, Any]:
        """What a line gives a measure; `chat` is the suite's setting, which the line's own replaces."""
        given: dict[str, Any] = {} if chat is None else {"chat": chat}
        if node is None:
            return given
        keys = self.mapping(node, f"with (the parameters of {measure.name})", tuple(measure.parameters))
        given |= {name: self.parameter(value, name, measure.parameters[name]) for name, (_, value) in keys.items()}
        attack = measure.parameters.get("attack")
        if attack is not None and (why := problem(given, given.get("attack", attack.default))) is not None:
            raise self.error(next(keys[name][0] for name in keys if why.startswith(f"{name} ")), why)
        return given

    def parameter(self, node: yaml.Node, name: str, parameter: Parameter) -> Any:
        """One of them, in its proper type."""
        match parameter.type:
            case "source":
                return self.source(node, name)
            case "chat":
                return self.chat(node)
            case "stored" if isinstance(node, yaml.MappingNode):
                keys = self.mapping(node, "the stored attacks", ("file",))
                return self.file(keys, node)
            case "file":
                return File(self.resolved(node, name).file)
            case "choices" if isinstance(node, yaml.SequenceNode):
                value: Any = [self.scalar(item, name) for item in node.value]
            case _:
                value = self.scalar(node, name)
        try:
            return check_parameter(name, parameter, value)
        except GeoauditError as error:
            raise self.error(node, str(error)) from None

    def chat(self, node: yaml.Node) -> ChatSetting:
        """How requests are rendered."""
        keys = self.mapping(node, "chat", CHAT_KEYS)
        if not keys:
            raise self.error(node, f"chat is empty; {listed(CHAT_KEYS)}")
        values: dict[str, Any] = {key: self.scalar(value, key) for key, (_, value) in keys.items()}
        for key in ("system", "template"):
            if not isinstance(values.get(key, ""), str):
                raise self.error(keys[key][1], f"{key} must be text, got {values[key]!r}; quote it if it is text")
        if not isinstance(values.get("thinking", False), bool):
            raise self.error(keys["thinking"][1], f"thinking is true or false, got {values['thinking']!r}")
        template = values.get("template")
        if template is not None and template not in _TEMPLATES:
            file = self.path.parent / template
            try:
                values["template"] = file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError, ValueError):
                raise self.error(
                    keys["template"][1],
                    f"template is {listed(_TEMPLATES)}, or a file beside the suite that can be read; got {template!r}",
                ) from None
        return ChatSetting(**values)

    def file(self, keys: dict[str, tuple[yaml.Node, yaml.Node]], node: yaml.Node) -> Source:
        """The file that a mapping names, relative to the suite."""
        if "file" not in keys:
            raise self.error(node, "a mapping here needs the key 'file'")
        return self.resolved(keys["file"][1], "file")

    def resolved(self, node: yaml.Node, what: str) -> Source:
        """The file that a word names, relative to the suite."""
        file = self.path.parent / self.text(node, what)
        try:
            file = file.resolve()
            found = file.is_file()
        except (OSError, RuntimeError, ValueError):  # a name too long, links in a circle, a null character
            found = False
        if not found:
            raise self.error(node, f"no such file: {str(file)!r} (paths are relative to the suite file)")
        return Source(name=file.name, file=str(file))

    def source(self, node: yaml.Node, name: str) -> Source:
        """Where prompts come from: a name, or a file that was found to hold some."""
        if isinstance(node, yaml.MappingNode):
            keys = self.mapping(node, "the source", SOURCE_KEYS)
            file = self.file(keys, node)
            values = {key: self.text(value, key) for key, (_, value) in keys.items() if key != "file"}
            if values.get("label", "harmful") not in ("harmful", "harmless"):
                raise self.error(keys["label"][1], f"label is harmful or harmless, got {values['label']!r}")
            return self.readable(replace(file, **values), node)  # type: ignore[arg-type]  # label checked above
        from geoaudit.prompts.sources import names

        value = self.text(node, name)
        known = [source.name for source in names()]
        if value not in known:
            near = did_you_mean(value, known)
            own = f"; a file is {{file: {value}}}" if Path(value).suffix or "/" in value else ""
            raise self.error(
                node, f"unknown source {value!r}{near}{own}; `geoaudit data list` shows the sources that have a name"
            )
        return Source(value)

    def readable(self, source: Source, node: yaml.Node) -> Source:
        """The source, once its file was read as the suite says."""
        from geoaudit.prompts.files import load_file

        try:
            load_file(
                Path(source.file),
                text_column=source.column,
                label=source.label,
                category_column=source.category or None,
            )
        except UnknownName as error:
            keys = "the source's `column` names the one with the prompts (default: prompt), its `category` their kind"
            raise self.error(node, f"{error}; {keys}") from None
        except GeoauditError as error:
            raise self.error(node, str(error)) from None
        return source
