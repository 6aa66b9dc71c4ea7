"""Investigate: choose any units and any outcome, and see what the failing ones share."""

from __future__ import annotations

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from threading import Lock
from typing import Any

from fastapi import Request, UploadFile
from fastapi.responses import RedirectResponse, Response
from nicegui import app, run, ui

from unibody.backbone import Backbone
from unibody.backbone import field as lake
from unibody.backbone import investigate as backbone_of
from unibody.backbone.investigate import Asked
from unibody.errors import FormatError, RefusedError, SetupError, UnibodyError
from unibody.loop import cohort
from unibody.loop.investigate import Investigation
from unibody.web import investigated
from unibody.web.investigated import address
from unibody.web.shell import Web, ask, el, empty, fill, frame, moment, to

QUESTION = "What do the failing units share?"
KEPT, TEXT_MAX, PROBLEMS, LAKE_SECONDS = 8, 2000, 50, 120.0
OPS = ("=", "!=", "<", "<=", ">", ">=", "like", "is null", "is not null")
FILES = (
    "CSV, Parquet or a sheet: a row is a unit, or a cell with counts; up to 64 MB; it stays on this machine"
)
#: By fetch and not as a form: our pages send no referrer, and a form without one has no origin to be checked.
UPLOAD = """(e) => {
  const file = e.target.files[0], told = document.getElementById('uploading');
  if (!file) return;
  if (file.size > BYTES_MAX) { told.textContent = 'Larger than 64 MB: take a part of it.'; return; }
  told.textContent = 'Uploading ' + file.name + ' …';
  const body = new FormData();
  body.append('file', file);
  fetch('/investigate/table', { method: 'POST', body })
    .then((r) => r.json())
    .then((a) => { if (a.to) location.assign(a.to); else told.textContent = a.error.what; })
    .catch(() => { told.textContent = 'The upload was cut short; try again.'; });
}""".replace("BYTES_MAX", str(backbone_of.UPLOAD_BYTES_MAX))


class Answers:
    """The last few answers, so that page, pictures and report of one question ask once; and how far each has come."""

    def __init__(self, web: Web) -> None:
        self.web, self.lock = web, Lock()
        self.kept: OrderedDict[Asked, tuple[Future[Investigation], float]] = OrderedDict()
        self.progress: dict[Asked, str] = {}
        self.problems: OrderedDict[str, str] = OrderedDict()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="investigations")

    def get(self, asked: Asked) -> Investigation:
        """The answer; waits for it."""
        with self.lock:
            future, at = self.kept.get(asked, (None, 0.0))
            # of the lake the facts move on
            old = not asked.table and time.monotonic() - at > LAKE_SECONDS
            if future is None or (future.done() and (old or future.exception())):
                future = self.thread.submit(self._ask, asked)
                self.kept[asked] = (future, time.monotonic())
                while len(self.kept) > KEPT:
                    self.kept.popitem(last=False)
            self.kept.move_to_end(asked)
        return future.result()

    def _ask(self, asked: Asked) -> Investigation:
        def say(what: str, done: int, _: int) -> None:
            self.progress[asked] = f"{what} ({done:,})" if done else what

        made: list[Investigation] = []

        def investigated(backbone: Backbone, asked: Asked) -> bool:
            made.append(backbone_of.ask_signed_in(backbone, asked, say))
            return True

        try:
            if asked.table:
                investigated(self.web.reader.backbone, asked)
            else:  # the lake has a thread of its own
                self.web.reader.get(investigated, asked, seconds=0.0)
        finally:
            self.progress.pop(asked, None)
        return made[0]

    def refused(self, what: str) -> str:
        """Keep what is to be told on the next page; its key goes into the address."""
        key = secrets.token_urlsafe(8)
        self.problems[key] = what
        while len(self.problems) > PROBLEMS:
            self.problems.popitem(last=False)
        return key


def add(web: Web) -> None:
    """Put the page up, with its report and its upload."""
    answers = Answers(web)

    async def page(request: Request) -> Any:
        said_ = {k: v[:TEXT_MAX] for k, v in request.query_params.items()}
        if said_.pop("do", "") or any(k.startswith("add_") for k in said_):
            return RedirectResponse(_after_form(said_, request), 303)
        with frame(web, "Investigate", QUESTION):
            await Page(web, answers, said_, request).draw()
        return None

    def pdf(request: Request) -> Response:
        from unibody.web.report import report

        asked = _asked(request.query_params, request)
        names = {t["id"]: t["name"] for t in backbone_of.uploads(web.reader.backbone)}
        made = report(answers.get(asked), asked, names.get(asked.table, ""), web.by)
        head = {"Content-Disposition": 'inline; filename="investigation.pdf"'}
        return Response(made, media_type="application/pdf", headers=head)

    async def table(file: UploadFile) -> dict[str, str]:
        try:
            content = await file.read(backbone_of.UPLOAD_BYTES_MAX + 1)
            backbone = web.reader.backbone
            kept = await run.io_bound(backbone_of.upload, backbone, file.filename or "", content, web.by)
            return {"to": to("investigate", table=kept["id"])}
        except UnibodyError as e:
            return {"to": to("investigate", problem=answers.refused(str(e)))}

    ui.page("/investigate")(page)
    app.get("/investigate/report.pdf", include_in_schema=False, response_model=None)(pdf)
    app.post("/investigate/table", include_in_schema=False, response_model=None)(table)


