"""What pages show: the backbone's answers filtered, counted and thinned for a screen, and kept for a few seconds.

Faces compute nothing; a page or a REST route asks here. Lake reads run on one thread of their own: a busy site opens
no connection to DuckDB for each request, and empty tables, which ibis keeps on one connection for all threads
(memtable), are not asked for by two at once. What only reads the model registry has another thread.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from unibody import engine
from unibody.backbone.series import series as series
from unibody.tables import TABLES, MachineReading
from unibody.tables.decision import Decision

if TYPE_CHECKING:
    from unibody.backbone import Backbone

A = TypeVar("A")
STATES = ("proposed", "approved", "dismissed", "sent", "confirmed", "reverted")


class Reader:
    """Reads a backbone for pages: the same question within `seconds` is answered once."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._lake = ThreadPoolExecutor(1, thread_name_prefix="lake-reader")
        self._registry = ThreadPoolExecutor(1, thread_name_prefix="registry-reader")
        self._kept: dict[tuple[Any, ...], tuple[float, Any]] = {}
        self._lock = Lock()

    def get(self, ask: Callable[..., A], *args: Any, seconds: float = 3.0) -> A:
        """`ask(backbone, *args)`, at most `seconds` old."""
        key = (ask.__name__, *args)
        with self._lock:
            at, future = self._kept.get(key, (0.0, None))
            if future is None or time.monotonic() - at > seconds or (future.done() and future.exception()):
                if len(self._kept) > 500:
                    self._kept.clear()
                thread = self._registry if ask is versions else self._lake
                future = thread.submit(ask, self.backbone, *args)
                self._kept[key] = (time.monotonic(), future)
        result: A = future.result()
        return result

    def forget(self) -> None:
        """Something was changed: what is kept is old."""
        with self._lock:
            self._kept.clear()

    def close(self) -> None:
        """Let the threads go."""
        for thread in (self._lake, self._registry):
            thread.shutdown(wait=False, cancel_futures=True)


# ---- decisions


#: The action of the decision that opens a case of the loop.
OPENS = "accept the cause"


def decisions(backbone: Backbone) -> list[dict[str, Any]]:
    """All decisions, most urgent first, each with the unit of its value and what a click would do."""
    found = backbone.decisions()
    for row in found:
        case = backbone.usecases.get(row["usecase"])
        row["unit"] = case.unit if case else ""
        row["question"] = case.question if case else ""
    return found


def matching(
    rows: Sequence[dict[str, Any]], usecase: str = "", state: str = "", risk: str = "", q: str = ""
) -> list[dict[str, Any]]:
    """Decisions that pass all filters; an empty filter lets everything through."""
    words = q.lower().split()

    def passes(row: dict[str, Any]) -> bool:
        if (
            (usecase and row["usecase"] != usecase)
            or (state and row["state"] != state)
            or (risk and row["risk"] != risk)
        ):
            return False
        text = (
            f"{row['subject']} {row['action']} {row['reason']} {row['usecase']} {row['decision_id']}".lower()
        )
        return all(w in text for w in words)

    found = [row for row in rows if passes(row)]
    # where words were asked for, those that name the subject come first
    return (
        sorted(found, key=lambda row: not all(w in row["subject"].lower() for w in words)) if words else found
    )


def decision(backbone: Backbone, decision_id: str) -> dict[str, Any]:
    """One decision with revisions and history; SetupError where there is none."""
    found = backbone.decision(decision_id)
    case = backbone.usecases.get(found["usecase"])
    found["unit"] = case.unit if case else ""
    found["question"] = case.question if case else ""
    found["kind"] = str(case.kind) if case else ""
    return found


# ---- use cases


