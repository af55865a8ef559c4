"""Training runs whose checkpoints are ready to be audited: SFT, safety-SFT, R2D2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoaudit.training.monitor import Monitor

__all__ = ["Monitor"]


def __getattr__(name: str) -> Any:
    """`Monitor` at first use: recipes are read without torch."""
    if name == "Monitor":
        from geoaudit.training.monitor import Monitor

        return Monitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
