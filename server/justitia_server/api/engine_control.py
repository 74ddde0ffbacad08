"""The control call, from the API process's side: one answer from every engine behind us."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from ..engine.control import CONTROL_METHOD

TIMEOUT_S = 10.0


class EngineControl:
    """Asks the engines' schedulers (one, or one a data-parallel rank)."""

    def __init__(self, engine_client: Any) -> None:
        self._core = engine_client.engine_core
        self.process: int = self._core.client_index  # this API process's number, from 0

    async def ask(self, operation: str, **arguments: Any) -> list[dict[str, Any]]:
        """
        Carry out *operation* on every engine and return their answers, in rank order.

        Raises:
            TimeoutError: An engine did not answer within ten seconds.
        """
        call = self._core.call_utility_all_async(CONTROL_METHOD, operation, json.dumps(arguments))
        answers = await asyncio.wait_for(call, TIMEOUT_S)
        return [json.loads(answer) for answer in answers]
