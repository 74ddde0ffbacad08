"""
Drawing a workload: real applications put onto real arrival stamps, at an offered load.

Offered load is the work that arrives over the work the server can do meanwhile:

    load = sum of C / (span * rate),    rate in KV token-time per second

To reach a load time is scaled, all stamps by one factor; token counts never are. Families are mixed
evenly. A family with too few applications is gone through again, in another order; a copy has its
own id. Everything follows from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from justitia_sdk.errors import ConfigurationError

from .arrivals import Stamp
from .workload import Application, Arriving


@dataclass(frozen=True, slots=True)
class Draw:
    """
    What to draw.

    Attributes:
        num_applications: How many.
        load: Offered load.
        rate: KV token-time per second that the server can do.
        most_call_tokens: Applications with a longer call (p + d) are left out; None for no limit.
        with_tenants: Keep the tenants of the stamps; else all are one.
    """

    num_applications: int
    load: float
    rate: float
    most_call_tokens: int | None = None
    with_tenants: bool = False

    def __post_init__(self) -> None:
        if self.num_applications < 1:
            raise ConfigurationError("the number of applications must be at least 1")
        for field in ("load", "rate"):
            if not 0 < getattr(self, field) < float("inf"):
                raise ConfigurationError(f"{field} must be finite and above 0")


def draw_workload(
    families: Mapping[str, Sequence[Application]], stamps: Sequence[Stamp], draw: Draw, seed: int
) -> list[Arriving]:
    """
    Return a workload, by arrival.

    Args:
        families: Applications by type.
        stamps: Ascending; as many in a row as are needed are taken, from anywhere.
        draw: What to draw.
        seed: Of all choices.

    Raises:
        ConfigurationError: Too few stamps, or a family with no application short enough.
    """
    chance = random.Random(f"workload-{seed}")
    applications = _mix(families, draw, chance)
    if len(stamps) < draw.num_applications:
        raise ConfigurationError(
            f"{draw.num_applications} applications need as many arrivals, not {len(stamps)}"
        )
    begin = chance.randint(0, len(stamps) - draw.num_applications)
    window = stamps[begin : begin + draw.num_applications]
    scale = _scale(applications, window, draw)
    return [
        Arriving(
            **application.model_dump(exclude_defaults=True),
            arrival_s=(stamp.arrival_s - window[0].arrival_s) * scale,
            tenant=stamp.tenant if draw.with_tenants else "",
        )
        for application, stamp in zip(applications, window, strict=True)
    ]


def offered_load(workload: Sequence[Arriving], rate: float) -> float:
    """Return the work of *workload* over what *rate* can do until its last arrival."""
    span = workload[-1].arrival_s - workload[0].arrival_s
    return sum(each.cost for each in workload) / (span * rate) if span else float("inf")


def _mix(
    families: Mapping[str, Sequence[Application]], draw: Draw, chance: random.Random
) -> list[Application]:
    """Return so many of each family, give or take one, in random order."""
    names = sorted(families)
    chance.shuffle(names)  # who gets one more
    applications: list[Application] = []
    for place, name in enumerate(names):
        share, rest = divmod(draw.num_applications, len(names))
        applications += _take(name, families[name], share + (place < rest), draw, chance)
    chance.shuffle(applications)
    return applications


def _take(
    name: str, family: Sequence[Application], number: int, draw: Draw, chance: random.Random
) -> list[Application]:
    most = draw.most_call_tokens
    short = [each for each in family if most is None or _longest_call(each) <= most]
    if not short:
        raise ConfigurationError(f"no application of {name} has all its calls within {most} tokens")
    taken: list[Application] = []
    num_rounds = 0
    while len(taken) < number:
        again = chance.sample(short, min(len(short), number - len(taken)))
        taken += [_copy(each, num_rounds) for each in again]
        num_rounds += 1
    return taken


def _longest_call(application: Application) -> int:
    return max(call.prompt_tokens + call.output_tokens for call in application.calls)


def _copy(application: Application, number: int) -> Application:
    if not number:
        return application
    return application.model_copy(update={"app_id": f"{application.app_id}#{number}"})


def _scale(applications: Sequence[Application], window: Sequence[Stamp], draw: Draw) -> float:
    span = window[-1].arrival_s - window[0].arrival_s
    if not span:
        return 0.0
    return sum(each.cost for each in applications) / (draw.rate * draw.load) / span
