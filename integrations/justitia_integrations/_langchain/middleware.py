"""`JustitiaMiddleware`: hints, labels and tool time for one LangChain agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest, ToolCallRequest
from langchain_core.runnables.config import ensure_config
from openai import AsyncOpenAI, OpenAI

import justitia_sdk
from justitia_sdk.dialects import check_dialect

from .._adapter import labelled, logger, tool_time
from ..langchain import ChatJustitia
from .calls import ByIdentity
from .observer import timed, watch
from .places import node_of

_CLIENTS = (("root_client", "client"), ("root_async_client", "async_client"))


class JustitiaMiddleware(AgentMiddleware[Any, Any, Any]):
    """
    Lets the models of one agent send hints, labelled with their node, and reports tool time.

    Put it last, so that it is innermost: it then sees the model that others chose, and each attempt
    where they retry. The model's settings and the model itself stay as they are, and so do cache
    keys; a model that sends hints already, `ChatJustitia` for one, sends them once.

    Args:
        dialect: In which server's words hints are sent; Justitia's own by default.

    Raises:
        ConfigurationError: There is no such dialect.
    """

    def __init__(self, *, dialect: str | None = None) -> None:
        super().__init__()
        check_dialect(dialect)  # speaks up now, not with the first call
        self._dialect = dialect
        self._twins: ByIdentity[Any] = ByIdentity()
        watch("middleware")

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]
    ) -> Any:
        """Call the model with hints."""
        with labelled(node_of(ensure_config().get("metadata"))):
            return handler(self._hinting(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Any]]
    ) -> Any:
        """Call the model with hints."""
        with labelled(node_of(ensure_config().get("metadata"))):
            return await handler(self._hinting(request))

    def wrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Any]
    ) -> Any:
        """Take the time of the tool."""
        with _taking_time(request):
            return handler(request)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
    ) -> Any:
        """Take the time of the tool."""
        with _taking_time(request):
            return await handler(request)

    def _hinting(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        model = request.model
        if justitia_sdk.current_application() is None or isinstance(model, ChatJustitia):
            return request
        try:
            twin = self._twins.of(model, lambda: _hinting_copy(model, self._dialect))
        except Exception:
            logger.warning("model_without_hints", exc_info=True)
            return request
        return request if twin is None else request.override(model=twin)


def _hinting_copy(model: Any, dialect: str | None) -> Any:
    """Return a copy of *model* whose clients send hints; None if it has none of OpenAI's."""
    clients: dict[str, Any] = {}
    for whole, part in _CLIENTS:
        client = getattr(model, whole, None)
        if isinstance(client, OpenAI | AsyncOpenAI):
            clients[whole] = justitia_sdk.wrap(client.copy(), dialect=dialect)
            clients[part] = clients[whole].chat.completions
    return model.model_copy(update=clients) if clients else None


@contextmanager
def _taking_time(request: ToolCallRequest) -> Iterator[None]:
    token = timed.set(request.tool_call.get("id"))  # the callback handler leaves this one to us
    try:
        with tool_time(request.tool_call["name"]):
            yield
    finally:
        timed.reset(token)
