"""Compare the outcomes of an audit with a committed list; `--write` makes the list.

python tests/tools/compare_outcomes.py reports/geoaudit.json tests/tools/expected_outcomes.json [--write]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(record_file: str, expected_file: str, *options: str) -> int:
    record = json.loads(Path(record_file).read_text(encoding="utf-8"))
    got = {f"{one['checkpoint']} {one['suite']} {one['id']}": one["outcome"] for one in record["assertions"]}
    if "--write" in options:
        Path(expected_file).write_text(json.dumps(got, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    expected = json.loads(Path(expected_file).read_text(encoding="utf-8"))
    differences = [
        f"{name}: expected {expected.get(name, 'nothing')}, got {got.get(name, 'nothing')}"
        for name in sorted(expected.keys() | got.keys())
        if expected.get(name) != got.get(name)
    ]
    print("\n".join(differences) or f"all {len(expected)} outcomes are as expected")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
