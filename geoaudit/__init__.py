"""geoaudit: audit the safety geometry of a language-model checkpoint.

Importing this package imports nothing heavy: the rooms are imported by name where they are used.
"""

from __future__ import annotations

__version__ = "0.1.0"
