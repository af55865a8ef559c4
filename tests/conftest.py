"""Fixtures that more than one room uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    """The public benchmarks, from GEOAUDIT_DATA or a shared folder beside the checkout; absent: skipped, and said."""
    for candidate in (os.environ.get("GEOAUDIT_DATA"), REPOSITORY.parent / "shared" / "data"):
        if candidate and (Path(candidate) / "SHA256SUMS").is_file():
            return Path(candidate)
    pytest.skip("public benchmark data not found: set GEOAUDIT_DATA")
