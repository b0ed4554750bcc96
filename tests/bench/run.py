# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run every bench beside this file, print one table, write it into README.md and results.json (`make bench`).

A bench is a script that prints JSON lines with the keys of FIELDS; `against` says in words what `ratio` compares with,
and both may be null. Everything else that it prints goes through to the terminal.
`run.py NAME ...` runs only the named ones; the results of the others stay in results.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
README = HERE.parents[1] / "README.md"
FIELDS = ("bench", "measure", "value", "unit", "against", "ratio")


def parse(line: str) -> dict[str, Any] | None:
    """The result in a line of output, or None if the line is something else."""
    try:
        result = json.loads(line)
    except ValueError:
        return None
    return result if isinstance(result, dict) and set(result) == set(FIELDS) else None


def run(script: Path) -> tuple[list[dict[str, Any]], bool]:
    """The results of one bench, and whether it ended well."""
    results = []
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if result := parse(line):
                results.append(result)
            else:
                print(f"  {line}", end="", flush=True)
    return results, process.returncode == 0 and bool(results)


def cells(results: list[dict[str, Any]]) -> list[list[str]]:
    return [["" if result[field] is None else str(result[field]) for field in FIELDS] for result in results]


def table(results: list[dict[str, Any]]) -> str:
    """The results for the terminal."""
    rows = [list(FIELDS), *cells(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(FIELDS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(results: list[dict[str, Any]]) -> str:
    """The same table for the README."""
    rows = [list(FIELDS), ["---"] * len(FIELDS), *cells(results)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main(names: list[str]) -> int:
    scripts = {path.stem: path for path in sorted(HERE.glob("*.py")) if path.name != "run.py" and path.name[0] != "_"}
    if unknown := set(names) - set(scripts):
        print(f"No bench {', '.join(sorted(unknown))}; there are: {', '.join(scripts) or 'none'}.", file=sys.stderr)
        return 2
    chosen = names or list(scripts)
    if not chosen:
        print("No benches in tests/bench yet.")
        return 0
    fresh: list[dict[str, Any]] = []
    failed = []
    for number, name in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {name}", flush=True)
        begin = time.monotonic()
        results, well = run(scripts[name])
        print(f"  {time.monotonic() - begin:.0f} s{'' if well else ', FAILED'}", flush=True)
        if well:
            fresh += results
        else:
            failed.append(name)
    measured = {result["bench"] for result in fresh}
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() and (names or failed) else []
    known = [result for result in old if result["bench"] not in measured] + fresh
    RESULTS.write_text(json.dumps(known, indent=2) + "\n")
    before, begin, rest = README.read_text().partition("<!-- bench:begin -->\n")
    README.write_text(before + begin + markdown(known) + "<!-- bench:end -->" + rest.partition("<!-- bench:end -->")[2])
    print(f"\n{table(known)}")
    if failed:
        print(f"FAILED: {', '.join(failed)} (their old results were kept)", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
