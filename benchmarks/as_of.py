"""Point in time: for each (entity, instant) the last reading known before it; ours against Feast's local file store.

Feast runs in an environment of its own: `python -m venv benchmarks/.peers/feast && benchmarks/.peers/feast/bin/pip
install -r benchmarks/requirements-feast.txt` (or FEAST_PYTHON). Without it only ours is measured.
"""

from __future__ import annotations

import bisect
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.figures import Figure, best_and_last, full, scratch, told
from unibody import engine

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
PEER = Path(os.environ.get("FEAST_PYTHON", Path(__file__).parent / ".peers/feast/bin/python"))
FEAST = """
import json, sys, time
from datetime import timedelta
from pathlib import Path
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

folder = Path(sys.argv[1])
config = RepoConfig(project="bench", provider="local", registry=str(folder / "registry.db"), offline_store={"type": "file"},
                    online_store={"type": "sqlite", "path": str(folder / "online.db")}, entity_key_serialization_version=3)
store = FeatureStore(config=config)
machine = Entity(name="machine", join_keys=["machine"], value_type=ValueType.STRING)
source = FileSource(path=str(folder / "readings.parquet"), timestamp_field="read_at")
view = FeatureView(name="readings", entities=[machine], ttl=timedelta(days=3650), schema=[Field(name="value", dtype=Float64)], source=source)
store.apply([machine, view])
entities = pd.read_parquet(folder / "entities.parquet").rename(columns={"at": "event_timestamp"})
began = time.perf_counter()
found = store.get_historical_features(entity_df=entities, features=["readings:value"]).to_df()
took = time.perf_counter() - began
found[["machine", "event_timestamp", "value"]].to_parquet(folder / "feast.parquet")
print(json.dumps({"seconds": took, "rows": len(found)}))
"""


def make(folder: Path, readings: int, asked: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Readings of 1,000 machines, and questions about them; some questions are asked twice."""
    random = np.random.default_rng(1)
    instant = pl.Datetime("us", "UTC")

    def moments(n: int) -> pl.Series:
        seconds = pl.Series(random.integers(0, 60 * 86400, n))
        return pl.select(pl.lit(BEGIN, instant) + pl.duration(seconds=seconds)).to_series()

    names = pl.Series([f"M{i:04}" for i in range(1000)])
    rows = pl.DataFrame(
        {
            "machine": names.gather(random.integers(0, 1000, readings)),
            "read_at": moments(readings),
            "value": random.normal(size=readings),
        }
    )
    rows = rows.unique(["machine", "read_at"], keep="first", maintain_order=True)
    questions = pl.DataFrame({"machine": names.gather(random.integers(0, 1000, asked)), "at": moments(asked)})
    questions = pl.concat([questions, questions.head(asked // 10)])
    rows.write_parquet(folder / "readings.parquet")
    questions.write_parquet(folder / "entities.parquet")
    return rows, questions


def brute(rows: pl.DataFrame, questions: pl.DataFrame) -> list[float | None]:
    """The answers by bisection, one at a time."""
    series: dict[str, tuple[list[datetime], list[float]]] = {}
    for machine, at, value in rows.sort("machine", "read_at").iter_rows():
        times, values = series.setdefault(machine, ([], []))
        times.append(at)
        values.append(value)
    found: list[float | None] = []
    for machine, at in questions.iter_rows():
        times, values = series.get(machine, ([], []))
        i = bisect.bisect_right(times, at)
        found.append(values[i - 1] if i else None)
    return found


def main() -> None:
    """Measure and print."""
    readings, asked = (10_000_000, 1_000_000) if full(__doc__) else (1_000_000, 50_000)
    found: list[Figure] = []
    with scratch() as folder:
        rows, questions = make(folder, readings, asked)

        def ours() -> list[float | None]:
            con = engine.connection()
            r = con.read_parquet(str(folder / "readings.parquet"))
            q = con.read_parquet(str(folder / "entities.parquet"))
            joined = engine.as_of_join(q, r, by=("machine",), at="at", read_at="read_at", take=("value",))
            frame = engine.collect(joined, 100_000_000, "benchmark")
            # a join keeps no order: put the answers beside the questions
            return questions.join(frame, on=["machine", "at"], how="left", maintain_order="left")[
                "value"
            ].to_list()

        mine, answers = best_and_last(ours, 3)
        assert answers == brute(rows, questions), "wrong answers"
        size = f"{readings / 1e6:g} M readings, {questions.height:,} questions"
        found.append(Figure(f"as-of join, {size}", mine, "s", note="equal to brute force, repeated keys too"))
        if PEER.is_file():
            (folder / "peer.py").write_text(FEAST)
            said = subprocess.run(
                [str(PEER), str(folder / "peer.py"), str(folder)], capture_output=True, text=True, check=False
            )
            if said.returncode:
                found.append(
                    Figure("Feast", float("nan"), "s", note="failed: " + said.stderr.strip().splitlines()[-1])
                )
            else:
                peer = json.loads(said.stdout.strip().splitlines()[-1])
                found += [
                    Figure(
                        f"Feast's local file store, {size}",
                        peer["seconds"],
                        "s",
                        note=f"gave {peer['rows']:,} of {questions.height:,} rows",
                    ),
                    Figure(
                        "faster than Feast",
                        peer["seconds"] / mine,
                        "x",
                        ">= 100",
                        peer["seconds"] / mine >= 100,
                        "Feast file store",
                    ),
                ]
        else:
            found.append(
                Figure(
                    "faster than Feast",
                    float("nan"),
                    "x",
                    ">= 100",
                    None,
                    note=f"no Feast at {PEER}; see this file's head",
                )
            )
    told(found)


if __name__ == "__main__":
    sys.exit(main())
