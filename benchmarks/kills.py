"""Kill `ingest` at random moments, again and again: what the lake holds then equals an undisturbed run."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.figures import Figure, full, scratch, told

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from small import backbone, bolt, contents, write
from test_ingest import killed, machines

from unibody.tables import MachineReading, Outcome, Tightening


def main() -> None:
    """Measure and print."""
    kills = 200 if full(__doc__) else 40
    with scratch() as folder:
        raw = folder / "shaken/raw"
        for f in range(20):
            write(
                raw / f"bolts_{f}.csv",
                [bolt(1000 * f + i) if i % 9 else bolt(1000 * f + i, torque="?") for i in range(500)],
            )
            write(
                raw / f"machines_{f}.csv", [{**r, "machine": f"{f} {r['machine']}"} for r in machines(3, 100)]
            )
        hit = killed(folder / "shaken", kills, seed=1)
        shaken, quiet = backbone(folder / "shaken"), backbone(folder / "quiet")
        shutil.copytree(raw, folder / "quiet/raw")
        shaken.ingest([raw])
        quiet.ingest([folder / "quiet/raw"])
        wrong = sum(
            len(set(contents(shaken, t)) ^ set(contents(quiet, t)))
            + abs(shaken.lake.count(t) - quiet.lake.count(t))
            for t in (Tightening, MachineReading, Outcome)
        )
    told([
        Figure("processes killed while they brought files in", hit, "kills"),
        Figure("rows lost, doubled or changed", wrong, "rows", "= 0", wrong == 0),
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
