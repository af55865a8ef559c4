"""The tables of keys in examples/recipes/README.md, made from the recipe's grammar.

python tests/tools/recipe_keys.py            # rewrites them
"""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from geoaudit.training import blocks, recipe
from geoaudit.training.monitor_settings import Bound, MonitorSettings
from geoaudit.training.r2d2_settings import R2D2

README = Path(__file__).resolve().parents[2] / "examples" / "recipes" / "README.md"
BLOCKS: dict[str, type[BaseModel]] = {
    "recipe": recipe.Recipe,
    "chat": blocks.ChatFormat,
    "adapter": blocks.Adapter,
    "data": blocks.Source,
    "refusals": blocks.Refusals,
    "r2d2": R2D2,
    "monitor": MonitorSettings,
    "stop": Bound,
}
"""Name of a block -> its keys."""


def table(block: type[BaseModel]) -> str:
    """Key, default and meaning, a row each."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in block.model_fields.items():
        if name != "folder":
            rows.append(f"| `{name}` | {_default(field)} | {field.description} |")
    return "\n".join(rows)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.default
    if value is None:
        return "none"
    if isinstance(value, BaseModel) or value in ((), ""):
        return "none"
    if isinstance(value, tuple) and len(value) > 4:
        return f"{len(value)} of its own"
    return f"`{_shown(value)}`"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(_shown(one) for one in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def filled(text: str) -> str:
    """The README with every table between its marks made anew."""

    def made(found: re.Match[str]) -> str:
        return f"<!-- keys: {found[1]} -->\n{table(BLOCKS[found[1]])}\n<!-- end -->"

    return re.sub(r"<!-- keys: ([\w-]+) -->\n.*?<!-- end -->", made, text, flags=re.DOTALL)


def nested(block: type[BaseModel]) -> set[type[BaseModel]]:
    """The blocks below a block, at any depth."""
    found: set[type[BaseModel]] = set()
    for field in block.model_fields.values():
        for one in _classes(field.annotation):
            found |= {one} | nested(one)
    return found


def _classes(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) in (typing.Union, tuple):
        return {one for part in typing.get_args(annotation) for one in _classes(part)}
    return set()


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
