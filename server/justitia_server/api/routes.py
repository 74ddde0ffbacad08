"""
The application endpoints: what is going on, and what no call can carry.

    GET  /v1/applications                 everyone here, and the latest finished
    GET  /v1/applications/{id}            one
    POST /v1/applications                 announce: type, plan, input text
    POST /v1/applications/{id}/events     stage, tool_start, tool_end
    POST /v1/applications/{id}/finish     the end (idempotent)

All optional: hints on the calls are enough. Errors have OpenAI's form. A tenant sees its own.
"""

from __future__ import annotations

import json
import math
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from justitia_sdk.errors import MalformedHints
from justitia_sdk.protocol import application_hints_from

from ..fairness.accounts import DEFAULT_TENANT
from ..fairness.spells import MOST_EXPECTED_S
from .arrival import arrival
from .engine_control import EngineControl
from .intake import Intake, scoped_id

MAX_BODY_BYTES = 2 << 20
EVENTS = ("stage", "tool_start", "tool_end")

router = APIRouter(tags=["applications"])


class _Refusal(Exception):
    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param

    def reply(self) -> JSONResponse:
        error = {
            "message": str(self),
            "type": "NotFoundError" if self.status == 404 else "BadRequestError",
            "param": self.param,
            "code": self.status,
        }
        return JSONResponse({"error": error}, self.status)


@router.get("/v1/applications")
async def list_applications(request: Request) -> JSONResponse:
    """Return the tenant's applications, those in flight first, and the scheduler's state."""
    control, tenant = _control(request), _tenant()
    applications = []
    for engine, answer in enumerate(await control.ask("list")):
        for application in answer["applications"]:
            if application["tenant"] == tenant:
                applications.append({**_shown(application), "engine": engine})
    states = await control.ask("state")
    return JSONResponse({"object": "list", "data": applications, "scheduler": states})


@router.get("/v1/applications/{app_id}")
async def show_application(request: Request, app_id: str) -> JSONResponse:
    """Return one application."""
    return await _answer(request, app_id, "show")


@router.post("/v1/applications")
async def announce_application(request: Request) -> JSONResponse:
    """Take note of an application before its first call; it arrives with that call."""
    try:
        fields = await _body(request)
        fields.setdefault("app", uuid4().hex)
        try:
            hints = application_hints_from(fields)
        except MalformedHints as exc:
            raise _Refusal(400, str(exc)) from exc
        intake: Intake = request.app.state.justitia.intake
        facts, is_news = intake.announce(hints, _tenant())
        told = {name: getattr(facts, name) for name in facts.__slots__}
        answers = await _control(request).ask("announce", facts=told, revises=is_news)
        if errors := [answer["error"] for answer in answers if "error" in answer]:
            is_closed = errors[0]["type"] == "ApplicationClosed"
            raise _Refusal(409 if is_closed else 400, errors[0]["message"])
        return JSONResponse(_shown(_farthest(answers)), 201)
    except _Refusal as refusal:
        return refusal.reply()


@router.post("/v1/applications/{app_id}/events")
async def note_event(request: Request, app_id: str) -> JSONResponse:
    """Take note that a stage begins, or that a tool starts or ends."""
    try:
        fields = await _body(request)
        kind, name = fields.get("event"), fields.get("name")
        if kind not in EVENTS:
            raise _Refusal(400, f"event must be one of {', '.join(EVENTS)}", "event")
        if name is not None and not (isinstance(name, str) and 0 < len(name) <= 128):
            raise _Refusal(400, "name must be a string of 1 to 128 characters", "name")
        expected_s = _expected_s(fields)
    except _Refusal as refusal:
        return refusal.reply()
    return await _answer(request, app_id, "event", kind=kind, name=name, expected_s=expected_s)


@router.post("/v1/applications/{app_id}/finish")
async def finish_application(request: Request, app_id: str) -> JSONResponse:
    """End the application; one with calls in flight ends with the last of them."""
    return await _answer(request, app_id, "finish")


async def _answer(request: Request, app_id: str, operation: str, **arguments: Any) -> JSONResponse:
    """Ask the engines about one application, and show it as the one that serves it does."""
    scoped = scoped_id(_tenant(), app_id)
    answers = await _control(request).ask(operation, app_id=scoped, **arguments)
    if (application := _farthest(answers)) is not None:
        return JSONResponse(_shown(application))
    if errors := [answer["error"] for answer in answers if "error" in answer]:
        return _Refusal(409, errors[0]["message"]).reply()
    return _Refusal(404, f"application {app_id!r} is not known here", "app_id").reply()


def _farthest(answers: list[dict[str, Any]]) -> Any:
    """Return the application as one shows it that goes on, else that has ended, else announced."""
    known = [answer["application"] for answer in answers if answer.get("application")]
    order = {"finished": 1, "announced": 2}
    return min(known, key=lambda each: order.get(each["state"], 0), default=None)


def _expected_s(fields: dict[str, Any]) -> float | None:
    """Return how long a tool that starts is expected to take, if that is told."""
    expected_s = fields.get("expected_s")
    if expected_s is None:
        return None
    if fields["event"] != "tool_start":
        raise _Refusal(400, "expected_s is told with tool_start only", "expected_s")
    is_number = isinstance(expected_s, int | float) and not isinstance(expected_s, bool)
    if not is_number or not 0 < expected_s < math.inf:
        raise _Refusal(400, "expected_s must be a finite number of seconds above 0", "expected_s")
    return float(min(expected_s, MOST_EXPECTED_S))


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if len(raw) > MAX_BODY_BYTES:
        raise _Refusal(413, f"the body has {len(raw)} bytes, at most {MAX_BODY_BYTES}: cut input")
    try:
        fields = json.loads(raw or b"{}")
    except (ValueError, RecursionError) as exc:
        raise _Refusal(400, f"the body is not JSON: {exc}") from exc
    if not isinstance(fields, dict):
        raise _Refusal(400, "the body must be a JSON object")
    return fields


def _shown(application: dict[str, Any]) -> dict[str, Any]:
    """Return an engine's answer under the id that the client knows."""
    tenant = application["tenant"]
    if tenant != DEFAULT_TENANT:
        application = {**application, "id": application["id"].removeprefix(f"{tenant}/")}
    return {"object": "application", **application}


def _control(request: Request) -> EngineControl:
    control: EngineControl = request.app.state.justitia.control
    return control


def _tenant() -> str:
    arrived = arrival.get()
    return DEFAULT_TENANT if arrived is None else arrived.tenant
