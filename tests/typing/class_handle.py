"""`Handle`: opens an application elsewhere."""

from typing import assert_type

import justitia_sdk as justitia


def use(handle: justitia.Handle) -> None:
    with handle as app:
        assert_type(app, justitia.Application)
    assert_type(handle.application, justitia.Application)


async def asynchronously(handle: justitia.Handle) -> None:
    async with handle as app:
        assert_type(app, justitia.Application)
