"""
LangChain: `ChatJustitia`, a `ChatOpenAI` whose calls carry Justitia's hints.

Hints are added where the model is called, below LangChain's own cache, so that cache keys stay
those of `ChatOpenAI`; and they survive `bind_tools`, `with_structured_output` and `bind`. Callbacks
would be the wrong place: they cannot change a request, and do not run where the call does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Self

import justitia_sdk

try:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult
    from langchain_core.runnables.config import ensure_config
    from langchain_openai import ChatOpenAI
except ImportError as exc:
    raise ImportError(
        "ChatJustitia needs LangChain's OpenAI package: pip install justitia-sdk[langchain]"
    ) from exc
from openai import AsyncOpenAI, OpenAI
from pydantic import model_validator

_STAGE_METADATA = "langgraph_node"


class ChatJustitia(ChatOpenAI):
    """
    A `ChatOpenAI`, with the same arguments, that tells the server which application it serves.

    Inside a LangGraph node, agents included, a call is labelled with the node's name unless a stage
    is open. It is stored and cached as the `ChatOpenAI` it is.
    """

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
    def _hear_the_server(self) -> Self:
        """Let its clients hear a Justitia server, which is then told when the application ends."""
        for client in (self.root_client, self.root_async_client):
            if isinstance(client, OpenAI | AsyncOpenAI):
                justitia_sdk.instrument(client)
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        kwargs = self._with_hints(kwargs, run_manager)
        return super()._generate(messages, stop, run_manager, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        kwargs = self._with_hints(kwargs, run_manager)
        return await super()._agenerate(messages, stop, run_manager, **kwargs)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        kwargs = self._with_hints(kwargs, kwargs.get("run_manager"))
        return super()._stream(*args, **kwargs)

    def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        kwargs = self._with_hints(kwargs, kwargs.get("run_manager"))
        return super()._astream(*args, **kwargs)

    def _with_hints(self, kwargs: dict[str, Any], run_manager: Any) -> dict[str, Any]:
        """Return *kwargs* with the hints of one new call beside the headers given elsewhere."""
        application = justitia_sdk.current_application()
        if application is None:
            return kwargs
        hints = application.headers(stage=_stage_of(run_manager))
        # What a caller binds replaces `model_kwargs` in LangChain, so theirs are merged here.
        given = kwargs.get("extra_headers") or self.model_kwargs.get("extra_headers") or {}
        return {**kwargs, "extra_headers": {**hints, **given}}


def _stage_of(run_manager: Any) -> str | None:
    """Return the LangGraph node that calls, if any; streams come without a run manager."""
    metadata = getattr(run_manager, "metadata", None)
    if not isinstance(metadata, Mapping) or _STAGE_METADATA not in metadata:
        metadata = ensure_config().get("metadata") or {}
    stage = metadata.get(_STAGE_METADATA)
    return stage if isinstance(stage, str) else None