def _asked(query: Mapping[str, str], request: Request) -> Asked:
    """What the address asks."""

    def get(name: str) -> str:
        return str(query.get(name, ""))[:TEXT_MAX].strip()

    controls = [c[:200] for c in request.query_params.getlist("control") if c][:50]
    try:
        alpha = float(get("alpha") or 0.05)
    except ValueError:
        alpha = 0.05
    return Asked(
        get("outcome"), get("cohort"), get("table")[:64], get("exposure"), tuple(controls),
        tuple(a.strip() for a in get("attributes").split(",") if a.strip()), alpha, get("as_of"),
    )  # fmt: skip


def _after_form(query: dict[str, str], request: Request) -> str:
    """Where a form leads: a condition that was added joins the others."""
    asked = _asked(query, request)
    name, op, value = (query.get(f"add_{k}", "").strip() for k in ("attribute", "op", "value"))
    if name and op in OPS and (value or op.startswith("is")):
        typed: Any = float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) and op[0] in "<>" else value
        typed = int(typed) if isinstance(typed, float) and typed == int(typed) else typed
        more = cohort.written(name, op, typed)
        before = asked.cohort if not re.search(r"(?i)\bor\b", asked.cohort) else f"({asked.cohort})"
        asked = replace(asked, cohort=f"{before} and {more}" if before else more)
    return address(asked)


