"""
The calls of one application on a live server, through the SDK, with forced lengths.

A call of p prompt and d output tokens is one request to `/v1/completions`: a prompt of p token ids
that share what the workload says they share (`simulation.prompts`), exactly d tokens (`max_tokens`,
`min_tokens`, `ignore_eos`), n = its samples. The reply's usage must say so, or the call has failed.
A salt keeps prompts of one run from finding those of another in the server's prefix cache.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai

import justitia_sdk as justitia
from justitia_sdk.errors import ServerError

from ..simulation.prompts import prompt_of
from ..simulation.workload import Arriving, Call
from .plan import plan_of, stages_of
from .play import CallFailed, Clock
from .server import LiveServer

_LONGEST_REASON = 300


class LiveApplication:
    """One application of a workload: everything that can be done before it begins is done here."""

    def __init__(
        self,
        application: Arriving,
        server: LiveServer,
        clock: Clock,
        *,
        declares_plan: bool,
        salt: str,
    ) -> None:
        """
        Prepare.

        Args:
            application: What to run.
            server: Where.
            clock: Tells when calls go out.
            declares_plan: Tell the server the application's true structure and cost.
            salt: Of the prefix cache, one a run.

        Raises:
            ConfigurationError: Its type, weight or counts are beyond what hints can say.
        """
        plan = plan_of(application) if declares_plan else None
        self._application = application
        self._model = server.model
        self._salt = salt
        self._stages = stages_of(application, plan)
        # Ids are below 256, in any vocabulary; as bytes they take an eighth of the room.
        self._prompts = [bytes(list(prompt_of(application, call))) for call in application.calls]
        self._scope = justitia.application(
            application.app_type,
            input=application.input_text,
            plan=plan,
            weight=application.weight,
        )
        self._client = server.access.client(application.tenant, clock)
        self._opened: justitia.Application | None = None

    @property
    def app_id(self) -> str:
        """Its id in the workload."""
        return self._application.app_id

    async def connect(self) -> None:
        """
        Send a request that costs the engine nothing.

        The official client looks things up in a thread at its first one, which is not to delay
        the application's first call.

        Raises:
            ServerError: The server refuses it.
        """
        try:
            await self._client.get("/models", cast_to=object)
        except openai.OpenAIError as error:
            raise ServerError(
                f"the server does not let {self.app_id} in: {_reason(error)}"
            ) from error

    @asynccontextmanager
    async def open(self) -> AsyncIterator[LiveApplication]:
        """Be the ambient application of calls made inside; the server hears of the end."""
        async with self._scope as self._opened:
            yield self

    async def call(self, call: Call) -> float:
        """
        Make *call*, wait for its whole reply, and return when it went out.

        Raises:
            CallFailed: It was refused, got no reply, or other token counts than were asked for.
        """
        assert self._opened is not None
        with self._opened.stage(self._stages[call.id]):
            try:
                raw = await self._client.completions.with_raw_response.create(**self._body(call))
                self._check(call, raw.parse().usage)
            except openai.OpenAIError as error:
                raise self._failed(call, _reason(error)) from error
        return float(raw.http_request.extensions["sent_s"])

    async def ask_receipt(self) -> dict[str, Any] | None:
        """Tell the server once more that it has ended; return what the server's books say of it."""
        if self._opened is None:
            return None
        path = f"/applications/{self._opened.app_id}/finish"
        try:
            told = await self._client.post(path, cast_to=object, body={})
        except openai.OpenAIError:
            return None
        return told if isinstance(told, dict) else None

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    def _body(self, call: Call) -> dict[str, Any]:
        return {
            "model": self._model,
            "prompt": "",
            "max_tokens": call.output_tokens,
            "n": call.samples,
            "temperature": 1.0,  # the samples of a prompt may not be greedy
            "extra_body": {
                # Here, since the client looks at every token of its own `prompt`.
                "prompt": list(self._prompts[call.id]),
                "min_tokens": call.output_tokens,
                "ignore_eos": True,
                "cache_salt": self._salt,
            },
        }

    def _check(self, call: Call, usage: Any) -> None:
        wanted = (call.prompt_tokens, call.samples * call.output_tokens)
        if usage is None:
            raise self._failed(call, "the reply does not say how many tokens it has (usage)")
        got = (usage.prompt_tokens, usage.completion_tokens)
        if got != wanted:
            raise self._failed(
                call,
                f"the server counts {got[0]} prompt and {got[1]} output tokens, not the "
                f"{wanted[0]} and {wanted[1]} asked for: it does not force lengths",
            )

    def _failed(self, call: Call, reason: str) -> CallFailed:
        return CallFailed(f"call {call.id} of {self.app_id}: {reason}")


def _reason(error: openai.OpenAIError) -> str:
    """Return what went wrong in one line."""
    if isinstance(error, openai.APIStatusError):
        said = f"HTTP {error.status_code}: {error.message}"
    else:
        said = f"{error} {error.__cause__ or ''}"
    return " ".join(said.split())[:_LONGEST_REASON]
