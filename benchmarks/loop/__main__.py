"""Run it: `python -m benchmarks.loop [--full] [--worlds N] [--tuning] [--methods A,B] [--folder PATH] [--out PATH]`."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path

from benchmarks.figures import scratch, told
from benchmarks.loop import cases, complaints, report
from benchmarks.loop.run import absent, run

EACH, CLEAN, LARGE = 18, 60, 5  # of each kind, without cause, of 50,000 vehicles
SHORT = 40  # worlds without --full


def wanted(worlds: int | None, full: bool, tuning: bool) -> list[cases.Spec]:
    """The worlds of a run: all of them, or the first so many of a run that takes kinds in turn."""
    from unibody.twin.field import KINDS

    kinds = [*KINDS, *([] if "two_causes" in KINDS else ["two_causes"])]
    first = cases.TUNING[0] if tuning else cases.SCORING_FROM
    count = SHORT if worlds is None and not full else worlds
    all_of = cases.specs(kinds, EACH, CLEAN, LARGE if full and worlds is None else 0, first)
    return all_of if count is None else all_of[:count]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop", description=__doc__)
    parser.add_argument(
        "--full",
        action="store_true",
        help=f"{EACH} worlds of each kind, {CLEAN} without cause, {LARGE} large",
    )
    parser.add_argument("--worlds", type=int, help="only so many worlds of 5,000 vehicles, kinds in turn")
    parser.add_argument(
        "--tuning",
        action="store_true",
        help="the seeds for tuning, 1 to 999; never for a figure that is told",
    )
    parser.add_argument("--methods", help="only these, with commas between: ours, plain scan, ..., notice")
    parser.add_argument("--folder", type=Path, help="keep the worlds here, and take those that are there")
    parser.add_argument(
        "--out", type=Path, default=Path("build/loop"), help="where results.json and results.md go"
    )
    parser.add_argument("--no-complaints", action="store_true", help="without the public complaints")
    args = parser.parse_args()
    specs = wanted(args.worlds, args.full, args.tuning)
    if args.folder:
        args.folder.mkdir(parents=True, exist_ok=True)
    with contextlib.nullcontext(args.folder) if args.folder else scratch() as folder:
        rows = run(specs, folder, args.methods.split(",") if args.methods else None)
    seeds = "TUNING seeds: no result" if args.tuning else "scoring seeds"
    page = report.tables(rows, f"{len(specs)} worlds, {seeds}.")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(rows, default=str))
    (args.out / "results.md").write_text(page)
    told(report.figures(rows) + ([] if args.no_complaints else complaints.figures()))
    print(page)
    for line in absent():
        print(f"  left out: {line}")


if __name__ == "__main__":
    main()
