"""All benchmarks, one after the other, into docs/benchmarks.md: `python -m benchmarks [--full]`."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import full, machine

HERE = Path(__file__).parent
SKIP = ("__init__", "__main__", "figures")


def main() -> None:
    """Run each file in a process of its own and write the page."""
    more = ["--full"] if full(__doc__) else []
    lines = [
        "# Benchmarks",
        "",
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {machine()}, by `python -m benchmarks{' --full' if more else ''}`",
        "(`make bench`). Each file of `benchmarks/` is one claim; a peer is measured in the same run.",
    ]
    for path in sorted([*HERE.glob("*.py"), *HERE.glob("*/__init__.py")]):
        name = path.parent.name if path.stem == "__init__" else path.stem
        if path.parent == HERE and path.stem in SKIP:
            continue
        command = [sys.executable, "-m", f"benchmarks.{name}", *more]
        said = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent, check=False)
        print(said.stdout, said.stderr if said.returncode else "", sep="", flush=True)
        about = path.read_text().split('"""')[1].strip().splitlines()[0]
        lines += ["", f"## {about}", "", f"`python -m benchmarks.{name}{' --full' if more else ''}`", ""]
        if said.returncode:
            lines.append(f"Failed: {said.stderr.strip().splitlines()[-1]}")
            continue
        lines += ["| figure | value | bar | met | peer | note |", "|---|---:|---|---|---|---|"]
        for f in (json.loads(line) for line in said.stdout.splitlines() if line.startswith("{")):
            met = {True: "yes", False: "**no**", None: ""}[f["met"]]
            lines.append(
                f"| {f['claim']} | {f['value']:,.4g} {f['unit']} | {f['bar']} | {met} | {f['peer']} | {f['note']} |"
            )
    (HERE.parent / "docs/benchmarks.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
