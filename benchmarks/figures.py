"""How a benchmark says what it found: one JSON line a figure, then a table that people read."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory


@dataclass(frozen=True)
class Figure:
    """One number that was measured; `bar` in words, `met` None where it is only told."""

    claim: str
    value: float
    unit: str
    bar: str = ""
    met: bool | None = None
    peer: str = ""
    note: str = ""


def told(figures: list[Figure]) -> None:
    """Print the figures."""
    for f in figures:
        print(json.dumps(asdict(f), ensure_ascii=False))
    width = max(len(f.claim) for f in figures)
    for f in figures:
        met = {True: "met", False: "MISSED", None: ""}[f.met]
        print(
            f"  {f.claim:{width}}  {f.value:>12,.4g} {f.unit:<8} {f.bar:<28} {met:<7} {f.peer} {f.note}".rstrip()
        )


def machine() -> str:
    """What it was measured on."""
    cpu = next(
        (
            x.split(":")[1].strip()
            for x in Path("/proc/cpuinfo").read_text().splitlines()
            if x.startswith("model name")
        ),
        "?",
    )
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {cpu}, {gib:.0f} GiB, Python {platform.python_version()}"


def seconds(function: Callable[[], object], times: int = 1) -> float:
    """The best of some runs."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - began)
    return best


def best_and_last(function: Callable[[], object], times: int) -> tuple[float, object]:
    """The best of some runs, and what the last one gave."""
    found: list[object] = []
    return seconds(lambda: found.append(function()), times), found[-1]


@contextmanager
def peak() -> Iterator[list[float]]:
    """The most memory this process held meanwhile, in MiB, in the list once it is over."""
    found: list[float] = [0.0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            found[0] = max(found[0], pages * resource.getpagesize() / 2**20)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with TemporaryDirectory(prefix="unibody-bench-") as folder:
        yield Path(folder)


def full(about: str | None) -> bool:
    """Was `--full` asked for: the large sizes."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--full", action="store_true", help="the large sizes")
    return bool(parser.parse_args().full)
