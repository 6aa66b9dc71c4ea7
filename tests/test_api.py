"""REST: who may come in, what is refused, and the same answers as the backbone gives."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_home import MACHINE, SCRIPT, decided, make_home
from starlette.testclient import TestClient

from unibody import web
from unibody.api import finite
from unibody.backbone import Backbone, pages
from unibody.backbone.pages import Reader
from unibody.errors import SetupError
from unibody.web.session import CODE_SECONDS, WRONG_MAX, Sessions

PORT = 8420
SITE = f"http://127.0.0.1:{PORT}"


class Visitor(TestClient):
    """A browser: sends Origin with what is not a read."""

    def post(self, url: str, **more: Any) -> Any:
        headers = {"Origin": SITE, **(more.pop("headers", None) or {})}
        return super().post(url, headers=headers, **more)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def sessions() -> Sessions:
    return Sessions("ada")


@pytest.fixture
def stranger(backbone: Backbone, sessions: Sessions) -> Iterator[Visitor]:
    reader = Reader(backbone)
    _, guard = web.build(reader, sessions, PORT)
    with Visitor(guard, base_url=SITE, follow_redirects=False) as client:  # type: ignore[arg-type]
        yield client
    reader.close()


@pytest.fixture
def client(stranger: Visitor, sessions: Sessions) -> Visitor:
    assert stranger.post("/login", json={"code": sessions.new_code()}).json() == {"ok": True}
    return stranger


# ---- who may come in


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/status",
        "/api/v1/decisions",
        "/api/openapi.json",
        "/api/v1/nothing",
        "/api/v1/machines/a/series",
    ],
)
def test_without_session_nothing_is_answered(stranger: Visitor, path: str) -> None:
    answer = stranger.get(path)
    assert answer.status_code == 401
    assert answer.json()["error"]["where"] == path and "unibody up" in answer.json()["error"]["what"]


def test_page_without_session_leads_to_sign_in(stranger: Visitor) -> None:
    answer = stranger.get("/decisions?q=a%26b")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Fdecisions%3Fq%3Da%2526b")
    assert stranger.get("/login").status_code == 200 and stranger.get("/healthz").json() == {"ok": True}
    assert stranger.get("/static/style.css").status_code == 200


def test_code_is_good_once(stranger: Visitor, sessions: Sessions) -> None:
    code = sessions.new_code()
    first = stranger.post("/login", json={"code": code})
    cookie = first.headers["set-cookie"]
    assert (
        first.json() == {"ok": True}
        and "HttpOnly" in cookie
        and "SameSite=strict" in cookie
        and code not in cookie
    )
    assert "error" in stranger.post("/login", json={"code": code}).json()


def test_code_is_good_for_a_minute(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    code, now = sessions.new_code(), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + CODE_SECONDS + 1)
    assert sessions.exchange(code) is None


def test_ten_wrong_codes_void_the_right_one(sessions: Sessions) -> None:
    code = sessions.new_code()
    for _ in range(WRONG_MAX):
        assert sessions.exchange("wrong") is None
    assert sessions.exchange(code) is None
    assert sessions.exchange(sessions.new_code()) is not None
    assert sessions.exchange("") is None  # no code is out: an empty one is not it


def test_session_ends_after_twelve_hours(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    session, now = sessions.exchange(sessions.new_code()), time.monotonic()
    assert sessions.valid(session) and not sessions.valid("other") and not sessions.valid(None)
    monkeypatch.setattr(time, "monotonic", lambda: now + 12 * 3600 + 1)
    assert not sessions.valid(session)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:8420", ""]
)
def test_foreign_host_is_refused(client: Visitor, host: str) -> None:
    assert client.get("/api/v1/status", headers={"Host": host}).status_code == 421
    assert client.get("/healthz", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "http://localhost:8420"]
)
def test_foreign_origin_is_refused(client: Visitor, origin: str) -> None:
    url = f"/api/v1/decisions/{decided(MACHINE)}/approve"
    assert client.post(url, json={"note": ""}, headers={"Origin": origin}).status_code == 403
    assert client.get("/api/v1/status", headers={"Origin": origin}).status_code == 403
    assert (
        client.options(url, headers={"Origin": origin, "Access-Control-Request-Method": "POST"}).status_code
        == 403
    )
    assert super(Visitor, client).post(url, json={"note": ""}).status_code == 403  # no Origin at all


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {},
        {"Origin": SITE, "Cookie": ""},
        {"Origin": SITE, "Host": "evil.example"},
    ],
)
def test_websocket_is_guarded_too(client: Visitor, headers: dict[str, str]) -> None:
    from starlette.websockets import WebSocketDisconnect

    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect(
            f"ws://127.0.0.1:{PORT}/_nicegui_ws/socket.io/?transport=websocket&EIO=4", headers=headers
        ),
    ):
        pass
    assert refused.value.code == 1008


def test_headers_keep_the_browser_from_being_fooled(client: Visitor) -> None:
    answer = client.get("/login")
    policy = answer.headers["content-security-policy"]
    assert (
        "frame-ancestors 'none'" in policy
        and "default-src 'none'" in policy
        and "'unsafe-inline'" not in policy.split("style-src")[0]
    )
    assert (
        answer.headers["x-content-type-options"] == "nosniff"
        and answer.headers["referrer-policy"] == "no-referrer"
    )
    assert "access-control-allow-origin" not in answer.headers and "server" not in answer.headers


def test_large_body_is_refused(client: Visitor) -> None:
    url = f"/api/v1/decisions/{decided(MACHINE)}/approve"
    assert client.post(url, content=b"x" * 70_000).status_code == 413
    assert client.post(url, json={"note": "x" * 2001}).status_code == 422


def test_taken_port_is_said(backbone: Backbone) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SetupError, match=r"cannot be used.*--port"):
            web.serve(backbone, taken.getsockname()[1])


# ---- what is answered


@pytest.mark.parametrize(
    "path",
    ["status", "tables", "tables/machine_reading", "tables/machine_reading/rows?limit=3", "sources", "quarantine", "usecases", "usecases/pump_life",
     "usecases/pump_life/judgement", "decisions", f"machines/{MACHINE}/series?points=50"],
)  # fmt: skip
def test_answers(client: Visitor, path: str) -> None:
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == 200 and answer.json()


def test_lineage_leads_from_record_to_rows(client: Visitor) -> None:
    source = client.get("/api/v1/sources").json()["items"][0]["source_id"]
    whole = client.get(f"/api/v1/lineage/{source}").json()
    one = client.get(f"/api/v1/lineage/{source}?record=0").json()
    assert whole["rows"]["machine_reading"] > 0 and {r["record"] for r in one["rows"]["machine_reading"]} == {
        0
    }


def test_nan_is_null(client: Visitor) -> None:
    body = client.get("/api/v1/usecases/pump_life/judgement").json()
    assert body["gain_low"] is None and body["ours"] == 11.0
    assert finite({"a": [float("nan"), (float("-inf"), 1.5)]}) == {"a": [None, [None, 1.5]]}


def test_decisions_are_filtered_and_paged(client: Visitor) -> None:
    every = client.get("/api/v1/decisions").json()
    assert every["total"] == 4 and [d["worth_eur"] for d in every["items"]] == sorted(
        (d["worth_eur"] for d in every["items"]), reverse=True
    )
    page = client.get("/api/v1/decisions?limit=2&offset=3").json()
    assert len(page["items"]) == 1 and page["total"] == 4
    found = client.get(
        "/api/v1/decisions", params={"q": MACHINE, "usecase": "pump_life", "state": "proposed", "risk": "low"}
    ).json()
    assert found["items"][0]["subject"] == MACHINE and found["total"] < 4
    assert [
        d["subject"] for d in client.get("/api/v1/decisions", params={"q": decided(MACHINE)}).json()["items"]
    ] == [MACHINE]
    assert client.get("/api/v1/decisions?usecase=other").json()["items"] == []


def test_hostile_text_stays_text(client: Visitor) -> None:
    answer = client.get("/api/v1/quarantine")
    assert answer.headers["content-type"] == "application/json" and any(
        SCRIPT in json.loads(e["raw"])["pump"] for e in answer.json()["items"]
    )


def test_series_is_thinned_and_keeps_spikes(client: Visitor) -> None:
    found = {s["signal"]: s for s in client.get(f"/api/v1/machines/{MACHINE}/series?points=20").json()}
    vibration = found["vibration_mm_s"]
    assert vibration["count"] == 120 and len(vibration["x"]) <= 24 and max(v for v in vibration["y"]) == 9.75
    assert vibration["moved"] == "above" and vibration["normal_low"] < vibration["normal_high"]
    one = client.get(f"/api/v1/machines/{MACHINE}/series?signal=load_pct").json()
    assert [s["signal"] for s in one] == ["load_pct"] and one[0]["moved"] == "still"


# ---- approve


def test_approve_then_revert(client: Visitor, backbone: Backbone) -> None:
    url = f"/api/v1/decisions/{decided('pump 3')}"
    moved = client.post(f"{url}/approve", json={"note": " seen it "})
    assert moved.status_code == 200
    assert (moved.json()["state"], moved.json()["by"], moved.json()["note"], moved.json()["sent"]) == (
        "approved",
        "ada",
        "seen it",
        "approved, not sent",
    )
    assert client.get(url).json()["state"] == "approved"
    again = client.post(f"{url}/approve", json={"note": ""})
    assert again.status_code == 409 and "is approved" in again.json()["error"]["what"]
    assert client.post(f"{url}/revert", json={"note": ""}).status_code == 400
    assert client.post(f"{url}/revert", json={"note": "wrong pump"}).json()["state"] == "reverted"
    assert [s.state for s in backbone.ledger.history(decided("pump 3"))] == [
        "proposed",
        "approved",
        "reverted",
    ]


def test_dismiss_needs_a_reason(client: Visitor) -> None:
    url = f"/api/v1/decisions/{decided('pump 4')}/dismiss"
    answer = client.post(url, json={"note": "  "})
    assert answer.status_code == 400 and "say why" in answer.json()["error"]["what"]
    assert client.post(url, json={"note": "known"}).json()["state"] == "dismissed"


# ---- errors and bounds


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("decisions/0000", 404), ("tables/nothing", 404), ("usecases/nothing", 404), ("lineage/nothing", 404), ("machines/nothing/series", 404),
        ("nothing", 404), ("decisions?limit=0", 422), ("decisions?limit=501", 422), ("decisions?state=odd", 422), ("decisions?offset=-1", 422),
        ("decisions?q=" + "x" * 201, 422), ("tables/machine_reading/rows?limit=100000", 422), (f"machines/{MACHINE}/series?points=99999", 422),
        ("decisions/" + "x" * 65, 422), ("decisions/..%2f..", 404), (f"machines/{MACHINE}/series?signal=" + "x" * 201, 422),
        ("usecases/never_judged/judgement", 404),
    ],
)  # fmt: skip
def test_errors_have_one_shape(client: Visitor, path: str, status: int) -> None:
    answer = client.get(f"/api/v1/{path}")
    assert answer.status_code == status
    assert (
        set(answer.json()) == {"error"}
        and set(answer.json()["error"]) == {"where", "what"}
        and answer.json()["error"]["what"]
    )


def test_body_must_be_as_stated(client: Visitor) -> None:
    url = f"/api/v1/decisions/{decided(MACHINE)}/approve"
    assert client.post(url, json={"note": "a", "by": "somebody else"}).status_code == 422
    assert client.post(url, content=b"{").status_code == 422
    assert client.post(f"/api/v1/decisions/{decided(MACHINE)}/confirm", json={"note": ""}).status_code == 422


def test_broken_store_is_503(
    tmp_path: Path, client: Visitor, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unibody.errors import RefusedError, StoreError

    def broken(_: Backbone) -> None:
        raise StoreError("lake: disk is full")

    def refused(_: Backbone) -> None:
        raise RefusedError("the gate says no")

    monkeypatch.setattr(pages, "status", broken)
    assert client.get("/api/v1/status").status_code == 503
    monkeypatch.setattr(pages, "status", refused)
    assert client.get("/api/v1/status").status_code == 403


def test_openapi_is_valid(client: Visitor) -> None:
    from fastapi.openapi.models import OpenAPI

    spec = client.get("/api/openapi.json").json()
    OpenAPI.model_validate(spec)
    assert spec["openapi"].startswith("3.1") and spec["info"]["title"] == "Unibody"
    names = [name for path in spec["paths"].values() for name in (op["operationId"] for op in path.values())]
    assert len(names) == len(set(names)) and all(p.startswith("/api/v1/") for p in spec["paths"])
    references = set(_references(spec))
    assert all(r.removeprefix("#/components/schemas/") in spec["components"]["schemas"] for r in references)


def _references(body: Any) -> Iterator[str]:
    if isinstance(body, dict):
        yield from (v for k, v in body.items() if k == "$ref")
        for v in body.values():
            yield from _references(v)
    elif isinstance(body, list):
        for v in body:
            yield from _references(v)