def usecases(backbone: Backbone) -> list[dict[str, Any]]:
    """Every question with its state, last score and number of decisions."""
    runs = backbone.ledger.last_runs()
    rows = backbone.decisions()
    counts = Counter(d["usecase"] for d in rows)
    waiting = Counter(d["usecase"] for d in rows if d["state"] == "proposed")
    models = {d["usecase"]: d["model"] for d in rows if d["model"]}
    found = []
    for case in backbone.usecases.values():
        judgement, last = backbone.judged(case.name), runs.get(case.name)
        error = last["error"] if last else None
        running = last is not None and last["ended_at"] is None
        state = (
            "failed"
            if error
            else "running"
            if running
            else "live"
            if case.name in models
            else "judged"
            if judgement
            else "not judged"
        )
        found.append({
            "usecase": case.name, "room": case.room, "question": case.question, "owner": case.owner, "kind": str(case.kind),
            "solution": case.solution, "data": case.data, "when": case.when, "tags": list(case.tags), "unit": case.unit,
            "truth": case.truth, "split": str(case.split) if case.split else None, "risk": case.risk, "path": case.path,
            "state": state, "error": error, "model": models.get(case.name), "last_run": last["began_at"] if last else None,
            "score": judgement.plain() if judgement else None,
            "judged_at": _changed(judgement.folder / "judgement.json") if judgement else None,
            "decisions": counts[case.name], "waiting": waiting[case.name],
        })  # fmt: skip
    return found


def usecase(backbone: Backbone, name: str) -> dict[str, Any]:
    """One use case with its text as written; SetupError where there is none."""
    case = backbone.usecase(name)
    found = next(row for row in usecases(backbone) if row["usecase"] == name)
    try:
        text = Path(case.path).read_text(encoding="utf-8", errors="replace")[:20_000]
    except OSError:
        text = ""
    return found | {"text": text}


def versions(backbone: Backbone, name: str) -> list[dict[str, Any]]:
    """Kept model versions of a use case, newest first. Heavy to import: call it away from a page's first answer."""
    if not (backbone.settings.models / "registry.sqlite").is_file():
        return []
    from unibody.models import Models

    registry = Models(backbone.settings.models)
    live = registry.live(name)
    return [
        {
            "version": k.version,
            "live": live is not None and k.version == live.version,
            "learned_at": _changed(k.folder),
            "beats": k.tags.get("beats", ""),
            "gain_over_live": k.tags.get("gain_over_live", ""),
            "made_live": k.tags.get("made_live", ""),
            "metrics": dict(k.metrics),
        }
        for k in registry.versions(name)
    ]


def _changed(path: Path) -> str | None:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except OSError:
        return None


# ---- data


def status(backbone: Backbone) -> dict[str, Any]:
    """Tables, sources by system and waiting quarantine, in numbers."""
    return backbone.status()


def sources(backbone: Backbone) -> list[dict[str, Any]]:
    """Each source as last seen, newest first."""
    return backbone.sources()


def quarantine(backbone: Backbone, limit: int = 200) -> tuple[list[dict[str, Any]], int]:
    """Waiting quarantine entries, newest first, and how many there are."""
    return backbone.quarantine(limit)


def lineage(backbone: Backbone, source: str, record: int | None = None) -> dict[str, Any]:
    """What a source, or one of its records, became."""
    return backbone.lineage(source, record)


def table(backbone: Backbone, title: str) -> dict[str, Any]:
    """One table as declared: columns with type, unit, meaning, sensitivity. SetupError where there is none."""
    from unibody.lake import named

    t = named(title)
    return {
        "table": title,
        "about": (t.__doc__ or "").split("\n")[0],
        "key": list(t.key),
        "at": t.at,
        "usage_in": t.usage_in,
        "version": t.version,
        "columns": [
            {
                "column": n, "type": str(c.dtype).split("(")[0], "unit": c.unit, "meaning": c.meaning,
                "sensitivity": c.sensitivity, "required": c.required, "allowed": c.allowed(),
            }
            for n, c in t.columns.items()
        ],
    }  # fmt: skip


