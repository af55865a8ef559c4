"""Refusal carriers: candidates, their scores, and the rules that choose among them.

Importing this package is light; what needs torch is imported by name.
"""

from __future__ import annotations

from geoaudit.carriers.select import Row, Selection, select

__all__ = ["Row", "Selection", "select"]
