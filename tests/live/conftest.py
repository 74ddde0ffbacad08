"""The servers the live tests share: one a policy, started when first asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.server import SCARCE_KV, LiveServer


@pytest.fixture(scope="session")
def server() -> Iterator[LiveServer]:
    """`justitia serve --toy`, fair order, with so little KV memory that order matters."""
    with LiveServer("--policy", "justitia", *SCARCE_KV) as running:
        yield running


@pytest.fixture(scope="session")
def fcfs_server() -> Iterator[LiveServer]:
    """The same server under first come, first served, and quick to give up on idle ones."""
    with LiveServer("--policy", "fcfs", "--idle-timeout", "2", *SCARCE_KV) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder, so that `-m 'not live'` leaves it out."""
    for item in items:
        if "tests/live/" in item.path.as_posix():
            item.add_marker(pytest.mark.live)
