"""Who delayed whom."""

import pytest

from justitia_server.simulation.waits import Waits


def test_a_wait_is_shared_among_those_who_hold_the_memory():
    """In proportion; the parts sum to the time."""
    waits = Waits("a")
    waits.note(4.0, {"b": 300, "c": 100}, {"a"})
    assert waits.behind == {"b": 3.0, "c": 1.0}
    assert waits.waited_s == 4.0


def test_one_waits_behind_itself_too():
    """Its other calls hold memory."""
    waits = Waits("a")
    waits.note(4.0, {"a": 100, "b": 100}, {"a"})
    assert waits.behind == {"a": 2.0, "b": 2.0}


def test_others_wait_for_its_part():
    """What it holds of the memory, for each of them."""
    waits = Waits("a")
    waits.note(4.0, {"a": 100, "b": 300}, {"c", "d"})
    waits.note(1.0, {"a": 100}, {"c"})
    assert waits.kept_waiting == {"c": 2.0, "d": 1.0}
    assert waits.served_s == 5.0


def test_away_it_neither_waits_nor_is_served():
    """Others go on."""
    waits = Waits("a")
    waits.note(4.0, {"b": 100}, {"c"})
    assert (waits.waited_s, waits.served_s, waits.kept_waiting) == (0, 0, {})


def test_two_of_equal_size_wait_for_each_other_alike():
    """Seen from the one as from the other."""
    steps = [({"a": 10, "b": 30}, {"b"}), ({"b": 40}, {"a"}), ({"a": 5, "b": 5}, {"a", "b"})]
    one, other = Waits("a"), Waits("b")
    for held, waiting in steps:
        one.note(1.0, held, waiting)
        other.note(1.0, held, waiting)
    assert one.behind["b"] == pytest.approx(other.kept_waiting["a"])
    assert other.behind["a"] == pytest.approx(one.kept_waiting["b"])
