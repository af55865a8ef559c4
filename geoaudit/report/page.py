"""What the page carries beside its text: a style sheet, a script, and a policy that allows these two alone.

Both stand in the file itself and are named to the browser by their SHA-256, so that no other style or script runs, not
even one that a record had managed to bring in. Without the script nothing is missing: it sorts, filters and points.
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


@lru_cache(maxsize=8)
def read(name: str) -> str:
    """A file beside the templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def style() -> Markup:
    """Everything inside `<style>`."""
    return Markup("\n" + "".join(read(name) for name in ("figures.css", "style.css", "first.css", "layout.css")))


@lru_cache(maxsize=1)
def script() -> Markup:
    """Everything inside `<script>`. It holds neither `<` nor `&`, so that the page is well-formed XML too."""
    return Markup("\n" + read("report.js"))


def policy() -> str:
    """The content security policy of the page: nothing from anywhere, and of what is in it these two."""
    return (
        f"default-src 'none'; style-src '{_named(style())}'; script-src '{_named(script())}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _named(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
