"""What a live server does not tell is left out, in measures and files."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest

from justitia_server.bench.outcomes import note_engine, note_outcomes
from justitia_server.bench.play import Played
from justitia_server.bench.receipts import Receipts
from justitia_server.bench.server import Access, LiveServer
from justitia_server.serve.watch import Sample
from justitia_server.simulation.measures import measures_of
from justitia_server.simulation.outcomes import COLUMNS, Run, write_applications

JCTS = {"mean_jct_s", "p50_jct_s", "p90_jct_s", "p99_jct_s"}
STOCK = LiveServer(Access("http://x"), "toy")
OURS = LiveServer(
    Access("http://x"), "toy", policy="justitia", clock="delivered", cost="kv_token_time"
)
TOLD = {
    "state": "finished",
    "fair_finish_is_provisional": False,
    "weight": 1.0,
    "virtual_start": 0.0,
    "virtual_finish": 60.0,
    "attained_cost": 65,
    "lateness_s": 0.25,
    "lateness_iterations": 12,
    "bound_iterations": 70.0,
}


class Ended:
    def __init__(self, app_id):
        self.app_id = app_id

    async def ask_receipt(self):
        return TOLD


async def run_on(server, played, *, samples=()):
    receipts = Receipts()
    if server.policy is not None:
        for each in played:
            await receipts.note_end(Ended(each.application.app_id))
        await receipts.settle()
    run = Run("p", busy_s=2.0)
    note_engine(run, list(samples))
    note_outcomes(run, played, receipts, server)
    return run


@pytest.fixture
def played(application):
    return [Played(application(name, {}), 1.0, 1.0 + jct_s) for name, jct_s in (("a", 1), ("b", 3))]


async def test_of_a_stock_server_only_the_client_knows(played):
    """Completion times and throughput, and what vLLM's metrics say."""
    samples = [Sample(0.5, 2, 0, 0, 0), Sample(0.5, 2, 0, 200, 1)]
    measures = measures_of(await run_on(STOCK, played, samples=samples))
    known = JCTS | {"throughput_tokens_s", "kv_utilisation", "num_preemptions"}
    assert set(measures) == known
    assert (measures["mean_jct_s"], measures["throughput_tokens_s"]) == (2.0, 5.0)
    assert (measures["kv_utilisation"], measures["num_preemptions"]) == (0.5, 1.0)


async def test_without_metrics_nothing_is_made_up(played):
    """A server may have none, or not vLLM's."""
    for samples in ((), [Sample(0.0, 0, 0, 0, 0)]):
        measures = measures_of(await run_on(STOCK, played, samples=samples))
        assert set(measures) == JCTS | {"throughput_tokens_s"}


async def test_our_books_tell_lateness_and_predictions(played):
    """Fair finish is on the client's clock, lateness on the server's."""
    samples = [Sample(0.5, 2, 0, 0, 0), Sample(0.5, 2, 0, 200, 1)]
    run = await run_on(OURS, played, samples=samples)
    measures = measures_of(run)
    assert (measures["worst_lateness_s"], measures["on_time_ratio"]) == (0.25, 0.0)
    assert measures["prediction_mre"] == pytest.approx(5 / 65)
    assert "worst_lateness_s_nominal" not in measures
    first = run.outcomes[0]
    assert (first.finish_s, first.fair_finish_s) == (2.0, 1.75)
    assert first.bound_s == pytest.approx(70 * 2.0 / 200)


async def test_the_nominal_reference_is_another_measure(played):
    """The same receipts under the paper's clock."""
    measures = measures_of(await run_on(replace(OURS, clock="nominal"), played))
    assert measures["worst_lateness_s_nominal"] == 0.25
    assert not {"worst_lateness_s", "on_time_ratio", "bound_violations"} & set(measures)


async def test_a_reference_in_another_unit_dates_nothing(played):
    """That of a policy which charges p + 2d."""
    run = await run_on(replace(OURS, cost="compute"), played)
    assert math.isnan(run.outcomes[0].fair_finish_s)
    assert "worst_lateness_s" not in measures_of(run)


async def test_failed_applications_are_rows_without_a_finish_and_in_no_mean(played, tmp_path):
    """And what is not known is an empty cell."""
    run = await run_on(STOCK, [played[0], replace(played[1], failure="call 0 of b: no")])
    assert measures_of(run)["mean_jct_s"] == 1.0
    write_applications(tmp_path / "applications.csv", [run])
    with (tmp_path / "applications.csv").open() as file:
        done, failed = csv.DictReader(file)
    assert tuple(done) == COLUMNS
    assert (done["app_id"], done["jct_s"], done["fair_finish_s"]) == ("a", "1", "")
    assert (failed["app_id"], failed["arrival_s"], failed["cost"]) == ("b", "1", "65")
    assert failed["finish_s"] == failed["jct_s"] == ""


async def test_policies_are_compared_over_applications_that_both_served(played):
    """One that failed under the other has no ratio."""
    mine = await run_on(STOCK, played)
    other = await run_on(STOCK, [replace(played[0], finish_s=3.0), replace(played[1], failure="x")])
    measures = measures_of(mine, beside={"vtc": other})
    assert measures["mean_jct_vs_vtc"] == measures["worst_ratio_to_vtc"] == 0.5
