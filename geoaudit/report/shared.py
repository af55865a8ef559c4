"""What figures of a report have in common is written once, and pointed to.

The same template tokens beside every heat map, the same grid behind every curve, the same mark beside every name of a
legend: an SVG `<use>` of one definition draws the same, pixel by pixel. Nothing is rounded and nothing left out.

The text that is searched is the report's own: strings of a record are escaped in it, so that none of them holds a tag.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

PLACE = "<!-- shared -->"
"""Where the definitions go: behind the page, so that they are not the first thing that is read."""
START = '<div class="page">'
_HIDDEN = '<svg class="definitions" width="0" height="0" aria-hidden="true" focusable="false">'
_DECORATION = re.compile(r'(<svg class="(?:swatch|legend-mark)"[^<>]*>)(.*?)(</svg>)')
_FIGURE = re.compile(r'<svg class="(?!frontier|controls|interval)[^<>]*>.*?</svg>', re.DOTALL)
"""Those in which no style depends on where a text stands: a definition has the style of its own place."""
_TICKS = re.compile(r'<g class="tick [a-z]+">.*?</g>')
_PATH = re.compile(r"<path [^<>]*/>")


def shared(page: str) -> str:
    """The page with every part of a figure that occurs more than once defined at `PLACE`; without that, as it is."""
    head, start, rest = page.partition(START)
    body, place, end = rest.rpartition(PLACE)
    if not start or not place:
        return page
    definitions = _Definitions()
    body = definitions.hoisted(body, lambda text, found: _DECORATION.sub(lambda m: f"{m[1]}{found(m[2])}{m[3]}", text))
    body = definitions.hoisted(
        body, lambda text, found: _FIGURE.sub(lambda m: _TICKS.sub(lambda part: found(part[0]), m[0]), text)
    )
    body = definitions.hoisted(body, lambda text, found: _PATH.sub(lambda m: found(m[0]), text))
    return head + start + body + (f"{_HIDDEN}<defs>{definitions.text}</defs></svg>" if definitions.text else "") + end


class _Definitions:
    def __init__(self) -> None:
        self.text = ""
        self._n = 0

    def hoisted(self, text: str, through: Callable[[str, Callable[[str], str]], str]) -> str:
        """The text with parts replaced; `through` calls a function on each part that may be, in order."""
        times: Counter[str] = Counter()

        def count(part: str) -> str:
            times[part] += 1
            return part

        through(text, count)
        uses: dict[str, str] = {}
        for part, n in times.items():  # in the order of the page, so that the same record gives the same bytes
            use, definition = f'<use href="#s{self._n}"/>', f'<g id="s{self._n}">{part}</g>'
            if n * len(use) + len(definition) < n * len(part):
                uses[part] = use
                self.text += definition
                self._n += 1
        return through(text, lambda part: uses.get(part, part))
