"""Ask every method about every case, on two processes, and keep one row an answer."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.loop import adapters, peers, plain_scan, subgroups
from benchmarks.loop.cases import REPORTED, SORTED, Case, Spec, World, made
from benchmarks.loop.scoring import Says, hits, oracle, scoped, score

OURS, PLAIN, SUBGROUPS, NOTICE = "ours", "plain scan", "pysubgroup", "notice"
#: Ours as the loop asks it: told which attributes belong to the component itself that the symptom is of. No peer is.
TOLD = "ours told the component"
METHODS: dict[str, adapters.Explain] = {
    PLAIN: plain_scan.explain,
    "chi-square": peers.chi_square,
    "decision tree": peers.tree,
    "LightGBM + SHAP": peers.boosting,
}
Row = dict[str, Any]
PROCESSES = 2
CHUNK = 4  # worlds that a process takes at a time
SUBGROUP_SEEDS = (
    4  # pysubgroup takes half a minute a case: it is asked about the first so many worlds of each kind
)
#: Noticing is replayed in so many worlds of a kind: it looks a hundred times at each.
NOTICED, NOTICED_EACH = {"clean": 30}, 6
#: Threads of a process: two processes share the machine.
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}


def methods() -> dict[str, adapters.Explain]:
    """Ours where it is there, and the peers that run in this process."""
    ours = adapters.ours()
    return ({OURS: ours, TOLD: ours} if ours else {}) | METHODS


def absent() -> list[str]:
    """What could not be asked, by name."""
    out = [] if adapters.ours() else ["ours: unibody.methods.cohorts cannot be imported"]
    if not subgroups.PEER.is_file():
        out.append(f"pysubgroup: no environment at {subgroups.PEER}; see benchmarks/loop/subgroups.py")
    out += [] if adapters.scope() else ["scope: unibody.loop.scope is not there"]
    return out + ([] if adapters.notice() else ["notice: unibody.loop.looks is not there"])


def row(case: Case, method: str, answer: Says, seconds: float) -> Row:
    """One answer, scored."""
    conditions = [t.conditions for t in case.truths]
    out: Row = {
        "world": case.spec.name, "kind": case.spec.kind, "vehicles": case.spec.vehicles, "symptom": case.symptom,
        "source": case.source, "method": method, "seconds": seconds, "truths": len(case.truths),
        "failed": max((t.failed for t in case.truths), default=0),
        **asdict(score(case.frame, conditions, answer)),
        "first": [c.conditions for c in (*answer.causes, *answer.ranked)][:1],
    }  # fmt: skip
    scope = adapters.scope()
    if method == OURS and scope is not None and answer.causes and case.truths:
        best = answer.causes[0]
        selected, stated = scope(case, answer, best)
        right = [t for t in case.truths if hits(case.frame, best.conditions, t.conditions)]
        aimed_at = right[0] if right else case.truths[0]
        per, share = scoped(selected, set(aimed_at.affected) & set(case.frame["vin"].cast(str)))
        out |= {"recalled_per_affected": per, "covered": share, "stated": stated, "scope_hit": bool(right)}
    return out


def asked(world: World, wanted: Sequence[str]) -> list[Row]:
    """All answers of the methods that run here, and of the oracle."""
    out: list[Row] = []
    for case in world.cases:
        for name, method in methods().items():
            if name not in wanted or (case.source == SORTED and name not in (OURS, TOLD, PLAIN)):
                continue
            more = {"likely": case.likely} if name == TOLD else {}
            began = time.perf_counter()
            answer = method(case.frame, case.outcome, **case.ask(), **more)
            out.append(row(case, name, answer, time.perf_counter() - began))
        for truth in case.truths if case.source == REPORTED else ():
            right = oracle(case.frame, truth.conditions, case.attributes, case.outcome, case.exposure)
            out.append({
                "world": case.spec.name, "kind": case.spec.kind, "vehicles": case.spec.vehicles,
                "symptom": case.symptom, "source": case.source, "method": "oracle", "right": right, "failed": truth.failed,
                "noticed_days": truth.noticed_days,
            })  # fmt: skip
    out.append({
        "world": world.spec.name, "kind": world.spec.kind, "vehicles": world.spec.vehicles, "method": "notice",
        "years": world.years, "false_alarms": world.false_alarms, "cases": sum(c.source == REPORTED for c in world.cases),
    })  # fmt: skip
    return out


def chunk(specs: Sequence[Spec], folder: Path, wanted: Sequence[str]) -> list[Row]:
    """Make some worlds and ask about them; a world that cannot be made or answered is a row that says so."""
    out: list[Row] = []
    cases: list[Case] = []
    for spec in specs:
        try:
            replay = NOTICE in wanted and spec.place < NOTICED.get(spec.kind, NOTICED_EACH)
            world = made(spec, folder, adapters.notice() if replay else None)
            out += asked(world, wanted)
            cases += world.cases
        except Exception as e:  # one world must not end a run of hours; it is counted and told
            told = f"{type(e).__name__}: {e}"
            out.append(
                {
                    "world": spec.name,
                    "kind": spec.kind,
                    "vehicles": spec.vehicles,
                    "method": "failed",
                    "why": told,
                }
            )
            traceback.print_exc(limit=-3)
    cases = [c for c in cases if c.truths and c.source == REPORTED and c.spec.place < SUBGROUP_SEEDS]
    if SUBGROUPS in wanted and subgroups.PEER.is_file() and cases:
        by = {c.name: c for c in cases}
        found = subgroups.explain_all(folder, [(c.name, c.frame, c.outcome, c.attributes) for c in cases])
        out += [row(by[name], SUBGROUPS, answer, seconds) for name, (answer, seconds) in found.items()]
    return out


def run(specs: Sequence[Spec], folder: Path, wanted: Sequence[str] | None = None) -> list[Row]:
    """All rows of these worlds, in the order of the worlds; how far it is goes to stderr."""
    names = list(wanted or [OURS, TOLD, *METHODS, SUBGROUPS, NOTICE])
    parts = [specs[i : i + CHUNK] for i in range(0, len(specs), CHUNK)]
    rows: dict[int, list[Row]] = {}
    began = time.monotonic()
    os.environ.update(THREADS)  # read by the processes that are started below
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(chunk, part, folder, names): i for i, part in enumerate(parts)}
        for done, future in enumerate(as_completed(waiting), 1):
            rows[waiting[future]] = future.result()
            spent = time.monotonic() - began
            left = spent / done * (len(parts) - done)
            worlds = min(done * CHUNK, len(specs))
            print(
                f"  {worlds} of {len(specs)} worlds, {spent:.0f} s, about {left:.0f} s to go",
                file=sys.stderr,
                flush=True,
            )
    return [r for i in sorted(rows) for r in rows[i]]
