"""The backbone: ingest · run · judge · act, over one home. Every face calls these functions and computes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

import unibody
from unibody import catalog, engine
from unibody.backbone import act as acting
from unibody.backbone import ingest as ingesting
from unibody.backbone import judge as judging
from unibody.backbone import replay as replaying
from unibody.backbone import run as running
from unibody.backbone.ingest import Tally
from unibody.dialects import dialect as dialects
from unibody.dialects.dialect import Dialect
from unibody.dialects.readers import Limits
from unibody.errors import RefusedError, SetupError, nearest
from unibody.lake import Lake, Quarantined, Source, named
from unibody.ledger import NEXT, Ledger, State
from unibody.settings import Settings
from unibody.solution import UseCase
from unibody.tables import Decision, MachineReading

Progress = Callable[[str, int, int], None]
_OURS = Path(unibody.__file__).parent


@dataclass(frozen=True)
class Backbone:
    """One home with its lake, ledger, dialects and use cases."""

    settings: Settings

    @cached_property
    def lake(self) -> Lake:
        """The facts."""
        return Lake(self.settings.lake)

    @cached_property
    def ledger(self) -> Ledger:
        """What was done."""
        return Ledger(self.settings.ledger_url)

    @cached_property
    def dialects(self) -> dict[str, Dialect]:
        """All dialects: ours, then the user's folder, which may replace one of ours."""
        return dialects.find([_OURS / "dialects", *catalog.folders("dialects"), self.settings.dialects])

    @cached_property
    def usecases(self) -> dict[str, UseCase]:
        """All use cases: ours, then the user's folder."""
        folders = [_OURS / "usecases", *catalog.folders("usecases"), self.settings.usecases]
        return catalog.use_cases(folders, self.settings.solutions)

    def usecase(self, name: str) -> UseCase:
        """One use case; SetupError says what there is."""
        if name not in self.usecases:
            raise SetupError(f"no use case {name!r}; {nearest(name, self.usecases)}")
        return self.usecases[name]

    # ---- data in

    def ingest(self, paths: list[Path], only: str | None = None, progress: Progress | None = None) -> Tally:
        """Bring raw files in; see backbone/ingest.py."""
        return ingesting.ingest(paths, self.lake, self.dialects, self.limits, only=only, progress=progress)

    def replay(self) -> Tally:
        """Map quarantined records again with the dialects as they are now."""
        return replaying.replay(self.lake, self.dialects, self.limits)

    @property
    def limits(self) -> Limits:
        """How large, packed and finished a file may be."""
        s = self.settings
        return Limits(s.batch_rows, s.file_bytes_max, s.unpack_ratio_max, s.quiet_seconds)

    def status(self) -> dict[str, Any]:
        """Tables, sources and quarantine in numbers."""
        sources = self.sources()
        by_system: dict[str, dict[str, Any]] = {}
        for s in sources:
            at = by_system.setdefault(
                s["system"], {"files": 0, "records": 0, "landed": 0, "quarantined": 0, "seen_at": ""}
            )
            at["files"] += 1
            for count in ("records", "landed", "quarantined"):
                at[count] += s[count] or 0
            at["seen_at"] = max(at["seen_at"], str(s["seen_at"]))
        return {"tables": self.lake.status(), "sources": by_system, "quarantined": self.quarantine(0)[1]}

    def sources(self) -> list[dict[str, Any]]:
        """Each source as last seen, newest first."""
        found = engine.frame(self.lake.rows(Source).select(*Source.columns))
        return (
            found.sort("seen_at", descending=True)
            .unique("source_id", keep="first", maintain_order=True)
            .to_dicts()
        )

    def quarantine(self, limit: int = 200) -> tuple[list[dict[str, Any]], int]:
        """Waiting quarantine entries, newest first, and how many there are."""
        waiting = self.lake.rows(Quarantined)
        waiting = waiting.filter(waiting["state"] == "waiting").select(*Quarantined.columns)
        count = int(engine.frame(waiting.aggregate(n=waiting.count())).item())
        newest = [waiting["found_at"].desc(), waiting["from_source"], waiting["from_record"]]
        return engine.frame(waiting.order_by(newest).limit(limit)).to_dicts(), count

    def lineage(self, source: str, record: int | None = None) -> dict[str, Any]:
        """Where rows came from: one source, the rows (of one record, or counts) it became, its quarantine."""
        from unibody.tables import TABLES

        about = [s for s in self.sources() if s["source_id"] == source]
        if not about:
            raise SetupError(
                f"no source {source!r}; `unibody lake status` lists systems, `lake show _sources` sources"
            )
        rows: dict[str, Any] = {}
        for title, table in TABLES.items():
            if self.lake.version(table) < 0:
                continue
            stored = self.lake.stored(table)
            mine = stored.filter(stored["source"] == source)
            if record is None:
                count = int(engine.frame(mine.aggregate(n=mine.count())).item())
                rows |= {title: count} if count else {}
            else:
                found = engine.frame(mine.filter(mine["record"] == record).limit(1000)).to_dicts()
                rows |= {title: found} if found else {}
        return {"source": about[0], "record": record, "rows": rows}

    def show(self, title: str, limit: int = 20, as_of: datetime | None = None) -> pl.DataFrame:
        """The first rows of a table as known now or at `as_of`, with where each came from."""
        table = named(title)
        found = engine.frame(self.lake.rows(table, as_of).limit(limit))
        return found

    # ---- decisions out

    def run(self, name: str, as_of: datetime | None = None, progress: Progress | None = None) -> running.Ran:
        """Judge, learn, decide, propose; see backbone/run.py."""
        case = self.usecase(name)
        module = catalog.solution(case.solution, self.settings.solutions)
        return running.run(
            case, module, self.lake, self.ledger, self.settings.home, self.settings.collect_rows_max,
            as_of=as_of, progress=progress,
        )  # fmt: skip

    def judge(self, name: str, progress: Progress | None = None) -> judging.Judgement:
        """Score a use case against its truth; see backbone/judge.py."""
        case = self.usecase(name)
        module = catalog.solution(case.solution, self.settings.solutions)
        return judging.judge(
            case, module, self.lake, self.ledger, self.settings.home, self.settings.collect_rows_max, progress
        )

    def judged(self, name: str) -> judging.Judgement | None:
        """The last judgement, without computing anything."""
        return judging.judged(self.usecase(name), self.settings.home)

    def has_truth(self, case: UseCase) -> bool:
        """Is there anything in the lake to judge this use case by?"""
        try:
            return case.truth is not None and not judging_truth(self.lake, case).is_empty()
        except SetupError:
            return False

    def decisions(self) -> list[dict[str, Any]]:
        """Each decision's last revision with its state, most urgent first."""
        states = self.ledger.states()
        found = []
        for row in running.latest(self.lake).to_dicts():
            state = states.get(row["decision_id"])
            if state is None:
                continue  # appended, and killed before it was proposed: the next run proposes it
            row |= {"state": state.state, "state_at": state.at, "by": state.by, "note": state.note}
            row["evidence_changed"] = (
                state.state not in ("proposed", "dismissed") and state.revision < row["revision"]
            )
            row["evidence"] = json.loads(row["evidence"])
            row["sent"] = "approved, not sent" if state.state == "approved" else state.state
            found.append(row)
        order = {"proposed": 0, "approved": 1}
        return sorted(
            found,
            key=lambda r: (
                order.get(r["state"], 2),
                -(r["worth_eur"] or 0),
                -(r["score"] or 0),
                r["decision_id"],
            ),
        )

    def decision(self, decision_id: str) -> dict[str, Any]:
        """One decision with all its revisions and its history; SetupError where there is none."""
        found = next((d for d in self.decisions() if d["decision_id"] == decision_id), None)
        if found is None:
            raise SetupError(f"no decision {decision_id!r}; `unibody decisions` lists them")
        expr = self.lake.stored(Decision)
        mine = expr.filter(expr["decision_id"] == decision_id).select(*Decision.columns)
        revisions = engine.frame(mine).sort("revision")
        return found | {
            "revisions": revisions.to_dicts(),
            "history": [vars(s) for s in self.ledger.history(decision_id)],
            "messages": self.ledger.outbox(decision_id=decision_id),
        }

    def move(self, decision_id: str, state: str, by: str, note: str) -> State:
        """Approve, dismiss or revert a decision."""
        return self.ledger.move(decision_id, state, by, note)

    def move_bundle(self, bundle: str, state: str, by: str, note: str) -> list[State]:
        """Move the decisions of a bundle together, all or none: those that can take this step now."""
        found = running.latest(self.lake).filter(pl.col("bundle") == bundle)["decision_id"].to_list()
        if not found:
            raise SetupError(f"no bundle {bundle!r}; `unibody decisions --json` shows each decision's")
        states = self.ledger.states(found)
        can = [i for i in found if i in states and state in NEXT[states[i].state]]
        if not can:
            where = ", ".join(sorted({s.state for s in states.values()}))
            raise RefusedError(f"bundle {bundle}: none of its decisions can become {state}: {where}")
        return self.ledger.move_all(can, state, by, note)

    def act(self, seconds_max: float = 30.0) -> acting.Acted:
        """Send what was approved, deliver what waits; see backbone/act.py."""
        return acting.act(self.lake, self.ledger, self.settings, lambda: self.usecases, seconds_max)

    def series(self, machine: str, signals: list[str] | None = None) -> pl.DataFrame:
        """Readings of one machine, for a plot: signal, read_at, usage, value."""
        rows = self.lake.rows(MachineReading)
        rows = rows.filter((rows["machine"] == machine) & rows["value"].notnull())
        if signals:
            rows = rows.filter(rows["signal"].isin(signals))
        rows = rows.select("signal", "read_at", "usage", "value").order_by(["signal", "read_at"])
        found = engine.frame(rows.limit(500_000))
        return found


def judging_truth(lake: Lake, case: UseCase) -> pl.DataFrame:
    """The truth of a use case; SetupError where there is none."""
    from unibody.backbone.questions import truth_of

    return truth_of(lake, case)
