"""What the rows of a run say: figures with their bars, and tables that people read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from benchmarks.loop.cases import SORTED
from benchmarks.loop.run import OURS, PLAIN
from benchmarks.loop.scoring import BINS, bin_of, mean_between, wilson

Row = dict[str, Any]
NO_TEST = ("decision tree", "LightGBM + SHAP", "pysubgroup")


def with_truth(rows: Sequence[Row], method: str, small: bool | None = True) -> list[Row]:
    """A method's answers to cases that have a cause; `small`: worlds of 5,000 (None: all)."""
    found = [r for r in rows if r["method"] == method and r.get("truths")]
    return [r for r in found if small is None or (r["vehicles"] <= 5000) == small]


def by_world(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[str, float]:
    """The sum of a value over a world's cases."""
    out: dict[str, float] = {}
    for r in rows:
        out[r["world"]] = out.get(r["world"], 0.0) + value(r)
    return out


def share(rows: Sequence[Row], key: str) -> tuple[float, float, float, int]:
    """A share with its Wilson interval, and of how many."""
    hit = sum(bool(r[key]) for r in rows)
    low, high = wilson(hit, len(rows))
    return (hit / len(rows) if rows else float("nan")), low, high, len(rows)


def difference(rows: Sequence[Row], key: str, a: str = OURS, b: str = PLAIN) -> tuple[float, float, float]:
    """How much higher a share of one method is than of another, by world, with its paired bootstrap interval."""
    one, two = (by_world(with_truth(rows, m), lambda r: float(r[key])) for m in (a, b))
    return mean_between([one[w] - two[w] for w in one if w in two])


def each_world(rows: Sequence[Row], method: str, key: str) -> list[float]:
    """A count of a method in each world of 5,000; a world in which nothing was to be asked counts as 0."""
    worlds = {r["world"]: 0.0 for r in rows if r["method"] == "notice" and r["vehicles"] <= 5000}
    mine = [r for r in rows if r["method"] == method and r["vehicles"] <= 5000]
    return list((worlds | by_world(mine, lambda r: float(r[key]))).values())


def clean(rows: Sequence[Row], method: str) -> dict[str, float]:
    """Accepted causes in each world without causes; worlds in which nothing was to be asked count as 0."""
    worlds = {r["world"]: 0.0 for r in rows if r["method"] == "notice" and r["kind"] == "clean"}
    return worlds | by_world(
        [r for r in rows if r["method"] == method and r["kind"] == "clean"], lambda r: r["accepted"]
    )


def named(rows: Sequence[Row]) -> list[str]:
    """The methods that answered, ours first."""
    found = dict.fromkeys(r["method"] for r in rows if "top1" in r)
    return sorted(found, key=lambda m: (m != OURS, m != PLAIN))


def figures(every: Sequence[Row]) -> list[Figure]:
    """The figures with a bar, of ours (or, where ours is absent, of the plain scan)."""
    rows = [r for r in every if r.get("source") != SORTED]
    who = OURS if OURS in named(rows) else PLAIN
    out: list[Figure] = []
    cases = with_truth(rows, who)
    top1, low, high, n = share(cases, "top1")
    peer = share(with_truth(rows, PLAIN), "top1")[0]
    out.append(
        Figure(
            f"{who}: top-1",
            top1,
            "share",
            ">= 0.92",
            top1 >= 0.92,
            f"plain scan {peer:.3f}",
            f"{low:.3f} to {high:.3f}, {n} cases",
        )
    )
    few = [r for r in cases if bin_of(r["failed"]) == "6-12"]
    top1, low, high, n = share(few, "top1")
    peer = share([r for r in with_truth(rows, PLAIN) if bin_of(r["failed"]) == "6-12"], "top1")[0]
    out.append(
        Figure(
            f"{who}: top-1, 6-12 failures",
            top1,
            "share",
            ">= 0.50",
            top1 >= 0.5,
            f"plain scan {peer:.3f}",
            f"{low:.3f} to {high:.3f}, {n} cases",
        )
    )
    for key, says in (("false", "false causes a world"), ("false_strict", "false causes a world, strict")):
        mean, low, high = mean_between(each_world(rows, who, key))
        theirs, bar = float(np.mean(each_world(rows, PLAIN, key))), key == "false"
        out.append(
            Figure(
                f"{who}: {says}",
                mean,
                "",
                "<= 0.05" if bar else "",
                mean <= 0.05 if bar else None,
                f"plain scan {theirs:.3f}",
                f"{low:.3f} to {high:.3f}",
            )
        )
    accused = clean(rows, who)
    if accused:
        hit = sum(v > 0 for v in accused.values())
        low, high = wilson(hit, len(accused))
        out.append(
            Figure(
                f"{who}: worlds without cause where one was named",
                hit / len(accused),
                "share",
                note=f"{low:.3f} to {high:.3f}, {len(accused)} worlds",
            )
        )
    two = [r for r in cases if r["truths"] > 1]
    if two:
        both, low, high, n = share(two, "both")
        out.append(
            Figure(
                f"{who}: both of two causes named",
                both,
                "share",
                peer=f"plain scan {share([r for r in with_truth(rows, PLAIN) if r['truths'] > 1], 'both')[0]:.3f}",
                note=f"{low:.3f} to {high:.3f}, {n} cases",
            )
        )
    if who == OURS:
        gain, low, high = difference(rows, "top1")
        out.append(
            Figure(
                "ours minus plain scan, top-1",
                gain,
                "share",
                "> 0",
                low > 0,
                "plain scan",
                f"{low:+.3f} to {high:+.3f}, paired over worlds",
            )
        )
    large = with_truth(rows, who, small=False)
    if large:
        top1, low, high, n = share(large, "top1")
        out.append(
            Figure(
                f"{who}: top-1, 50,000 vehicles",
                top1,
                "share",
                note=f"{low:.3f} to {high:.3f}, {n} cases, {np.median([r['seconds'] for r in large]):.1f} s each",
            )
        )
    end_to_end = [r for r in every if r.get("source") == SORTED]
    if end_to_end:
        found, low, high, n = share(with_truth(end_to_end, who), "top1")
        peer = share(with_truth(end_to_end, PLAIN), "top1")[0]
        out.append(
            Figure(
                f"{who}: top-1, symptoms as the loop sorts them",
                found,
                "share",
                peer=f"plain scan {peer:.3f}",
                note=f"{low:.3f} to {high:.3f}, {n} cases",
            )
        )
    return out + scope_and_notice(rows)


def scope_and_notice(rows: Sequence[Row]) -> list[Figure]:
    """Scope and notice, where they were asked."""
    out: list[Figure] = []
    scoped = [r for r in rows if "stated" in r and r["scope_hit"]]
    if scoped:
        per, low, high = mean_between([r["recalled_per_affected"] for r in scoped])
        out.append(
            Figure(
                "vehicles recalled per affected",
                per,
                "",
                "<= 1.2",
                per <= 1.2,
                note=f"{low:.2f} to {high:.2f}, {len(scoped)} cases named rightly",
            )
        )
        covered, low, high = mean_between([r["covered"] for r in scoped])
        stated = float(np.mean([r["stated"] for r in scoped]))
        out.append(
            Figure(
                "share of affected covered",
                covered,
                "share",
                f">= {stated:.2f} stated",
                covered >= stated,
                note=f"{low:.3f} to {high:.3f}; all covered in {np.mean([r['covered'] == 1 for r in scoped]):.2f} of cases",
            )
        )
    asked = [r for r in rows if r["method"] == "notice" and r["false_alarms"] is not None]
    if asked:
        live = [r for r in rows if r["method"] == "oracle" and r["vehicles"] <= 5000]
        days = [r["noticed_days"] for r in live if r["noticed_days"] is not None]
        if days:
            out.append(
                Figure(
                    "first failure to notice",
                    float(np.median(days)),
                    "days",
                    note=f"median; quartiles {np.quantile(days, 0.25):.0f} to {np.quantile(days, 0.75):.0f}; noticed {len(days)} of {len(live)}",
                )
            )
        quiet = [r for r in asked if r["kind"] == "clean"]
        if quiet:
            years = sum(r["years"] for r in quiet)
            out.append(
                Figure(
                    "false investigations a year, worlds without cause",
                    sum(r["false_alarms"] for r in quiet) / years,
                    "1/year",
                    note=f"{years:.0f} fleet-years",
                )
            )
    return out


def tables(every: Sequence[Row], about: str) -> str:
    """All results as Markdown."""
    rows = [r for r in every if r.get("source") != SORTED]
    who = named(rows)
    lines = [
        about,
        "",
        "| method | cases | top-1 | top-3 | named | false a world | strict | clean worlds accused | both of two | s a case |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for m in who:
        cases = with_truth(rows, m)
        mine = [r for r in rows if r["method"] == m and r["vehicles"] <= 5000]
        false, strict = (float(np.mean(each_world(rows, m, k))) for k in ("false", "false_strict"))
        accused = clean(rows, m)
        bad = f"{sum(v > 0 for v in accused.values())} of {len(accused)}" if accused else ""
        note = " (no test)" if m in NO_TEST else ""
        lines.append(
            f"| {m}{note} | {len(cases)} | {_told(share(cases, 'top1'))} | {_told(share(cases, 'top3'))} | {_told(share(cases, 'named'))} | {false:.2f} | {strict:.2f} | {bad} | {_told(share([r for r in cases if r['truths'] > 1], 'both'))} | {np.median([r['seconds'] for r in mine]):.2f} |"
        )
    lines += ["", "Top-1 by kind; the oracle knows the truth and chooses by likelihood among its alikes.", ""]
    lines += _split(
        rows, who, "kind", sorted({r["kind"] for r in rows if r.get("truths")}), lambda r: str(r["kind"])
    )
    lines += ["", "Top-1 by the number of cars the cause has made fail.", ""]
    lines += _split(rows, who, "failures", [bin_of(b[0]) for b in BINS], lambda r: bin_of(r["failed"]))
    failed = [r for r in rows if r["method"] == "failed"]
    if failed:
        lines += [
            "",
            f"{len(failed)} worlds could not be made or asked: "
            + "; ".join(sorted({r["why"] for r in failed}))[:500],
        ]
    return "\n".join(lines) + "\n"


def _split(
    rows: Sequence[Row],
    who: Sequence[str],
    head: str,
    parts: Sequence[str],
    part: Callable[[Row], str],
) -> list[str]:
    """Top-1 of every method by some part of the cases."""
    lines = [f"| {head} | cases | {' | '.join(who)} | oracle |", "|---|---:|" + "---:|" * (len(who) + 1)]
    for p in parts:
        each = [[r for r in with_truth(rows, m) if part(r) == p] for m in who]
        bound = [
            r["right"] for r in rows if r["method"] == "oracle" and r["vehicles"] <= 5000 and part(r) == p
        ]
        if not bound:
            continue
        lines.append(
            f"| {p} | {len(each[0])} | {' | '.join(_told(share(e, 'top1')) for e in each)} | {np.mean(bound):.2f} |"
        )
    return lines


def _told(x: tuple[float, float, float, int]) -> str:
    return f"{x[0]:.2f} ({x[1]:.2f}-{x[2]:.2f})" if x[3] else ""
