from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

from geoaudit.report import html, page


def test_the_policy_names_exactly_the_style_and_the_script_of_the_page(make_record: Callable[..., dict[str, Any]]):
    text = html.render(make_record(rows=3))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    policy = policy.replace("&#39;", "'")
    rules = dict(part.split(" ", 1) for part in policy.split("; "))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert "http" not in policy
    for element in ("style", "script"):
        (inside,) = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules[f"{element}-src"] == f"'sha256-{digest}'"
    assert len(re.findall(r"<(?:style|script)\b", text)) == 2
    assert text.index("Content-Security-Policy") < text.index("<style")


def test_the_script_is_small_and_breaks_no_xml():
    assert len(page.script().encode()) < 6000
    assert not set("<&") & set(page.script())
    assert "</" not in page.style()
