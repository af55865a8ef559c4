from __future__ import annotations

import re
from itertools import pairwise

import pytest

from geoaudit.report.page import style

CSS = str(style())
TEXT_ON_PAPER = ("ink", "soft", "failed", "invalid", "inconclusive", "passed", "link")


def palette(theme: str) -> dict[str, str]:
    blocks = re.findall(r":root \{(.*?)\}", CSS, re.S)
    assert len(blocks) == 2
    light = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", blocks[0]))
    return light if theme == "light" else light | dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", blocks[1]))


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_contrast(theme: str):
    colours = palette(theme)
    pairs = [(name, ground) for name in TEXT_ON_PAPER for ground in ("paper", "sheet")]
    pairs += [(name, f"{name}-wash") for name in ("failed", "invalid", "inconclusive", "passed")]
    pairs += [("banner-ink", "banner"), ("soft", "allowed"), ("ink", "allowed")]
    pairs += [
        ("on-light", "complied"),
        ("on-light", "partial"),
        ("on-light", "degenerate"),
        ("on-light", "not-harmful"),
    ]
    low = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert not {pair: ratio for pair, ratio in low.items() if ratio < 4.5}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_and_neighbouring_segments_can_be_told_apart(theme: str):
    colours = palette(theme)
    pairs = [("mark", "paper"), ("over", "paper"), ("passed", "paper"), ("passed", "allowed"), ("line", "paper")]
    pairs += [("on-dark", "refused"), ("on-dark", "unparsed"), ("on-dark", "harmful"), ("on-dark", "unjudged")]
    pairs += [("harmful", "not-harmful"), ("unjudged", "not-harmful"), ("unparsed", "not-harmful")]
    low = {pair: round(contrast(colours[pair[0]], colours[pair[1]]), 2) for pair in pairs}
    assert not {pair: ratio for pair, ratio in low.items() if ratio < 3.0}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_ramp_of_heat_maps_is_one_order_that_grey_print_and_colour_blind_eyes_keep(theme: str):
    colours = palette(theme)
    prominence = [contrast(colours[f"heat-{step}"], colours["paper"]) for step in range(8)]
    assert all(after > 1.12 * before for before, after in pairwise(prominence))
    assert prominence[0] > 1.1  # told from blank paper
    # red-green blindness keeps blue apart from the mean of red and green: its sign changes at the level, once
    hues = [int(c[5:7], 16) - (int(c[1:3], 16) + int(c[3:5], 16)) / 2 for c in (colours[f"heat-{k}"] for k in range(8))]
    assert [hue > 0 for hue in hues] == [False] * 4 + [True] * 4


def test_the_style_sheet_loads_nothing():
    assert set(re.findall(r"url\(([^)]*)\)", CSS)) <= {"#hatch", "#cross", "#shade"}
    assert "@import" not in CSS
    assert "gradient" not in CSS


def test_paper_is_printed_light_and_phones_and_themes_are_served():
    assert "@media print" in CSS
    assert "@media screen and (prefers-color-scheme: dark)" in CSS
    assert "max-width: 860px" in CSS
