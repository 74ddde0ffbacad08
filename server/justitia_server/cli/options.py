"""
Options that several commands take, as dataclasses, each with what its options amount to.

A command that is decorated with `takes(drawn=DrawOptions)` has every field of `DrawOptions` as an
option of its own, under a heading of their own in its help, and is called with the one object.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from justitia_sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from justitia_server.simulation.server import Server
    from justitia_server.simulation.workload import Arriving

_Result = TypeVar("_Result")


def takes(**groups: type[Any]) -> Callable[[Callable[..., _Result]], Callable[..., _Result]]:
    """Give a command the options of *groups*, dataclasses by the name of the parameter."""

    def decorate(command: Callable[..., _Result]) -> Callable[..., _Result]:
        @wraps(command)
        def run(**told: Any) -> _Result:
            for name, group in groups.items():
                told[name] = group(**{each.name: told.pop(each.name) for each in fields(group)})
            return command(**told)

        hints = get_type_hints(command, include_extras=True)
        own = [
            each.replace(annotation=hints[each.name])
            for each in inspect.signature(command).parameters.values()
            if each.name not in groups
        ]
        options = [option for group in groups.values() for option in _options(group)]
        run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in (*own, *options)}
        return run

    return decorate


def _options(group: type[Any]) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for hint in hints.values():
        (option,) = hint.__metadata__
        option.rich_help_panel = (group.__doc__ or "").rstrip(".")
    return [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(each),
            annotation=hints[each.name],
        )
        for each in fields(group)
    ]


def _default(field: Field[Any]) -> Any:
    return inspect.Parameter.empty if field.default is MISSING else field.default


@dataclass(frozen=True, slots=True)
class CapacityOptions:
    """The server that a workload is drawn for."""

    blocks: Annotated[int, typer.Option(help="KV blocks.", min=1)] = 459
    block_size: Annotated[int, typer.Option(help="Tokens a block.", min=1)] = 16
    step_time: Annotated[
        str, typer.Option(help="GPU/MODEL of the table that ships, or FILE:GPU/MODEL.")
    ] = "A100-80GB SXM/Llama-2-7B"

    def server(self) -> Server:
        """
        Return the server.

        Raises:
            ConfigurationError: Its step time is unknown.
        """
        from justitia_server.simulation.server import Server
        from justitia_server.simulation.step_time import read_step_time

        return Server(read_step_time(self.step_time), self.blocks, self.block_size)


@dataclass(frozen=True, slots=True)
class ServerOptions(CapacityOptions):
    """The server."""

    max_num_seqs: Annotated[int, typer.Option(help="Most sequences in a batch.", min=1)] = 256
    max_num_batched_tokens: Annotated[
        int, typer.Option(help="Most tokens a step computes.", min=1)
    ] = 8192
    prefix_caching: Annotated[bool, typer.Option(help="Share KV blocks of equal prefixes.")] = False
    overlap: Annotated[
        bool, typer.Option(help="Schedule while the step before is computed, as on a GPU.")
    ] = True

    def server(self) -> Server:
        """
        Return the server.

        Raises:
            ConfigurationError: vLLM could not run it, or its step time is unknown.
        """
        return replace(
            CapacityOptions.server(self),
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            prefix_caching=self.prefix_caching,
            overlap=self.overlap,
        )


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """Drawn workloads."""

    applications: Annotated[int, typer.Option(help="Applications to draw.", min=1)] = 210
    load: Annotated[float, typer.Option(help="Offered load: work over what the server can do.")] = (
        1.0
    )
    families: Annotated[
        str, typer.Option(help="Types to draw from, or files; all that come with the package.")
    ] = ""
    arrivals: Annotated[
        str,
        typer.Option(help="File of arrivals (ours, Azure, Mooncake), vtc_lmsys, azure_code_30min."),
    ] = "vtc_lmsys"
    most_call_tokens: Annotated[
        int | None, typer.Option(help="Leave out applications with a longer call (p + d).", min=1)
    ] = None
    tenants: Annotated[bool, typer.Option(help="Keep the tenants of the arrivals.")] = False
    rate: Annotated[
        float | None,
        typer.Option(help="KV token-time per second for the load; from the step time."),
    ] = None

    def draw(self, server: Server, seed: int) -> list[Arriving]:
        """
        Draw the workload of *seed* for *server*.

        Raises:
            ConfigurationError: Something that cannot be read or drawn.
        """
        from justitia_server.simulation.drawing import Draw, draw_workload
        from justitia_server.simulation.shipped import named_arrivals, named_families

        most = min(self.most_call_tokens or server.capacity, server.capacity)
        rate = self.rate_on(server)
        draw = Draw(self.applications, self.load, rate, most, self.tenants)
        families = named_families(names(self.families))
        return draw_workload(families, named_arrivals(self.arrivals), draw, seed)

    def rate_on(self, server: Server) -> float:
        """
        Return KV token-time per second of *server*.

        Raises:
            ConfigurationError: The one told is no rate.
        """
        rate = server.rate if self.rate is None else self.rate
        if not 0 < rate < float("inf"):
            raise ConfigurationError(f"rate must be finite and above 0, not {rate}")
        return rate


def names(told: str) -> list[str]:
    """Return the names in "a, b", each once."""
    return list(dict.fromkeys(name.strip() for name in told.split(",") if name.strip()))


def some_names(option: str, told: str) -> list[str]:
    """
    Return the names in *told*.

    Raises:
        ConfigurationError: There is none.
    """
    if not (found := names(told)):
        raise ConfigurationError(f"--{option} names nothing: give one, or some with commas between")
    return found


def seeds(told: str) -> Sequence[int]:
    """
    Return the seeds in "1,2,3".

    Raises:
        ConfigurationError: They are no whole numbers, or none is there.
    """
    found = some_names("seeds", told)
    try:
        return [int(name) for name in found]
    except ValueError:
        raise ConfigurationError(
            f"seeds are whole numbers with commas between, not {told!r}"
        ) from None


def writable_folder(path: Path) -> Path:
    """
    Make sure, before any work is done, that files can be written into *path*; make it if need be.

    Raises:
        ConfigurationError: They cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".justitia-can-write"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(f"cannot write into {path}: {error.strerror}") from None
    return path
