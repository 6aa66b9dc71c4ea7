"""What the tests run in processes of their own, to be killed or to meet each other; light, so that it starts at once."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from postgres import PASSWORD
from small import facts

from unibody.backbone import Backbone
from unibody.backbone.act import Acted, act
from unibody.errors import RefusedError
from unibody.ledger import Ledger
from unibody.settings import Route, Settings
from unibody.tables import Decision

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def settings(folder: Path, *act: dict[str, Any], **stated: Any) -> Settings:
    """Settings of a home whose approved decisions go where `act` says."""
    own = {n: folder / n for n in ("home", "dialects", "usecases", "solutions", "writers")}
    return Settings(**{**own, "act": [Route.model_validate(a) for a in act], **stated})


def propose(backbone: Backbone, ids: list[str], revision: int = 1, **said: Any) -> None:
    """Decisions as a run proposes them."""
    row = {
        "usecase": "pump_life",
        "subject": "pump 1",
        "action": "plan a stop",
        "reason": "worn",
        "evidence": "[]",
        "score": 1.0,
        "risk": "high",
    }
    rows = [
        {"decided_at": NOW, "revision": revision, **row, **said, "decision_id": i, "known_at": NOW}
        for i in ids
    ]
    app = f"made:{ids[0]}:{len(ids)}:{revision}"
    assert backbone.lake.append(
        Decision, facts(Decision, rows), "usecase:pump_life", "made", NOW, len(rows), app=app
    )
    backbone.ledger.propose(dict.fromkeys(ids, revision), "usecase pump_life")


def approve(backbone: Backbone, *ids: str) -> None:
    for i in ids:
        backbone.move(i, "approved", "anna", "seen it")


def alone(backbone: Backbone, lease_seconds: float = 90.0) -> Acted:
    """`act` where no use case notifies anybody: it need not load them."""
    return act(backbone.lake, backbone.ledger, backbone.settings, dict, lease_seconds=lease_seconds)


def acting(folder: Path, url: str, ledger: str, kill_at: int = 0, lease_seconds: float = 90.0) -> None:
    """`act` in a process of its own; with `kill_at`, SIGKILL to itself at that step (before or after a call)."""
    os.environ["PGPASSWORD"] = PASSWORD
    backbone = Backbone(settings(folder, {"writer": "webhook", "to": url}, ledger=ledger))
    if kill_at:
        from unibody.dialects.writers import webhook
        from unibody.ledger import outbox

        steps = iter(range(1, 10_000))

        def step() -> None:
            if next(steps) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        def watched(call: Any, *args: Any, **named: Any) -> Any:
            step()
            done = call(*args, **named)
            step()
            return done

        # each call begins or ends a step: a transaction, what is within it, or the message itself
        for place, names in (
            (Ledger, ("send", "claim", "delivered")),
            (outbox, ("put", "succeeded")),
            (webhook, ("send",)),
        ):
            for name in names:
                call = getattr(place, name)
                setattr(place, name, (lambda c: lambda *a, **n: watched(c, *a, **n))(call))
    alone(backbone, lease_seconds)


def mover(url: str, folder: Path, name: str) -> None:
    """Approve what the other has not."""
    os.environ["PGPASSWORD"] = PASSWORD
    ledger = Ledger(url)
    won = []
    for i in range(20):
        try:
            ledger.move(f"d{i}", "approved", name, "")
            won.append(i)
        except RefusedError:
            pass
    (folder / name).write_text(str(len(won)))


def proposer(url: str) -> None:
    os.environ["PGPASSWORD"] = PASSWORD
    Ledger(url).propose({f"d{i}": 1 for i in range(200)}, "case")


def settler(url: str, number: int) -> None:
    os.environ["PGPASSWORD"] = PASSWORD
    ledger = Ledger(url)
    while (claimed := ledger.claim()) is not None:
        ledger.delivered(claimed.id, claimed.decision_id, True, {"by": number})
