"""vLLM's request queue over ours: translation between its requests and our calls, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from vllm.v1.core.sched.request_queue import RequestQueue
from vllm.v1.request import Request

from ..fairness.accounts import Account, Call
from ..fairness.call_queue import CallQueue
from ..fairness.policies.base import Policy, precedes
from .meter import Meter


class Rank:
    """
    What stands in `request.priority`: where a call stands in the policy's order *now*.

    vLLM compares it only to find the running request to preempt. Comparing late spares keeping the
    running calls' keys up to date while tags move.
    """

    __slots__ = ("_call", "_policy")

    def __init__(self, policy: Policy, call: Call) -> None:
        self._policy = policy
        self._call = call

    def __lt__(self, other: Rank) -> bool:
        return precedes(self._policy, self._call, other._call)

    def __gt__(self, other: Rank) -> bool:
        return precedes(self._policy, other._call, self._call)


def call_of(request: Request) -> Call:
    """Return the call that *request* is; the scheduler binds one to every request it takes."""
    call: Call = request.justitia_call
    return call


def bind_call(request: Request, call: Call) -> None:
    """Let *request* and *call* be one; whoever ends the call unbinds it from the request."""
    request.justitia_call = call
    call.request = request


class ApplicationRequestQueue(RequestQueue):  # type: ignore[misc]
    """Waiting requests, grouped by application, in the policy's order."""

    def __init__(self, policy: Policy, meter: Meter, clock: Callable[[], float]) -> None:
        self._calls = CallQueue(policy)
        self._meter = meter
        self._clock = clock
        self._peeked: Call | None = None

    def add_request(self, request: Request) -> None:
        """Let *request* wait."""
        call = call_of(request)
        self._calls.add(call)
        self._meter.wait(call, self._clock())

    def pop_request(self) -> Request:
        """Remove and return the request peeked at, which vLLM has made room for; else the next."""
        call = self._peeked
        if call is None or call.queue is not self._calls:
            call = self._calls.peek()
        self._peeked = None
        self._calls.remove(call)
        self._meter.admit(call, self._clock())
        request: Request = call.request
        return request

    def peek_request(self) -> Request:
        """Return the request to serve next."""
        self._peeked = call = self._calls.peek()
        request: Request = call.request
        return request

    def prepend_request(self, request: Request) -> None:
        """Let a skipped or preempted request wait again: its place is where its key says."""
        self.add_request(request)

    def prepend_requests(self, requests: Iterable[Request]) -> None:
        """Let skipped requests wait again."""
        for request in requests:
            self.add_request(request)

    def remove_request(self, request: Request) -> None:
        """Remove *request*, which will not come back."""
        self._calls.remove(call_of(request))

    def remove_requests(self, requests: Iterable[Request]) -> None:
        """Remove *requests*, which will not come back; those not here are left alone."""
        for request in requests:
            self._calls.remove(call_of(request))

    def refresh(self, account: Account) -> None:
        """Take notice that keys of *account*'s calls may have fallen."""
        self._calls.refresh(account)

    def __bool__(self) -> bool:
        return self._calls.num_waiting > 0

    def __len__(self) -> int:
        return self._calls.num_waiting

    def __iter__(self) -> Iterator[Request]:
        return (call.request for call in self._calls)
