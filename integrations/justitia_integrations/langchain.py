"""
LangChain: chains and agents as applications, and `ChatJustitia`, a `ChatOpenAI` that sends hints.

Hints are added by the official client, below LangChain's own cache, so that cache keys stay those
of `ChatOpenAI` and headers of the user's own stay beside them; they survive `bind_tools`,
`with_structured_output` and `bind`. Stages are labelled where the model makes its request, runs are
taken where they begin. Callbacks only look on: they cannot change a request, and where they are not
inline they do not even share its context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import justitia_sdk

try:
    from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
    from langchain_openai import ChatOpenAI
    from langchain_openai.chat_models.base import BaseChatOpenAI
except ImportError as exc:
    raise ImportError(
        "ChatJustitia needs LangChain's OpenAI package: pip install justitia-sdk[langchain]"
    ) from exc
from openai import AsyncOpenAI, OpenAI
from pydantic import Field, model_validator

from ._langchain.calls import around, labelled_call
from ._langchain.observer import watch
from ._langchain.runs import application, batch_announced, instrument, plan_of, uninstrument

if TYPE_CHECKING:
    from ._langchain.middleware import JustitiaMiddleware

__all__ = [
    "ChatJustitia",
    "JustitiaMiddleware",
    "application",
    "instrument",
    "plan_of",
    "uninstrument",
]


class ChatJustitia(ChatOpenAI):
    """
    A `ChatOpenAI`, with the same arguments, that tells the server which application it serves.

    A call is labelled with its LangGraph node or with its step of a chain, unless a stage is open.
    It is stored and cached as the `ChatOpenAI` it is.

    Attributes:
        dialect: In which server's words hints are sent; Justitia's own by default.
    """

    dialect: str | None = Field(default=None, exclude=True)

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return the id of `ChatOpenAI`: same cache keys, and saved chains load anywhere."""
        return ChatOpenAI.lc_id()

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return what a `ChatOpenAI` would: the class's name is part of the cache key."""
        serialized = super().to_json()
        if self.name is None:
            serialized["name"] = ChatOpenAI.__name__
        return serialized

    @model_validator(mode="after")
    def _speak_and_hear(self) -> Self:
        """Let its clients send hints, and hear a Justitia server, which is then told of the end."""
        watch("models")
        for client in (self.root_client, self.root_async_client):
            if isinstance(client, OpenAI | AsyncOpenAI):
                justitia_sdk.wrap(client, dialect=self.dialect)
        return self

    _generate = around(ChatOpenAI._generate, labelled_call)
    _agenerate = around(ChatOpenAI._agenerate, labelled_call)
    _stream = around(ChatOpenAI._stream, labelled_call, like=BaseChatOpenAI._stream)
    _astream = around(ChatOpenAI._astream, labelled_call)
    batch = batch_announced(ChatOpenAI.batch)
    abatch = batch_announced(ChatOpenAI.abatch)


def __getattr__(name: str) -> Any:
    if name == "JustitiaMiddleware":  # agents are in a package of their own
        try:
            from ._langchain.middleware import JustitiaMiddleware
        except ImportError as exc:
            raise ImportError(
                "JustitiaMiddleware needs LangChain's agents: pip install langchain"
            ) from exc
        return JustitiaMiddleware
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
