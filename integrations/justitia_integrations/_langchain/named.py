"""What a function names, and so may call: models, chains, graphs."""

from __future__ import annotations

from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from langchain_core.runnables import Runnable

MAX_NAMED = 256  # of a function's names, and of those of the functions it names, so many are seen


def named_in(runnable: Any) -> list[Any]:
    """Return the models, chains and graphs that the function of *runnable* names."""
    found = (value for value in _reached(runnable) if isinstance(value, Runnable))
    return [value for value in found if not hasattr(value, "tools_by_name")]


def sends(runnable: Any) -> bool:
    """Whether the function of *runnable*, not a node of tools, names LangGraph's `Send`."""
    if hasattr(runnable, "tools_by_name"):
        return False
    return any(getattr(value, "__name__", None) == "Send" for value in _reached(runnable))


def _reached(runnable: Any) -> list[Any]:
    """Return what the function of *runnable* names, and the functions it names in their turn."""
    function = getattr(runnable, "func", None) or getattr(runnable, "afunc", None)
    seen: dict[int, Any] = {}  # holds what it has seen, so that no id stands for two things
    waiting = [] if function is None else [function]
    while waiting and len(seen) < MAX_NAMED:
        for value in _values(waiting.pop()):
            key = id(getattr(value, "__func__", value))
            if key not in seen:
                seen[key] = value
                if isinstance(value, FunctionType | MethodType):
                    waiting.append(value)
    return list(seen.values())


def _values(function: Any) -> Iterator[Any]:
    """Yield what *function* names: in its closure, its object and its module."""
    owner = getattr(function, "__self__", None)
    if not isinstance(function, FunctionType | MethodType):  # an object that is called
        owner, function = function, type(function).__call__
    plain = getattr(function, "__func__", function)
    if not isinstance(plain, FunctionType):
        return
    for cell in plain.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in _names_in(plain):
        method = vars(type(owner)).get(name)
        if owner is not None and isinstance(method, FunctionType):
            yield MethodType(method, owner)
        for names in (getattr(owner, "__dict__", {}), plain.__globals__):
            if name in names:
                yield names[name]


def _names_in(function: FunctionType) -> list[str]:
    """Return the global names and attributes in the code of *function*, comprehensions included."""
    waiting: list[Any] = [function.__code__]
    names: dict[str, None] = {}
    while waiting:
        code = waiting.pop()
        if isinstance(code, CodeType):
            names.update(dict.fromkeys(code.co_names))
            waiting += code.co_consts
    return list(names)
