"""
One workload on one live server, from the first preparation to the last receipt.

Whatever can be done before the first arrival is done then, so that the client is no bottleneck: all
prompts, plans and clients are made, one short call warms the server up, and garbage is collected.
"""

from __future__ import annotations

import asyncio
import gc
import resource
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from justitia_sdk.errors import ServerError
from justitia_server.serve.watch import Watch

from ..simulation.outcomes import Run
from ..simulation.workload import Arriving, Call
from .calls import LiveApplication
from .clock import MonotonicClock
from .outcomes import note_engine, note_outcomes
from .play import CallFailed, Player, Tally
from .receipts import Receipts
from .server import LiveServer

LEAD_S = 0.5  # from the last preparation to the first arrival
_WARM_UP = Arriving(
    app_id="warm-up",
    app_type="warm-up",
    arrival_s=0.0,
    calls=[Call(id=0, prompt_tokens=8, output_tokens=8)],
)


@dataclass(frozen=True, slots=True)
class Manner:
    """
    How workloads are played.

    Attributes:
        declares_plan: Applications tell the server their true structure and cost.
        speed: Divides all arrivals and delays.
        salt: Of the prefix cache; what differs in it shares nothing.
    """

    declares_plan: bool
    speed: float
    salt: str


async def run_live(
    workload: Sequence[Arriving],
    server: LiveServer,
    manner: Manner,
    tally: Tally,
    *,
    policy: str,
    seed: int,
) -> Run:
    """
    Play *workload* on *server* and return what became of everyone.

    Args:
        workload: By arrival.
        server: Where.
        manner: How.
        tally: Told of everything that happens.
        policy: Name of the run.
        seed: Of the workload.

    Raises:
        ServerError: The server does not serve even the first call.
        ConfigurationError: An application's type, weight or counts are beyond what hints can say.
    """
    clock = MonotonicClock()
    lives = {each.app_id: _prepared(each, server, clock, manner, seed) for each in workload}
    receipts = Receipts()

    @asynccontextmanager
    async def open_application(application: Arriving) -> AsyncIterator[LiveApplication]:
        async with lives[application.app_id].open() as live:
            yield live
        if server.policy is not None:
            await receipts.note_end(live)

    try:
        await _warm_up(_prepared(_WARM_UP, server, clock, manner, seed))
        for live in lives.values():
            await live.connect()
        with _few_collections(), Watch(server.access.address) as watch:
            clock.set(workload[0].arrival_s / manner.speed - LEAD_S)
            player = Player(open_application, clock, tally, speed=manner.speed)
            played = await player.play(workload)
        await receipts.settle()
    finally:
        await asyncio.gather(*(live.close() for live in lives.values()))
    run = Run(policy, seed, busy_s=tally.busy_s, capacity=server.capacity or 0)
    note_engine(run, watch.samples)
    note_outcomes(run, played, receipts, server)
    return run


def _prepared(
    application: Arriving, server: LiveServer, clock: MonotonicClock, manner: Manner, seed: int
) -> LiveApplication:
    return LiveApplication(
        application,
        server,
        clock,
        declares_plan=manner.declares_plan,
        salt=f"{manner.salt}-{seed}",
    )


async def _warm_up(live: LiveApplication) -> None:
    """Make one call before all others, so that none pays for the server's first."""
    try:
        await live.connect()  # from its reply the SDK knows that it is to tell of the end
        async with live.open():
            await live.call(_WARM_UP.calls[0])
    except CallFailed as failed:
        raise ServerError(f"the server does not serve a first short call: {failed}") from failed
    finally:
        await live.close()


@contextmanager
def _few_collections() -> Iterator[None]:
    """Keep Python's garbage collector from looking at everything there is in the midst of a run."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def allow_many_connections() -> None:
    """Let this process open as many files as it may: every call under way has a connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
