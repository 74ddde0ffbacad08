"""Receipts as LangChain events: for those who listen, when the run is over, never in its way."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler, CallbackManager

from justitia_sdk import Application
from justitia_sdk.errors import JustitiaError

from .._adapter import logger
from .structure import observation_of

RECEIPT_EVENT = "justitia_receipt"
SETTLED_WITHIN_S = 1.0  # so long a receipt waits for the fair finish to be settled
ANSWERED_WITHIN_S = 10.0  # by a server under load; nobody waits for it but the end of the program

_DEAF = (BaseCallbackHandler.on_custom_event, AsyncCallbackHandler.on_custom_event)


def listeners(*configs: Any) -> list[BaseCallbackHandler]:
    """Return the handlers in *configs* that take custom events, LangChain's own left out."""
    found: list[BaseCallbackHandler] = []
    for config in configs:
        callbacks = config.get("callbacks") if isinstance(config, Mapping) else None
        found += callbacks if isinstance(callbacks, list) else getattr(callbacks, "handlers", [])
    return [each for each in found if _listens(each)]


def _listens(handler: BaseCallbackHandler) -> bool:
    kind = type(handler)
    is_theirs = kind.__module__.startswith(("langchain_core.", "langgraph."))
    takes_events = getattr(kind, "on_custom_event", _DEAF[0]) not in _DEAF
    return takes_events and not is_theirs and not handler.ignore_custom_event


def report(application: Application, handlers: list[BaseCallbackHandler]) -> None:
    """Fetch the receipt of *application*, which has ended, and hand it over, in the background."""
    if application.root is not application:
        return  # a part of another, which has not ended
    run = observation_of(application).first_run

    def deliver() -> None:
        try:
            receipt = application.report(timeout_s=ANSWERED_WITHIN_S, wait_s=SETTLED_WITHIN_S)
        except JustitiaError as exc:
            logger.debug("no_receipt: %s", exc)
            return
        CallbackManager(handlers=handlers).on_custom_event(RECEIPT_EVENT, receipt, run_id=run)

    # Not a daemon: a program that ends with its last run hears of it, too.
    threading.Thread(target=deliver, name="justitia-receipt").start()
