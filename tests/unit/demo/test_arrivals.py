"""The demo's arrivals: seeded, the same for every server, four kinds, two orders."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from justitia_server.demo.client import client_folder


@pytest.fixture
def arrivals(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(client_folder()))
    return importlib.import_module("arrivals")


def test_equal_seeds_draw_equal_arrivals(arrivals: ModuleType) -> None:
    """Both servers meet exactly the same applications at the same times."""
    assert arrivals.draw_arrivals("large-first", 7) == arrivals.draw_arrivals("large-first", 7)


def test_other_seeds_draw_other_arrivals(arrivals: ModuleType) -> None:
    """The seed matters."""
    assert arrivals.draw_arrivals("large-first", 7) != arrivals.draw_arrivals("large-first", 8)


def test_both_orders_have_the_same_applications_and_instants(arrivals: ModuleType) -> None:
    """Only who arrives at which instant differs between the orders."""
    large_first = arrivals.draw_arrivals("large-first", 0)
    small_first = arrivals.draw_arrivals("small-first", 0)

    def inputs(planned: list[object]) -> set[object]:
        return {(item.app_id, item.kind, item.input, item.steps) for item in planned}

    assert inputs(large_first) == inputs(small_first)
    assert [item.arrival_s for item in large_first] == [item.arrival_s for item in small_first]


def test_order_decides_who_comes_first(arrivals: ModuleType) -> None:
    """Large first: no small application before the last large one; and the reverse."""
    kinds = [item.kind for item in arrivals.draw_arrivals("large-first", 3)]
    assert set(kinds[: arrivals.NUM_EACH]) == {arrivals.LARGE}
    assert arrivals.LARGE not in kinds[arrivals.NUM_EACH :]

    kinds = [item.kind for item in arrivals.draw_arrivals("small-first", 3)]
    assert set(kinds[-arrivals.NUM_EACH :]) == {arrivals.LARGE}


def test_at_least_24_applications_of_4_kinds(arrivals: ModuleType) -> None:
    """The demo is as large as promised."""
    planned = arrivals.draw_arrivals("large-first", 0)
    assert len(planned) >= 24
    assert len({item.kind for item in planned}) >= 4


def test_arrivals_ascend_from_zero(arrivals: ModuleType) -> None:
    """The first application opens the run; none comes before the one in front of it."""
    instants = [item.arrival_s for item in arrivals.draw_arrivals("small-first", 1)]
    assert instants[0] == 0.0
    assert instants == sorted(instants)


def test_unknown_order_is_refused(arrivals: ModuleType) -> None:
    """A typing mistake is named, with what there is."""
    with pytest.raises(ValueError, match="large-first, small-first"):
        arrivals.draw_arrivals("largest-first", 0)


def test_pieces_lose_no_word(arrivals: ModuleType) -> None:
    """A dossier cut into pieces is still the whole dossier."""
    corpus = importlib.import_module("corpus")
    text = corpus.documents()["harbour_history"]
    parts = corpus.pieces(text, chars=500)
    assert " ".join(parts).split() == text.split()
    assert max(map(len, parts)) <= 520
