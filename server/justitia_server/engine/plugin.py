"""
The `vllm.general_plugins` entry point: a control call on the engine core, and our logs.

vLLM loads it in every process; the API process reaches the method with
`engine_core.call_utility_async(CONTROL_METHOD, …)`.
"""

from __future__ import annotations

from typing import Any

from justitia_sdk.errors import ConfigurationError

from .control import CONTROL_METHOD, control
from .logs import configure_logging
from .version import check_vllm_version


def register() -> None:
    """Add the control call to `EngineCore`; does nothing beside an untested vLLM."""
    try:
        check_vllm_version()
    except ConfigurationError:
        return  # a plain `vllm serve` beside us must not suffer; ours has said so already
    configure_logging()
    from vllm.v1.engine.core import EngineCore

    def justitia_control(self: Any, operation: str, arguments: str) -> str:
        return control(self.scheduler, operation, arguments)

    setattr(EngineCore, CONTROL_METHOD, justitia_control)
