"""`Receipt`: what a server says of one application."""

from typing import assert_type

import justitia_sdk as justitia


def read(receipt: justitia.Receipt) -> None:
    assert_type(receipt.app_id, str)
    assert_type(receipt.type, str)
    assert_type(receipt.state, str)
    assert_type(receipt.jct_s, float | None)
    assert_type(receipt.wait_s, float | None)
    assert_type(receipt.run_s, float | None)
    assert_type(receipt.cost, float)
    assert_type(receipt.predicted_cost, float)
    assert_type(receipt.fair_jct_s, float | None)
    assert_type(receipt.is_provisional, bool)
    assert_type(receipt.lateness_s, float | None)
    assert_type(receipt.bound_iterations, float | None)
    assert_type(receipt.calls, int)
    assert_type(receipt.retries, int)
    assert_type(receipt.late_calls, int)
    assert_type(str(receipt), str)
    receipt.calls = 1  # type: ignore[misc]
