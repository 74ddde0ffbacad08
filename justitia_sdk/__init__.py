"""
Justitia's SDK: tells the server which LLM calls belong together.

Light to import: the clients, and with them the official OpenAI library, load when first used.
"""

from typing import TYPE_CHECKING, Any

from . import errors
from .context import Application, current_application
from .instrumentation import instrument, uninstrument
from .protocol import Plan, Stage
from .scopes import application

if TYPE_CHECKING:
    from .clients import AsyncOpenAI, OpenAI

__all__ = [
    "Application",
    "AsyncOpenAI",
    "OpenAI",
    "Plan",
    "Stage",
    "application",
    "current_application",
    "errors",
    "instrument",
    "uninstrument",
]


def __getattr__(name: str) -> Any:
    if name in {"AsyncOpenAI", "OpenAI"}:
        from . import clients

        return getattr(clients, name)
    if name == "__version__":
        from importlib.metadata import version

        return version("justitia-sdk")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
