"""The cases of the loop: go round once, and give each case with the decisions that belong to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from unibody import catalog, engine
from unibody.backbone import act as acting
from unibody.backbone import run as running
from unibody.backbone import watched
from unibody.errors import RefusedError, SetupError
from unibody.tables import Outcome

if TYPE_CHECKING:
    from unibody.backbone import Backbone
    from unibody.ledger import State

Progress = Callable[[str, int, int], None]
LOOP = watched.LOOP
SHOWN = (
    "decision_id",
    "subject",
    "action",
    "reason",
    "state",
    "sent",
    "worth_eur",
    "sure",
    "risk",
    "revision",
)
#: What of a case a person opens, beside SHOWN.
DETAIL = ("bundle", "usecase", "label", "by", "note", "state_at", "evidence_changed", "decided_at", "model")
APPROVED = ("approved", "sent", "confirmed")
PROOF = {"cure_effect": "reduction", "cure_effect_low": "low", "cure_effect_high": "high"}  # loop/prove.py


def trace(
    backbone: Backbone, since: datetime | None = None, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Run every use case of the loop, then `cases`. Truth is not needed: where there is some, they are judged too."""
    ours = [c for c in backbone.usecases.values() if c.solution == LOOP]
    if not ours:
        raise SetupError(f"no use case asks the solution {LOOP!r}; ours is usecases/loop/field_causes.toml")
    for case in ours:
        asked = (
            case if case.truth is None or backbone.has_truth(case) else replace(case, truth=None, split=None)
        )
        running.run(
            asked, catalog.solution(case.solution, backbone.settings.solutions), backbone.lake, backbone.ledger,
            backbone.settings.home, backbone.settings.collect_rows_max, progress=progress,
        )  # fmt: skip
    watched.keep_looking(backbone, progress)
    return cases(backbone, since)


def cases(backbone: Backbone, since: datetime | None = None) -> list[dict[str, Any]]:
    """The cases as last found, newest signal first: {"symptom", "since", "cause", "effect", ..., "decisions"}.

    `since` leaves out what was seen before. Nothing is computed; a case that a later run no longer finds stays as it
    was last said.
    """
    found = []
    for head, together in _cases(backbone):
        if since is not None and datetime.fromisoformat(head["since"]) < since:
            continue
        found.append({**head, "decisions": [{k: m[k] for k in SHOWN} for m in together]})
    return found


def _cases(backbone: Backbone) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each case's head with its decisions, the one that accepts the cause first."""
    asked = {c.name for c in backbone.usecases.values() if c.solution == LOOP}
    mine = [d for d in backbone.decisions() if d["usecase"] in asked and d["bundle"]]
    found = []
    for d in mine:
        head = next((e for e in d["evidence"] if isinstance(e, dict) and "verdict" in e), None)
        if head is not None:
            # a second cause of the same failures has a bundle of its own, and belongs to the case all the same
            bundles = {d["bundle"], *(m["bundle"] for m in mine if _of(m, d["usecase"], head))}
            together = [m for m in mine if m["bundle"] in bundles]
            found.append((head, sorted(together, key=lambda m: m is not d)))
    return sorted(found, key=lambda c: (str(c[0]["since"]), str(c[0]["symptom"])), reverse=True)


def _of(decision: Mapping[str, Any], usecase: str, head: Mapping[str, Any]) -> bool:
    """Does a proposal speak of one of the head's causes?"""
    about = next((e for e in decision["evidence"] if isinstance(e, dict) and "cause" in e), {})
    same = about.get("symptom") == head["symptom"] and about.get("brand") == (head["brand"] or "all brands")
    return same and decision["usecase"] == usecase and about.get("cause") in head["cause"]


def case(backbone: Backbone, bundle: str) -> dict[str, Any]:
    """One case with all that a person needs to decide: `proof`, and of each decision what goes out, to whom, and back.

    Raises SetupError where there is none.
    """
    for head, together in _cases(backbone):
        if bundle in {head["bundle"], *(m["bundle"] for m in together)}:
            made = [_detail(backbone, m) for m in together]
            return {**head, "decisions": made, "proof": _proof(backbone, {m["bundle"] for m in together})}
    raise SetupError(f"no case {bundle!r}; `unibody trace` looks for cases and lists them")


def _detail(backbone: Backbone, decision: dict[str, Any]) -> dict[str, Any]:
    pieces = [e for e in decision["evidence"] if isinstance(e, dict)]
    told: dict[str, Any] = next((e for e in pieces if isinstance(e.get("message"), dict)), {})
    about: dict[str, Any] = next((e for e in pieces if "worth" in e), {})
    usecase = backbone.usecases.get(decision["usecase"])
    try:
        to = [
            f"{r.writer}: {r.to}"
            for r in acting.routes(backbone.settings, usecase, decision["usecase"], decision["action"])
        ]
    except SetupError as e:
        to = [str(e)]
    return {k: decision[k] for k in (*SHOWN, *DETAIL)} | {
        "message": told.get("message"), "counter": told.get("counter"), "formula": about.get("worth", ""), "to": to,
    }  # fmt: skip


def _proof(backbone: Backbone, bundles: set[str]) -> dict[str, Any] | None:
    """The last proof of the cure, where there is one: {"reduction", "low", "high", "label", "acted_at", "as_of"}."""
    if backbone.lake.version(Outcome) < 0:
        return None
    rows = backbone.lake.rows(Outcome)
    rows = rows.filter(rows["truth"].isin(list(PROOF)) & rows["subject"].isin(sorted(bundles)))
    rows = rows.select("truth", "subject", "happened_at", "ended_at", "value", "label").limit(1000)
    found = engine.frame(rows).sort("ended_at", "happened_at", "subject", nulls_last=False)
    if not found.height:
        return None
    last = found.row(-1, named=True)
    same = found.filter((found["subject"] == last["subject"]) & (found["happened_at"] == last["happened_at"]))
    values = {PROOF[truth]: value for truth, value in same.select("truth", "value").iter_rows()}
    return dict.fromkeys(PROOF.values()) | values | {
        "label": last["label"], "acted_at": last["happened_at"], "as_of": last["ended_at"],
    }  # fmt: skip


def move(backbone: Backbone, seen: Mapping[str, int], state: str, by: str, note: str) -> list[State]:
    """Move decisions of a case together, all or none, as the person saw them: decision id -> revision.

    Raises RefusedError where one of them says something else by now or cannot take the step, SetupError where one is
    unknown.
    """
    now = {d["decision_id"]: d["revision"] for d in backbone.decisions()}
    changed = [i for i, revision in seen.items() if now.get(i, revision) != revision]
    if changed:
        raise RefusedError(
            f"{len(changed)} of {len(seen)} proposals changed since this was shown: new evidence; look again, then decide"
        )
    return backbone.ledger.move_all(list(seen), state, by, note)