def tables(backbone: Backbone) -> list[dict[str, Any]]:
    """Every canonical table as declared."""
    return [table(backbone, title) for title in TABLES]


def first_rows(backbone: Backbone, title: str, limit: int = 20) -> list[dict[str, Any]]:
    """The first rows of a table as known now, each with its source and record."""
    return backbone.show(title, limit).to_dicts()


def machines(backbone: Backbone, q: str, limit: int = 8) -> list[str]:
    """Machines whose name has these words."""
    if backbone.lake.version(MachineReading) < 0:
        return []
    rows = backbone.lake.stored(MachineReading)
    for word in q.lower().split()[:5]:
        rows = rows.filter(rows["machine"].lower().contains(word))
    names = rows.select("machine").distinct().order_by("machine").limit(limit)
    return [str(name) for name in engine.frame(names)["machine"]]


def search(backbone: Backbone, q: str) -> dict[str, list[dict[str, str]]]:
    """Decisions, use cases, machines, tables and sources that have these words, a few of each."""
    words = q.lower().split()[:8]
    if not words:
        return {}

    def has(text: str) -> bool:
        return all(w in text.lower() for w in words)

    cases = [c for c in backbone.usecases.values() if has(f"{c.name} {c.question} {c.owner}")]
    columns = {t.title(): f"{t.title()} {t.__doc__ or ''} {' '.join(t.columns)}" for t in TABLES.values()}
    files = {
        s["source_id"]: s for s in backbone.sources() if has(f"{s['path']} {s['system']} {s['source_id']}")
    }
    found = {
        "decisions": [
            {"name": d["decision_id"], "text": d["reason"]} for d in matching(backbone.decisions(), q=q)[:8]
        ],
        "usecases": [{"name": c.name, "text": c.question} for c in cases[:8]],
        "machines": [{"name": m, "text": m} for m in machines(backbone, q)],
        "tables": [{"name": t, "text": t} for t, text in columns.items() if has(text)][:8],
        "sources": [{"name": i, "text": Path(s["path"]).name} for i, s in list(files.items())[:8]],
    }
    return {kind: hits for kind, hits in found.items() if hits}


# ---- home


def overview(backbone: Backbone) -> dict[str, Any]:
    """How the backbone does: counts along the strip, what came in, what waits, what was learnt, what failed."""
    state, rows, cases = backbone.status(), decisions(backbone), usecases(backbone)
    own = {
        title: n
        for title, n in state["tables"].items()
        if not title.startswith("_") and title != Decision.title()
    }
    by_state = Counter(d["state"] for d in rows)
    judged = sorted((c for c in cases if c["score"]), key=lambda c: str(c["judged_at"]), reverse=True)
    return {
        "systems": [{"system": name} | numbers for name, numbers in sorted(state["sources"].items(), key=lambda kv: kv[1]["seen_at"], reverse=True)],
        "files": sum(s["files"] for s in state["sources"].values()),
        "records": sum(s["records"] for s in state["sources"].values()),
        "quarantined": state["quarantined"],
        "tables": len(own),
        "rows": sum(t["rows"] for t in own.values()),
        "usecases": len(cases),
        "judged": len(judged),
        "beats": sum(bool(c["score"]["beats"]) for c in judged),
        "decisions": len(rows),
        "by_state": {s: by_state[s] for s in STATES},
        "waiting": [d for d in rows if d["state"] == "proposed"][:5],
        "learnt": judged[:6],
        "failed": [c for c in cases if c["state"] == "failed"],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def decided_by(backbone: Backbone) -> list[str]:
    """The use cases whose models made decisions."""
    return sorted({d["usecase"] for d in backbone.decisions() if d["model"]})


def gone_live(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of each use case's kept versions, those that went live, newest first."""
    live = [{"usecase": n} | v for n, kept in found.items() for v in kept[:3] if v["made_live"] == "True"]
    return sorted(live, key=lambda v: str(v["learned_at"]), reverse=True)[:6]
