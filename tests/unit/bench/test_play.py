"""Playing a workload in virtual time: who is called when, and what a failure does."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from justitia_server.bench.play import CallFailed, Player, Tally

TAKES_S = 2.0


class Server:
    """Answers each call after a while, refuses some, and writes down when they came."""

    def __init__(self, clock, *, fails=(), held_up_s=0.0):
        self.came = {}
        self.closed = []
        self._clock = clock
        self._fails = fails
        self._held_up_s = held_up_s

    @asynccontextmanager
    async def open(self, application):
        yield Line(self, application.app_id)
        self.closed.append(application.app_id)

    async def serve(self, app_id, call):
        sent_s = self.came[app_id, call.id] = self._clock.now() + self._held_up_s
        if (app_id, call.id) in self._fails:
            raise CallFailed(f"call {call.id} of {app_id}: no")
        await self._clock.sleep_until(sent_s + TAKES_S)
        return sent_s


class Line:
    def __init__(self, server, app_id):
        self._server = server
        self._app_id = app_id

    async def call(self, call):
        return await self._server.serve(self._app_id, call)


async def play(clock, server, *workload, speed=1.0):
    tally = Tally(len(workload))
    player = Player(server.open, clock, tally, speed=speed)
    return await clock.run(player.play(workload)), tally


async def test_arrivals_do_not_wait_for_anybody(clock, application):
    """Each application begins when it is due, however long those before it take."""
    server = Server(clock)
    workload = [application(f"a{at}", {}, arrival_s=at) for at in (0.0, 0.5, 0.75)]
    played, _ = await play(clock, server, *workload)
    assert list(server.came.values()) == [0.0, 0.5, 0.75]
    assert [each.finish_s for each in played] == [2.0, 2.5, 2.75]


async def test_a_call_waits_for_the_last_of_those_before_it_and_its_delay(clock, application):
    """0 and 1 at once; 2 a second after 0; 3 when 1 and 2 have ended."""
    server = Server(clock)
    calls = ({}, {}, {"after": [0], "delay_s": 1.0}, {"after": [1, 2]})
    (played,), _ = await play(clock, server, application("a", *calls, arrival_s=1.0))
    assert server.came == {("a", 0): 1.0, ("a", 1): 1.0, ("a", 2): 4.0, ("a", 3): 6.0}
    assert (played.arrival_s, played.finish_s) == (1.0, 8.0)


async def test_a_first_call_may_have_a_delay(clock, application):
    """It counts from the arrival."""
    server = Server(clock)
    await play(clock, server, application("a", {"delay_s": 0.5}, arrival_s=1.0))
    assert server.came == {("a", 0): 1.5}


async def test_speed_divides_arrivals_and_delays(clock, application):
    """And nothing else: the server takes as long as it takes."""
    server = Server(clock)
    calls = ({}, {"after": [0], "delay_s": 1.0})
    (played,), _ = await play(clock, server, application("a", *calls, arrival_s=1.0), speed=4.0)
    assert server.came == {("a", 0): 0.25, ("a", 1): 0.25 + TAKES_S + 0.25}
    assert (played.arrival_s, played.finish_s) == (0.25, 4.5)


async def test_slip_is_what_the_client_was_late(clock, application):
    """From when a call was due to when it went out."""
    server = Server(clock, held_up_s=0.25)
    _, tally = await play(clock, server, application("a", {}, {"after": [0]}))
    assert tally.slips_s == [0.25, 0.25]
    assert tally.max_slip_s == 0.25


async def test_the_server_is_busy_while_a_call_is_open(clock, application):
    """Gaps between calls do not count."""
    workload = [application("a", {}), application("b", {}, arrival_s=1.0)]
    workload.append(application("c", {}, arrival_s=10.0))
    _, tally = await play(clock, Server(clock), *workload)
    assert tally.busy_s == 3.0 + TAKES_S
    assert (tally.num_ended, tally.num_failed, tally.num_open) == (3, 0, 0)


async def test_a_failed_call_ends_its_application_and_no_other(clock, application):
    """What comes after it is never sent; its scope is left; the others go on."""
    server = Server(clock, fails={("a", 1)})
    broken = application("a", {}, {"delay_s": 0.5}, {"after": [0, 1]})
    played, tally = await play(clock, server, broken, application("b", {}, {"after": [0]}))
    assert [each.failure for each in played] == ["call 1 of a: no", None]
    assert set(server.came) == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}
    assert server.closed == ["a", "b"]
    assert (tally.num_ended, tally.num_failed, tally.num_open) == (2, 1, 0)


async def test_a_fault_of_our_own_is_not_a_failed_call(clock, application):
    """It stops the run."""
    server = Server(clock)
    server.serve = None
    with pytest.raises(ExceptionGroup):
        await play(clock, server, application("a", {}))
