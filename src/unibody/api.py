"""REST under /api/v1: the same public functions as the command line and the pages, with OpenAPI at /api/openapi.json.

Every error is {"error": {"where", "what"}}; a number that is not one (NaN) is null.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request
from fastapi import Path as InPath
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from unibody.backbone import investigate as investigating
from unibody.backbone import pages, tracing
from unibody.backbone.pages import Reader
from unibody.errors import RefusedError, SetupError, StoreError, UnibodyError

Name = Annotated[str, InPath(min_length=1, max_length=200)]
DecisionId = Annotated[str, InPath(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Limit = Annotated[int, Query(ge=1, le=500)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Filter = Annotated[str, Query(max_length=200)]
Text = Annotated[str, Query(max_length=2000)]
Asks = Annotated[str, Query(min_length=1, max_length=2000, description="a column, or a condition")]
Kind = Literal["", "proposed", "approved", "dismissed", "sent", "confirmed", "reverted"]

#: What a click means, and the state it leads to.
MOVES = {"approve": "approved", "dismiss": "dismissed", "revert": "reverted"}


class Fault(BaseModel):
    """Where it went wrong, and what."""

    where: str
    what: str


class ErrorBody(BaseModel):
    """Any error."""

    error: Fault


class Note(BaseModel):
    """Why; kept with the decision."""

    model_config = ConfigDict(extra="forbid")
    note: str = Field("", max_length=2000, description="needed to dismiss or revert")


class Moved(BaseModel):
    """Where a decision stands now."""

    decision_id: str
    step: int
    revision: int
    state: str
    at: str
    by: str
    note: str
    sent: str = Field(description="'approved, not sent' while no writer is configured")


class Page(BaseModel):
    """Some of many."""

    total: int
    offset: int
    items: list[dict[str, Any]]


class Signal(BaseModel):
    """One signal of a machine, thinned for a plot."""

    signal: str
    clock: Literal["usage", "time"]
    x: list[float | str]
    y: list[float | None]
    count: int
    normal_low: float | None
    normal_high: float | None
    moved: str
    last: float | None
    last_at: str
    last_usage: float | None


def finite(body: Any) -> Any:
    """JSON has no NaN: too few units to say becomes null.

    >>> finite({"ours": float("nan"), "low": [1.0, float("inf")]})
    {'ours': None, 'low': [1.0, None]}
    """
    if isinstance(body, float):
        return body if body == body and abs(body) != float("inf") else None
    if isinstance(body, dict):
        return {k: finite(v) for k, v in body.items()}
    if isinstance(body, (list, tuple)):
        return [finite(v) for v in body]
    return body


def _json(body: Any) -> JSONResponse:
    return JSONResponse(jsonable_encoder(finite(body), custom_encoder={datetime: lambda t: t.isoformat()}))


def needs_note(move: str, note: str) -> str | None:
    """Why this move cannot go without a note, or None."""
    if move != "approve" and not note.strip():
        return f"say why you {move} it: the note is kept with the decision"
    return None


def routes(reader: Reader, by: str) -> APIRouter:
    """All routes, reading through `reader` and acting as `by`."""
    faults: dict[int | str, dict[str, Any]] = {
        n: {"model": ErrorBody} for n in (400, 401, 403, 404, 409, 422, 503)
    }
    router = APIRouter(prefix="/api/v1", responses=faults)

    @router.get("/status", tags=["data"])
    def status() -> Any:
        """Tables, sources by system and waiting quarantine, in numbers."""
        return _json(reader.get(pages.status))

    @router.get("/tables", tags=["data"])
    def tables() -> Any:
        """Every canonical table with its columns, units and meaning."""
        return _json(reader.get(pages.tables))

    @router.get("/tables/{title}", tags=["data"])
    def table(title: Name) -> Any:
        """One table as declared."""
        return _json(reader.get(pages.table, title))

    @router.get("/tables/{title}/rows", tags=["data"])
    def rows(title: Name, limit: Limit = 20) -> Any:
        """The first rows of a table, with where each came from."""
        return _json(reader.get(pages.first_rows, title, limit))

    @router.get("/sources", tags=["data"], response_model=Page)
    def sources(limit: Limit = 100, offset: Offset = 0) -> Any:
        """Each source as last seen, newest first."""
        found = reader.get(pages.sources)
        return _json({"total": len(found), "offset": offset, "items": found[offset : offset + limit]})

    @router.get("/quarantine", tags=["data"], response_model=Page)
    def quarantine(limit: Limit = 100) -> Any:
        """Records that could not land: where, what is wrong, what would have been right."""
        entries, count = reader.get(pages.quarantine, limit)
        return _json({"total": count, "offset": 0, "items": entries})

    @router.get("/lineage/{source}", tags=["data"])
    def lineage(source: Name, record: Annotated[int | None, Query(ge=-1, le=2**53)] = None) -> Any:
        """What a source, or one of its records, became."""
        return _json(reader.get(pages.lineage, source, record))

    @router.get("/machines/{machine:path}/series", tags=["data"], response_model=list[Signal])
    def series(
        machine: Name,
        signal: Annotated[list[Annotated[str, Field(max_length=200)]] | None, Query(max_length=50)] = None,
        points: Annotated[int, Query(ge=10, le=5000)] = 400,
    ) -> Any:
        """Signals of a machine, thinned to about `points` each; every spike stays."""
        return _json(reader.get(pages.series, machine, tuple(signal or ()), points))

    @router.get("/usecases", tags=["use cases"])
    def usecases() -> Any:
        """The questions there are, and how well each is answered."""
        return _json(reader.get(pages.usecases))

    @router.get("/usecases/{name}", tags=["use cases"])
    def usecase(name: Name) -> Any:
        """One use case, with its text."""
        return _json(reader.get(pages.usecase, name))

    @router.get("/usecases/{name}/judgement", tags=["use cases"])
    def judgement(name: Name) -> Any:
        """The last judgement of a use case; 404 where it was never judged."""
        score = reader.get(pages.usecase, name)["score"]
        if score is None:
            raise HTTPException(404, f"use case {name} was not judged yet; `unibody judge {name}` does it")
        return _json(score)

    @router.get("/decisions", tags=["decisions"], response_model=Page)
    def decisions(
        usecase: Filter = "",
        state: Kind = "",
        risk: Literal["", "low", "medium", "high"] = "",
        q: Filter = "",
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> Any:
        """Decisions that pass the filters, most urgent first."""
        found = pages.matching(reader.get(pages.decisions), usecase, state, risk, q)
        return _json({"total": len(found), "offset": offset, "items": found[offset : offset + limit]})

    @router.get("/decisions/{decision_id}", tags=["decisions"])
    def decision(decision_id: DecisionId) -> Any:
        """One decision with its revisions and its history."""
        return _json(reader.get(pages.decision, decision_id))

    @router.post("/decisions/{decision_id}/{move}", tags=["decisions"], response_model=Moved)
    def move(decision_id: DecisionId, move: Literal["approve", "dismiss", "revert"], body: Note) -> Any:
        """Approve, dismiss or revert a decision, as the person who is signed in."""
        wanting = needs_note(move, body.note)
        if wanting:
            raise HTTPException(400, wanting)
        try:
            state = reader.backbone.move(decision_id, MOVES[move], by, body.note.strip())
        except RefusedError as e:
            raise HTTPException(409, str(e)) from e
        finally:
            reader.forget()
        return vars(state) | {"sent": "approved, not sent" if state.state == "approved" else state.state}

    @router.get("/investigate", tags=["loop"])
    def investigate(
        outcome: Asks,
        cohort: Text = "",
        table: Annotated[
            str,
            Query(
                max_length=16, pattern="^[0-9a-f]*$", description="id of an uploaded table; empty: the lake"
            ),
        ] = "",
        exposure: Filter = "",
        control: Annotated[list[Annotated[str, Field(max_length=200)]] | None, Query(max_length=50)] = None,
        attributes: Annotated[
            str, Query(max_length=20_000, description="only these, with commas between")
        ] = "",
        alpha: Annotated[float, Query(gt=0, le=0.5)] = 0.05,
        as_of: Annotated[str, Query(max_length=40)] = "",
    ) -> Any:
        """What the failing units of a cohort share that the others don't; as `unibody investigate --json`."""
        names = tuple(a.strip() for a in attributes.split(",") if a.strip())
        asked = investigating.Asked(
            outcome, cohort, table, exposure, tuple(control or ()), names, alpha, as_of
        )
        return _json(reader.get(investigating.answer, asked, seconds=60.0))

    @router.get("/cases", tags=["loop"], response_model=Page)
    def cases(limit: Limit = 50, offset: Offset = 0) -> Any:
        """The cases of the loop as last found, newest signal first; as `unibody trace --json`."""
        found = reader.get(tracing.cases)
        return _json({"total": len(found), "offset": offset, "items": found[offset : offset + limit]})

    @router.get("/cases/{bundle}", tags=["loop"])
    def case(bundle: DecisionId) -> Any:
        """One case: evidence, scope, its proposals with what each sends and what takes it back, and the proof."""
        return _json(reader.get(tracing.case, bundle))

    @router.get("/outbox", tags=["decisions"])
    def outbox(state: Literal["", "waiting", "sent", "confirmed", "dead"] = "", limit: Limit = 50) -> Any:
        """Messages of approved decisions, newest first: state, attempts, error, receipt."""
        ledger = reader.backbone.ledger
        found = ledger.outbox(state or None, limit=limit)
        return _json({"counts": ledger.outbox_counts(), "messages": found})

    @router.api_route(
        "/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
    )
    def nothing(rest: str) -> Any:
        raise HTTPException(404, "no such address; /api/openapi.json lists all")

    return router


def answer_errors(app: FastAPI) -> None:
    """Give every error the one shape, and the status that says whose fault it is."""

    def fault(request: Request, status: int, what: str, where: str = "") -> JSONResponse:
        return JSONResponse({"error": {"where": where or request.url.path[:200], "what": what}}, status)

    def ours(request: Request, e: Exception) -> JSONResponse:
        missing = isinstance(e, SetupError) and str(e).startswith("no ")
        status = (
            404
            if missing
            else 400
            if isinstance(e, SetupError)
            else 403
            if isinstance(e, RefusedError)
            else 503
            if isinstance(e, StoreError)
            else 400
        )
        return fault(request, status, str(e))

    def http(request: Request, e: Exception) -> JSONResponse:
        assert isinstance(e, StarletteHTTPException)
        return fault(request, e.status_code, str(e.detail))

    def invalid(request: Request, e: Exception) -> JSONResponse:
        assert isinstance(e, RequestValidationError)
        first = e.errors()[0]
        return fault(request, 422, first["msg"], ".".join(map(str, first["loc"]))[:200])

    app.add_exception_handler(UnibodyError, ours)
    app.add_exception_handler(StarletteHTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
