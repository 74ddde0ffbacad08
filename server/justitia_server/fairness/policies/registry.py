"""Policies by name, as `justitia serve --policy` takes them."""

from __future__ import annotations

from collections.abc import Callable

from justitia_sdk.errors import ConfigurationError

from .base import Policy
from .fcfs import Fcfs
from .justitia import Justitia

POLICIES: dict[str, Callable[[], Policy]] = {"fcfs": Fcfs, "justitia": Justitia}


def make_policy(name: str) -> Policy:
    """
    Return a new policy.

    Raises:
        ConfigurationError: No policy has this name; the message lists them.
    """
    try:
        return POLICIES[name]()
    except KeyError:
        known = ", ".join(sorted(POLICIES))
        raise ConfigurationError(f"policy {name!r} is unknown; choose one of: {known}") from None
