"""
Receipts: what a Justitia server has to say of one application.

Times are in seconds from the application's arrival at the server, costs in KV token-time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from .errors import ServerError, ServerUnavailable
from .notices import Server, exchange, messenger

ASK_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Receipt:
    """
    What one application got, and when.

    Attributes:
        app_id: Its id.
        type: Its kind.
        state: ``finished`` once it has ended; else what it does now.
        jct_s: From arrival to end; None before the end.
        wait_s: Time in which its calls only waited.
        run_s: Time in which at least one of its calls ran; what is left was between calls.
        predicted_cost: What it was expected to need.
        cost: What it got.
        fair_jct_s: From arrival until fair sharing would have finished it; None where that is not
            settled yet.
        is_provisional: Whether the fair finish may still move.
        lateness_s: End less fair finish; below 0 it was early.
        lateness_iterations: The same in iterations of the engine.
        bound_iterations: The most it may be late, given true costs.
        calls: Calls that were answered.
        retries: Attempts beyond the first.
        late_calls: Calls that came after its end.
    """

    app_id: str
    type: str
    state: str
    jct_s: float | None
    wait_s: float | None
    run_s: float | None
    predicted_cost: float
    cost: float
    fair_jct_s: float | None
    is_provisional: bool
    lateness_s: float | None
    lateness_iterations: float | None
    bound_iterations: float | None
    calls: int
    retries: int
    late_calls: int

    def __str__(self) -> str:
        """Return the receipt as a small table."""
        rows = list(self._rows())
        width = max(len(label) for label, _ in rows)
        lines = [f"{self.type} {self.app_id} ({self.state})"]
        return "\n".join([*lines, *(f"  {label:<{width}}  {value}" for label, value in rows)])

    def _rows(self) -> Sequence[tuple[str, str]]:
        provisional = " (provisional)" if self.is_provisional else ""
        return [
            ("completed in", _seconds(self.jct_s)),
            ("  waiting", _seconds(self.wait_s)),
            ("  running", _seconds(self.run_s)),
            ("fair finish", _seconds(self.fair_jct_s) + provisional),
            ("lateness", _lateness(self.lateness_s)),
            ("bound", _count(self.bound_iterations, "iterations")),
            ("cost", f"{self.cost:,.0f} KV token-steps"),
            ("predicted", f"{self.predicted_cost:,.0f} KV token-steps"),
            ("calls", f"{self.calls}, {self.retries} retries, {self.late_calls} late"),
        ]


def _seconds(value: float | None) -> str:
    return "not known yet" if value is None else f"{value:.2f} s"


def _lateness(value: float | None) -> str:
    if value is None:
        return "not known yet"
    return f"{value:.2f} s late" if value > 0 else f"{-value:.2f} s early"


def _count(value: float | None, unit: str) -> str:
    return "not known" if value is None else f"{value:,.0f} {unit}"


def receive(app_id: str, servers: Sequence[Server], *, timeout_s: float, wait_s: float) -> Receipt:
    """
    Ask *servers* for the receipt of an application, in turn.

    Raises:
        ServerUnavailable: There are none, or none answers.
        ServerError: None of them knows the application.
    """
    messenger.flush(timeout_s)  # they should have heard of its end
    until = time.monotonic() + wait_s
    while True:
        receipt = _first(app_id, servers, timeout_s=timeout_s)
        if not receipt.is_provisional or time.monotonic() >= until:
            return receipt
        time.sleep(min(ASK_AGAIN_S, max(0.0, until - time.monotonic())))


async def areceive(
    app_id: str, servers: Sequence[Server], *, timeout_s: float, wait_s: float
) -> Receipt:
    """Return what `receive` does, from a thread."""
    import asyncio  # whoever awaits has it; others are spared a third of our import

    return await asyncio.to_thread(receive, app_id, servers, timeout_s=timeout_s, wait_s=wait_s)


def _first(app_id: str, servers: Sequence[Server], *, timeout_s: float) -> Receipt:
    if not servers:
        raise ServerUnavailable(
            "no Justitia server has answered a call of this application: receipts are a Justitia "
            "server's, and are there after the first answer",
            app_id=app_id,
        )
    errors: list[Exception] = []
    for server in servers:
        try:
            return _ask(app_id, server, timeout_s=timeout_s)
        except (ServerError, OSError) as exc:
            errors.append(exc)
    known = next((each for each in errors if isinstance(each, ServerError)), None)
    if known is not None:
        raise known
    raise ServerUnavailable(
        f"no answer from {servers[0].base_url}: {errors[0]}", app_id=app_id
    ) from errors[0]


def _ask(app_id: str, server: Server, *, timeout_s: float) -> Receipt:
    path = f"/applications/{quote(app_id, safe='')}"
    status, answer = exchange(server, "GET", path, timeout_s=timeout_s)
    if status != 200:
        why = ": it does not know the application (any more)" if status == 404 else ""
        raise ServerError(f"{server.base_url} answered {status}{why}", app_id=app_id, status=status)
    try:
        receipt = _receipt_from(json.loads(answer))
        str(receipt)  # fails where a number is none, here rather than in the user's print
        return receipt
    except (ValueError, KeyError, TypeError) as exc:
        raise ServerError(
            f"{server.base_url} sent a receipt that cannot be read: {exc!r}", app_id=app_id
        ) from exc


def _receipt_from(shown: Mapping[str, Any]) -> Receipt:
    arrived_at, calls = shown["arrived_at"], shown["calls"]

    def since_arrival(at: float | None) -> float | None:
        return None if at is None or arrived_at is None else at - arrived_at

    is_finished = shown["state"] == "finished"
    return Receipt(
        app_id=shown["id"],
        type=shown["type"],
        state=shown["state"],
        jct_s=since_arrival(shown["finished_at"]) if is_finished else None,
        wait_s=shown.get("wait_s"),
        run_s=shown.get("run_s"),
        predicted_cost=shown["predicted_cost"],
        cost=shown["attained_cost"],
        fair_jct_s=since_arrival(shown["fair_finish_at"]),
        is_provisional=shown["fair_finish_is_provisional"],
        lateness_s=shown["lateness_s"],
        lateness_iterations=shown["lateness_iterations"],
        bound_iterations=shown["bound_iterations"],
        calls=calls["done"],
        retries=calls["retries"],
        late_calls=calls["late"],
    )