class Page:
    """The form, and below it the answer."""

    def __init__(self, web: Web, answers: Answers, query: dict[str, str], request: Request) -> None:
        self.web, self.answers = web, answers
        self.asked = _asked(query, request)
        self.look, self.problem = query.get("look", ""), answers.problems.get(query.get("problem", ""), "")
        self.tables: list[dict[str, Any]] = []
        self.kept: list[dict[str, Any]] = []
        self.columns: dict[str, list[str]] = {}

    async def draw(self) -> None:
        """Everything: the form as soon as its columns are known, then the answer."""
        with el("div", "stack investigate"):
            top = el("div")
            line = el("p", "muted progress", "", role="status")
            place = el("div", "stack answer")
        # a page that is not sent within three seconds is given up: what takes time is filled in later
        await fill(top, self._ready(), self._draw_form, "rows")
        if self.problem:
            return
        if self.asked.outcome:
            await self._answer(line, place)
        else:
            with place:
                self._begin()

    async def _ready(self) -> None:
        """Tables, columns and kept questions."""
        backbone, table = self.web.reader.backbone, self.asked.table
        try:
            self.tables = await run.io_bound(backbone_of.uploads, backbone) or []
            self.kept = await run.io_bound(backbone_of.saved, backbone) or []
            if table:
                path = backbone_of.uploaded(backbone, table)
                self.columns = await run.io_bound(lake.columns_of, path) or {}
            else:
                self.columns = await ask(self.web, lake.attributes_of, seconds=60.0) or {}
        except (SetupError, FormatError, RefusedError) as e:
            self.problem = self.problem or str(e)

    def _draw_form(self, _: None) -> None:
        self._form()
        if self.problem:
            with el("section", "state trouble", role="alert"):
                el("h2", "", "This table could not be taken")
                el("p", "what", self.problem)
                el(
                    "p",
                    "muted",
                    "Nothing was kept of it. Mend the file, or choose another, and upload it again.",
                )

    # ---- what is asked

    def _form(self) -> None:
        asked = self.asked
        with el("form", "asking", action="/investigate", method="get"):
            el("label", "", "Look at", for_="table")
            with el("div", "fields"), el("select", "", id="table", name="table"):
                self._option("", "the fleet, as the backbone knows it", asked.table)
                for t in self.tables:
                    self._option(t["id"], f"{t['name']} ({moment(t['at'])})", asked.table)
            with el("div", "fields bring"):
                el("label", "muted", "or bring a table", for_="file")
                file = el(
                    "input",
                    "",
                    type="file",
                    id="file",
                    accept=".csv,.tsv,.txt,.parquet,.pq,.xlsx,.xls,.ods,.gz",
                )
                file.on("change", js_handler=UPLOAD)
                el("span", "muted", "" if asked.outcome else FILES, id="uploading", role="status")
            el("label", "", "Which units", for_="attribute")
            with el("div", "fields"):
                self._chips()
                self._builder()
            el("label", "", "Failed means", for_="outcome")
            with el("div", "fields"):
                box = el(
                    "input",
                    "full",
                    id="outcome",
                    name="outcome",
                    required=True,
                    list="outcomes",
                    autocomplete="off",
                    maxlength=str(TEXT_MAX),
                )
                box.props["value"] = asked.outcome
                box.props["placeholder"] = (
                    "a column, or e.g. score < 3"
                    if asked.table
                    else "e.g. symptom = 'brake_hose' within 12 months, or code = 'C1246'"
                )
                with el("datalist", id="outcomes"):
                    for name in (
                        list(self.columns)[:500]
                        if asked.table
                        else ("symptom = ''", "code = ''", "component = ''")
                    ):
                        self._option(name, "", "\0")
            with el(
                "details", "further", open=bool(asked.exposure or asked.attributes or asked.as_of) or None
            ):
                el("summary", "", "More")
                self._input(
                    "cohort",
                    "Which units, written out",
                    asked.cohort,
                    "plant = 'Mirafiori' and built_at between 2026-03-01 and 2026-03-14",
                )
                if asked.table:
                    self._input(
                        "exposure",
                        "Exposure: the column that says how long each was at risk",
                        asked.exposure,
                        "found by its name where there is one",
                    )
                else:
                    self._input("as_of", "As of: what was known then", asked.as_of, "2026-06-01")
                self._input(
                    "attributes", "Only these columns, with commas between", ",".join(asked.attributes), "all"
                )
                for c in asked.controls:
                    el("input", "", type="hidden", name="control").props["value"] = c
            with el("div", "buttons fields"):
                el("button", "primary", "Find what they share", name="do", value="ask", data_key="ctrl-enter")

    def _chips(self) -> None:
        try:
            parts = cohort.pieces(self.asked.cohort, self.columns)
        except UnibodyError:
            parts = [self.asked.cohort]
        if not parts:
            el("span", "muted", "all of them")
        for i, part in enumerate(parts):
            rest = " and ".join(p for j, p in enumerate(parts) if j != i)
            with el("span", "condition"):
                el("code", "", part)
                el(
                    "a",
                    "",
                    "×",
                    href=address(replace(self.asked, cohort=rest)),
                    aria_label=f"Leave out {part}",
                )

    def _builder(self) -> None:
        values = None

        def suggest(event: Any) -> None:
            assert values is not None
            values.clear()
            with values:
                for v in self.columns.get(str(event.args), [])[:50]:
                    self._option(v, "", "\0")

        with el("span", "builder"):
            with el("select", "", id="attribute", name="add_attribute", aria_label="Attribute") as chosen:
                self._option("", "attribute", "")
                for name in list(self.columns)[:2000]:
                    self._option(name, name, "\0")
            chosen.on("change", suggest, js_handler="(e) => emit(e.target.value)")
            with el("select", "op", name="add_op", aria_label="Comparison"):
                for op in OPS:
                    self._option(op, op, "=")
            el(
                "input",
                "",
                name="add_value",
                list="values",
                placeholder="value",
                aria_label="Value",
                autocomplete="off",
                maxlength="200",
            )
            values = el("datalist", id="values")
            el(
                "button",
                "plain",
                "+",
                name="do",
                value="add",
                formnovalidate=True,
                aria_label="Add the condition",
            )

    def _input(self, name: str, label: str, value: str, hint: str) -> None:
        el("label", "above", label, for_=name)
        box = el("input", "full", id=name, name=name, autocomplete="off", maxlength=str(TEXT_MAX))
        box.props["value"], box.props["placeholder"] = value, hint

    @staticmethod
    def _option(value: str, text: str, chosen: str) -> None:
        option = el("option", "", text, selected=value == chosen)
        option.props["value"] = value

    def _begin(self) -> None:
        """Nothing is asked yet."""
        kept = self.kept
        if kept:
            with el("section"):
                el("h2", "", "Kept investigations")
                with el("ul", "lines"):
                    for row in kept[:50]:
                        href = address(backbone_of.asked_of(row))
                        with el("li"), el("a", "line", href=href, data_row=""):
                            with el("span", "grow"):
                                el("strong", "", row["name"])
                                el("span", "muted clip", row["question"])
                            el("span", "when", f"{row['owner']}, {moment(row['at'])}")
        if not self.columns and not self.asked.table:
            empty(
                "No car is known yet",
                "Bring build records in, or a table of your own above; then choose what counts as failed.",
                "unibody ingest FOLDER",
            )
        elif not kept:
            empty(
                "Choose what counts as failed",
                "The answer appears here: what the failing units share, how sure that is, and what cannot be told apart. Keep it under a name, or send its address.",
            )

    # ---- the answer

    async def _answer(self, line: Any, place: Any) -> None:
        def tell() -> None:
            line.text = self.answers.progress.get(self.asked, "")

        timer = ui.timer(0.3, tell)
        await fill(
            place,
            self._found(),
            lambda found: investigated.draw(self.web, self.asked, found, self.look),
            "charts",
        )
        timer.cancel()
        line.text = ""

    async def _found(self) -> Investigation | UnibodyError:
        try:
            found: Investigation = await run.io_bound(self.answers.get, self.asked)
            return found
        except (SetupError, FormatError) as e:
            return e
