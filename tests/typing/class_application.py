"""`Application`: what an open scope offers."""

from typing import Any, assert_type

import justitia_sdk as justitia


def use(app: justitia.Application) -> None:
    assert_type(app.app_id, str)
    assert_type(app.type, str)
    assert_type(app.weight, float)
    assert_type(app.is_finished, bool)
    assert_type(app.plan, justitia.Plan | None)
    assert_type(app.root, justitia.Application)
    assert_type(app.headers(), dict[str, str])
    assert_type(app.headers(stage="map", dialect="vllm"), dict[str, str])
    assert_type(app.carrier(), dict[str, str])
    assert_type(app.env(), dict[str, str])
    assert_type(app.handle(), justitia.Handle)
    assert_type(app.report(), justitia.Receipt)
    assert_type(app.report(timeout_s=1, wait_s=0.5), justitia.Receipt)
    app.expect(justitia.Plan(()))
    app.finish()


def scopes(app: justitia.Application) -> None:
    with app.stage("map"), app.tool("search"):
        pass
    with app.stage("map", calls=40, parallel=8, output_tokens=200):
        pass
    with app.stage("map", calls=(1, 40)), app.tool("person", expected_s=60):
        pass


async def asynchronously(app: justitia.Application) -> None:
    assert_type(await app.areport(), justitia.Receipt)
    async with app.stage("map"), app.tool("search"):
        pass


def wrongly(app: justitia.Application) -> Any:
    app.stage()  # type: ignore[call-arg]
    app.stage("map", calls="many")  # type: ignore[arg-type]
    app.stage("map", 3)  # type: ignore[call-arg]
    app.tool(search=1)  # type: ignore[call-arg]
    app.expect([justitia.Stage("map")])  # type: ignore[arg-type]
    app.app_id = "mine"  # type: ignore[misc]
    app.finish(1)  # type: ignore[call-arg]
