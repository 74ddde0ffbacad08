"""End to end: the real engine serves whole applications in the policy's order."""

import asyncio

import openai
import pytest
from support.traffic import Applications, Shape, run_application

pytestmark = pytest.mark.live

LARGE = Shape(width=120, depth=1, prompt_words=180, output_tokens=150)
SMALL = Shape(width=1, depth=2, prompt_words=40, output_tokens=90)


async def large_then_five_small(base_url, tag):
    """The large application first, the small ones while it runs; returns their finishes."""
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        large = asyncio.create_task(run_application(client, f"{tag}-large", LARGE))
        await asyncio.sleep(0.5)
        small = [
            asyncio.create_task(run_application(client, f"{tag}-small-{index}", SMALL))
            for index in range(5)
        ]
        return await large, [await each for each in small]


async def test_small_applications_overtake_a_large_one_within_its_bound(server):
    """Under justitia the small ones finish first, and the large one keeps its promise."""
    large, small = await large_then_five_small(server.api_url, "fair")
    assert max(small) < large
    applications = Applications(server.api_url)
    for index in range(5):
        applications.finish(f"fair-small-{index}")
    told = applications.finish("fair-large")
    assert told["state"] == "finished"
    assert told["calls"]["done"] == LARGE.width
    assert told["lateness_iterations"] <= told["bound_iterations"]


async def test_first_come_first_served_lets_the_large_one_block(fcfs_server):
    """Under fcfs the small ones do not finish before the large one."""
    large, small = await large_then_five_small(fcfs_server.api_url, "fcfs")
    assert min(small) > large
