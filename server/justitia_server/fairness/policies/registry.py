"""Policies by name, as `justitia serve --policy` takes them."""

from __future__ import annotations

from collections.abc import Callable

from justitia_sdk.errors import ConfigurationError

from .base import Policy
from .fcfs import ApplicationFcfs, Fcfs
from .justitia import Justitia, JustitiaCompute, JustitiaNominal
from .las import Las
from .shortest import Sjf, Srjf
from .vtc import Vtc, VtcTenant

POLICIES: dict[str, Callable[[], Policy]] = {
    "fcfs": Fcfs,
    "app_fcfs": ApplicationFcfs,
    "sjf": Sjf,
    "srjf": Srjf,
    "vtc": Vtc,
    "vtc_tenant": VtcTenant,
    "las": Las,
    "justitia": Justitia,
    "justitia_nominal": JustitiaNominal,
    "justitia_compute": JustitiaCompute,
}


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
