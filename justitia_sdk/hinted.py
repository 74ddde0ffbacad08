"""A client class that sends hints, made from any client class of the official library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai._base_client import BaseClient

from .outgoing import DIALECT_ATTRIBUTE, add_body, add_hints, hear_server


class HintedClient(BaseClient[Any, Any]):
    """Mixin for a client, sync or async: hints go out, the server's reply header is heard."""

    _justitia_dialect: str | None = None  # None: what all clients speak

    if not TYPE_CHECKING:  # users keep the types of the official client's

        def copy(self, **kwargs: Any) -> Any:
            """Return a copy, which speaks the same dialect."""
            twin = super().copy(**kwargs)
            setattr(twin, DIALECT_ATTRIBUTE, self._justitia_dialect)
            return twin

        with_options = copy

    def _build_request(self, options: Any, **kwargs: Any) -> Any:
        request = super()._build_request(add_body(self, options), **kwargs)
        add_hints(self, request, options)
        return request

    def _process_response(self, *, response: Any, **kwargs: Any) -> Any:
        hear_server(self, response)
        return super()._process_response(response=response, **kwargs)  # type: ignore[misc]

    def _make_status_error_from_response(self, response: Any) -> Any:
        hear_server(self, response)
        return super()._make_status_error_from_response(response)


_classes: dict[type, type] = {}  # client class -> the same with hints


def hinted_class(client_class: type) -> type:
    """Return *client_class* with hints, under the same name; itself if it sends them already."""
    if issubclass(client_class, HintedClient):
        return client_class
    if client_class not in _classes:
        names = {"__module__": client_class.__module__, "__doc__": client_class.__doc__}
        bases = (HintedClient, client_class)
        _classes[client_class] = type(client_class.__name__, bases, names)
    return _classes[client_class]
