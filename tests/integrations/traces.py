"""What of Justitia is to be found in other people's modules and classes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import justitia_integrations
import justitia_sdk

PACKAGES = (justitia_sdk, justitia_integrations)
OURS = tuple(f"{Path(str(package.__file__)).parent}{os.sep}" for package in PACKAGES)
TREE = Path(__file__).parents[2]
NOT_OTHERS = (*OURS, *(f"{TREE / folder}{os.sep}" for folder in ("tests", "server", "examples")))


def of_ours() -> set[str]:
    """Return the places, ``module.Class.name``, that hold a function of ours."""
    return {place for place, value in _attributes() if _is_ours(value)}


def _attributes() -> Iterator[tuple[str, Any]]:
    """Yield what the loaded modules of others, and the classes in them, hold."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if not isinstance(module, ModuleType) or file.startswith(NOT_OTHERS):
            continue
        for key, value in list(vars(module).items()):
            yield f"{name}.{key}", value
            if isinstance(value, type) and value.__module__ == name:
                for inner, held in list(vars(value).items()):
                    yield f"{name}.{key}.{inner}", held


def _is_ours(value: Any) -> bool:
    """Whether it is a function of ours, or one of another library's decorators around one."""
    function = getattr(value, "__func__", value) if isinstance(value, _METHODS) else value
    if not isinstance(function, FunctionType):
        return False
    return function.__code__.co_filename.startswith(OURS) or any(
        isinstance(held, FunctionType) and held.__code__.co_filename.startswith(OURS)
        for held in _enclosed(function)
    )


def _enclosed(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # it is empty yet
            yield cell.cell_contents


_METHODS = (staticmethod, classmethod)
