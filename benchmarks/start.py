"""How soon it is there: `--help`, the use cases, one step of the backbone, and what `up --once` takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

import unibody
from benchmarks.figures import Figure, full, scratch, seconds, told
from unibody import catalog
from unibody.gate import opened
from unibody.lake import Lake
from unibody.ledger import Ledger
from unibody.tables import Instant, MachineReading, Outcome

OURS = Path(unibody.__file__).parent / "usecases"
UP = """
import json, resource, sys, time
began = time.perf_counter()
sys.argv = ["unibody", "up", "--once", "--json", "--vehicles", sys.argv[1]]
from unibody.cli import main
try:
    main()
except SystemExit:
    pass
spent = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"seconds": time.perf_counter() - began, "mib": spent / 1024}))
"""


def helped() -> None:
    """`unibody --help` in a process of its own, with compiled modules as an installed program has them."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-m", "unibody", "--help"], check=True, capture_output=True, env=environ)


def load_many(folder: Path, count: int) -> float:
    """Seconds to load so many use cases."""
    texts = [p.read_text() for p in sorted(OURS.rglob("*.toml"))]
    for i in range(count):
        (folder / f"case_{i}.toml").write_text(texts[i % len(texts)])
    catalog.use_cases([folder])  # the solutions' imports are told apart
    return seconds(lambda: catalog.use_cases([folder]), 3)


def step(folder: Path) -> float:
    """Seconds that the backbone adds to a step: open a table through the gate, and remember that."""
    lake, ledger = Lake(folder / "lake"), Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    row = {
        **dict.fromkeys(MachineReading.columns),
        "machine": "M",
        "signal": "t",
        "read_at": now,
        "value": 1.0,
    }
    frame = pl.DataFrame([row], schema=MachineReading.dtypes()).with_columns(
        known_at=pl.lit(now, Instant), known_assumed=True, deleted=False, record=pl.lit(0, pl.Int64)
    )
    lake.append(MachineReading, frame, "s", "r", now, 0)
    case = next(iter(catalog.use_cases([OURS]).values()))
    tables = opened(lake, ledger, case, (MachineReading, Outcome), "learn")

    def several() -> None:
        for _ in range(20):
            tables[MachineReading]

    several()
    return seconds(several, 3) / 20


def main() -> None:
    """Measure and print."""
    vehicles = "1000" if full(__doc__) else "200"
    with scratch() as folder:
        helped()
        help_seconds = seconds(helped, 3)
        (folder / "cases").mkdir()
        loaded, gate = load_many(folder / "cases", 128), step(folder)
        began = time.perf_counter()
        environ = {**os.environ, "UNIBODY_HOME": str(folder / "home"), "UNIBODY_QUIET_SECONDS": "0"}
        said = subprocess.run(
            [sys.executable, "-c", UP, vehicles],
            capture_output=True,
            text=True,
            env=environ,
            check=False,
            cwd=folder,
        )
        took = time.perf_counter() - began
        up = (
            json.loads(said.stdout.strip().splitlines()[-1]) if said.stdout.strip() else {"mib": float("nan")}
        )
    told([
        Figure("unibody --help", help_seconds, "s", "< 0.5", help_seconds < 0.5),
        Figure("load 128 use cases", loaded, "s", "< 1", loaded < 1),
        Figure("backbone overhead a step (a table through the gate)", gate * 1e3, "ms", "< 5", gate < 0.005),
        Figure(f"up --once, {vehicles} vehicles, empty lake", took, "s", "< 180", took < 180),
        Figure(f"memory of up --once, {vehicles} vehicles", up["mib"], "MiB", "< 2048", up["mib"] < 2048),
    ])  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
