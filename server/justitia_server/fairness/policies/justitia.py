"""
Justitia: serve applications in the order in which fair sharing would finish them.

Tenants by the top tag Phi of the call each would be served next, applications within a tenant by
F = S + C / w, calls within an application by stage, critical path and arrival. A scout call stands
where its own tag puts it. The first application takes all the memory it can use; what it cannot
use goes to the next.

Reference: arXiv:2510.17015, section 3 (selective pampering).
"""

from __future__ import annotations

from ..accounts import Account, Call
from ..cost import COMPUTE
from ..tenants import Tag
from .base import BasePolicy, Key, place_in_application


class Justitia(BasePolicy):
    """Serve the application with the smallest virtual finish first."""

    name = "justitia"

    def groups(self, account: Account) -> tuple[str, ...]:
        """Return the tenant and the application."""
        facts = account.facts
        return (facts.tenant, facts.app_id)

    def key(self, call: Call, depth: int) -> Key:
        """Return (Phi, arrival), then (F, arrival), then the place in the application."""
        if depth == 2:
            return place_in_application(call)
        tag = tag_of(call)
        return (tag.top_finish if depth == 0 else tag.virtual_finish, call.account.arrival_seq)


class JustitiaNominal(Justitia):
    """The same over the nominal clock, as in the paper: M every iteration."""

    name = "justitia_nominal"
    clock = "nominal"


class JustitiaCompute(Justitia):
    """The same with VTC's cost p + 2d in place of KV token-time ("Justitia/C" in the paper)."""

    name = "justitia_compute"
    cost = COMPUTE


def tag_of(call: Call) -> Tag:
    """Return the tag *call* is ordered by: its own if it is a scout, else its application's."""
    tag = call.tag or call.account.tag
    assert tag is not None  # an application has one from its first call on
    return tag
