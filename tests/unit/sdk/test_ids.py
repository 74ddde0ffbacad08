"""Ids."""

import re

from justitia_sdk.ids import new_ulid


def test_ulid_has_26_characters_of_crockford() -> None:
    """An id is a ULID as others read it."""
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", new_ulid())


def test_ulids_differ() -> None:
    """No two ids are the same."""
    assert len({new_ulid() for _ in range(1000)}) == 1000


def test_ulids_sort_by_time() -> None:
    """An id made in a later millisecond sorts later."""
    first = new_ulid()
    while (second := new_ulid())[:10] == first[:10]:
        pass
    assert first < second
