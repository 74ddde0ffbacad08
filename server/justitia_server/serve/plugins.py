"""
Which vLLM plugins may load.

`VLLM_PLUGINS` is one allow-list for all of vLLM's plugin groups. Unset, it lets everything load
but endpoint plugins, which add routes and must be named. Ours is one, so we name it, and with it
everything that would have loaded anyway.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from importlib.metadata import entry_points

from justitia_server.engine.settings import PLUGIN_NAME

VARIABLE = "VLLM_PLUGINS"
_ENDPOINT_GROUP = "vllm.endpoint_plugins"


def allow_our_plugin(environment: MutableMapping[str, str]) -> None:
    """Let our plugin load beside all that *environment* lets load already."""
    _rewrite(environment, [*_without_ours(_allowed(environment)), PLUGIN_NAME])


def forbid_our_plugin(environment: MutableMapping[str, str]) -> None:
    """Keep our plugin out, and nothing else."""
    _rewrite(environment, _without_ours(_allowed(environment)))


def installed_plugins() -> list[str]:
    """Return the names vLLM loads when nothing is said: all groups but the endpoints."""
    groups = {group for group in entry_points().groups if group.startswith("vllm.")}
    names = {
        plugin.name for group in groups - {_ENDPOINT_GROUP} for plugin in entry_points(group=group)
    }
    return sorted(names)


def _allowed(environment: MutableMapping[str, str]) -> list[str]:
    value = environment.get(VARIABLE)
    return installed_plugins() if value is None else [name for name in value.split(",") if name]


def _without_ours(names: list[str]) -> list[str]:
    return [name for name in names if name != PLUGIN_NAME]


def _rewrite(environment: MutableMapping[str, str], names: list[str]) -> None:
    # An empty value means "none"; a missing one would mean "all".
    environment[VARIABLE] = ",".join(names)
