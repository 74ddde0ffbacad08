"""Our queue as vLLM uses it."""

from types import SimpleNamespace

import pytest
from support.books import Books

from justitia_server.engine.meter import Meter
from justitia_server.engine.request_queue import ApplicationRequestQueue, bind_call

pytestmark = pytest.mark.engine


def queue_of_two():
    """Return books, a queue, and the waiting requests of a small and a large application."""
    books = Books()
    queue = ApplicationRequestQueue(books.policy, Meter(books.ledger), lambda: books.now)
    books.ledger.on_fall = queue.refresh
    requests = []
    for app_id, cost in [("small", 100.0), ("large", 1000.0)]:
        call = books.call(app_id, cost=cost)
        books.queue.remove(call)
        requests.append(SimpleNamespace(num_output_tokens=0, num_stale_output_tokens=0))
        bind_call(requests[-1], call)
        queue.add_request(requests[-1])
    return books, queue, requests


def test_what_was_peeked_at_is_popped_whatever_the_order_has_become():
    """Memory was allocated for it in between; the other is the next."""
    books, queue, (small, large) = queue_of_two()
    assert queue.peek_request() is small
    books.ledger.revise("large", 50.0, books.now)
    assert queue.pop_request() is small
    assert queue.pop_request() is large


def test_what_was_peeked_at_and_removed_is_not_popped():
    """It was aborted in between."""
    _, queue, (small, large) = queue_of_two()
    assert queue.peek_request() is small
    queue.remove_request(small)
    assert queue.pop_request() is large
    assert not queue


def test_what_was_popped_and_put_back_waits_on():
    """vLLM passes over a call whose grammar is not ready yet, in every step."""
    books, queue, (small, _) = queue_of_two()
    spells = small.justitia_call.account.spells
    for _ in range(3):
        books.now += 1
        queue.prepend_request(queue.pop_request())
    assert spells.until(books.now) == (3, 0)
    queue.pop_request()
    books.now += 2
    assert spells.until(books.now) == (3, 2)
