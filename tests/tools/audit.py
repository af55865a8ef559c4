"""Run an audit for `make audit`: succeed when it ran to its end, whatever it found, and say pytest's own exit code.

python tests/tools/audit.py pytest --geoaudit-model=smollm2-135m
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

RECORD = Path("reports/geoaudit.json")


def main(command: list[str]) -> int:
    started = time.time()
    code = subprocess.run(command, check=False).returncode
    if not RECORD.is_file() or RECORD.stat().st_mtime < started - 1:
        print(f"\nthe audit wrote no report: pytest exit code {code}")
        return code or 1
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    print(f"\npytest exit code {code}: {record['exit']['reason']}")
    print(f"the audit is {record['status']}; open {RECORD.with_suffix('.html')}")
    return 0 if code in (0, 1) and record["status"] == "complete" else code or 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
