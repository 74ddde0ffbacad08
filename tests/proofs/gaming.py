"""
What a tenant gains, and what others lose, when it games the order.

One tenant plays a game with its 50 applications, the others are honest; the same arrivals are run
with the tenant honest, and the two runs are compared: mean completion time of the tenant's
applications, and lateness of the honest ones against the shadow reference with true costs.

A workload has two to four tenants of equal weight, 50 applications each, at loads from 1 to 2.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from unittest.mock import patch

from justitia_server.fairness.tenants import Tenant

from .driver import Application, Outcome, Result, Server, run
from .loops import LOOPS, Declared

GAMER = "gamer"
NUM_APPLICATIONS = 50  # of each tenant
NUM_CALLS = 50  # of each of the gamer's applications
SERVER = Server()  # 459 blocks of 16
FULL = 0.9  # share of memory that is delivered under load; loads are relative to it


Declaration = Callable[[int, Application], Declared]  # of the gamer's n-th application


@dataclass(frozen=True, slots=True)
class Game:
    """
    A way to play.

    Attributes:
        name: As it is shown.
        declares: What is declared of the gamer's n-th application.
        splits: Each application is handed in as 50.
        ends: Whether the gamer's applications are ever ended.
    """

    name: str
    declares: Declaration = lambda index, application: Declared()
    splits: bool = False
    ends: bool = True


def first(number: int, factor: float) -> Declaration:
    """Return the declaration of *factor* for the first *number* applications, then the truth."""
    return lambda index, application: Declared(factor if index < number else 1.0)


HONEST = Game("honest")
TENTH = Game("declares a tenth", first(NUM_APPLICATIONS, 0.1))
GAMES = {
    game.name: game
    for game in (
        Game("splits into 50", splits=True),
        TENTH,
        Game("declares ten times", first(NUM_APPLICATIONS, 10.0)),
        Game("never ends", ends=False),
        Game("5 honest, then a tenth", lambda n, app: Declared(1.0 if n < 5 else 0.1)),
        Game("a tenth and ten times in turn", lambda n, app: Declared(10.0 if n % 2 else 0.1)),
        Game("a tenth, a new type each", lambda n, app: Declared(0.1, f"type-{n}")),
        Game("a tenth, never ends", first(NUM_APPLICATIONS, 0.1), ends=False),
    )
}
FIRST = (1, 5, 20, 50)  # so many applications declare a tenth, the others the truth


@dataclass(frozen=True, slots=True)
class Setting:
    """One draw: who is there, what they run and when."""

    seed: int
    num_applications: int = NUM_APPLICATIONS
    num_at_once: int = 0  # so many of the gamer's arrive together, after a tenth of the time

    @property
    def num_honest(self) -> int:
        """Honest tenants, 1 to 3."""
        return 1 + self.seed % 3

    @property
    def load(self) -> float:
        """Work over what the server can do while it arrives."""
        return (1.0, 1.5, 2.0)[self.seed // 3 % 3]

    def applications(self) -> list[Application]:
        """Draw them."""
        draw = random.Random(f"gaming-{self.seed}")
        names = [GAMER, *(f"honest-{index}" for index in range(self.num_honest))]
        drawn = [(name, _calls(draw, name)) for name in names for _ in range(self.num_applications)]
        applications = [
            Application(f"{name}/{index}", 0, (calls,), tenant=name)
            for index, (name, calls) in enumerate(drawn)
        ]
        work = sum(each.cost for each in applications) / (SERVER.capacity * FULL)
        span = work / self.load
        arrivals = [int(draw.uniform(0, span)) for _ in applications]
        arrivals[: self.num_at_once] = [int(span / 10)] * self.num_at_once  # the gamer is first
        arriving = zip(applications, arrivals, strict=True)
        return sorted(
            (replace(each, arrival=arrival) for each, arrival in arriving),
            key=lambda each: each.arrival,
        )


@dataclass(slots=True)
class Played:
    """What became of a setting under a game."""

    setting: Setting
    result: Result
    pieces: dict[str, list[str]]  # applications handed in, by the application they are of

    def jcts(self, tenant: str) -> dict[str, int]:
        """Return completion times of a tenant's applications, in order of arrival."""
        outcomes = self.result.outcomes
        jcts = {}
        for app_id, pieces in self.pieces.items():
            of = [outcomes[each] for each in pieces]
            if of[0].application.tenant == tenant:
                jcts[app_id] = max(each.finished for each in of) - of[0].arrived + 1
        return jcts

    @property
    def honest(self) -> list[Outcome]:
        """Outcomes of the honest tenants."""
        outcomes = self.result.outcomes.values()
        return [each for each in outcomes if each.application.tenant != GAMER]


def play(setting: Setting, game: Game, loop: str, *, debt: str = "debt") -> Played:
    """Run *setting* with *game* played in it."""
    handed_in: list[Application] = []
    pieces: dict[str, list[str]] = {}
    declared: dict[str, Declared] = {}
    index = 0
    for application in setting.applications():
        told, mine = Declared(), [application]
        if application.tenant == GAMER:
            told = game.declares(index, application)
            mine = _split(application) if game.splits else mine
            mine = [replace(each, is_ended=game.ends) for each in mine]
            index += 1
        handed_in += mine
        pieces[application.app_id] = [each.app_id for each in mine]
        declared |= {each.app_id: told for each in mine}
    with _debt(debt):
        return Played(setting, run(handed_in, SERVER, LOOPS[loop](declared)), pieces)


@dataclass(frozen=True, slots=True)
class Compared:
    """A game beside honesty, in one setting; lateness in units of C_max / M."""

    game: str
    loop: str
    debt: str  # "debt", or "none" where under-charging is forgotten
    seed: int
    gain: float  # share by which the gamer's mean completion time falls
    gains: tuple[float, ...]  # the same over its first ten applications, the next ten, …
    late_honest: float  # worst lateness of the honest, the gamer honest
    late_gamed: float  # the same, the gamer playing
    extra: float  # worst growth of one honest application's lateness
    honest_jct: float  # mean completion time of the honest, over that with the gamer honest
    complaints: tuple[str, ...]


def compare(game: Game, loop: str, honest: Played, *, debt: str = "debt") -> Compared:
    """Play *game* where *honest* was played, and compare."""
    setting = honest.setting
    gamed = play(setting, game, loop, debt=debt)
    unit = max(each.cost for each in setting.applications()) / SERVER.capacity
    before = {each.application.app_id: each for each in honest.honest}
    extra = max(
        max(each.lateness, 0) - max(before[each.application.app_id].lateness, 0)
        for each in gamed.honest
    )
    base, mine = list(honest.jcts(GAMER).values()), list(gamed.jcts(GAMER).values())
    return Compared(
        game.name,
        loop,
        debt,
        setting.seed,
        1 - fmean(mine) / fmean(base),
        tuple(
            1 - fmean(mine[index : index + 10]) / fmean(base[index : index + 10])
            for index in range(0, len(base), 10)
        ),
        max(each.lateness for each in honest.honest) / unit,
        max(each.lateness for each in gamed.honest) / unit,
        extra / unit,
        fmean(each.jct for each in gamed.honest) / fmean(each.jct for each in honest.honest),
        (*honest.result.complaints, *gamed.result.complaints),
    )


def play_all(loop: str, seed: int) -> list[Compared]:
    """Play every game in one setting."""
    honest = play(Setting(seed), HONEST, loop)
    return [compare(game, loop, honest) for game in GAMES.values()]


def play_first(loop: str, seed: int, debt: str) -> list[Compared]:
    """Let the first 1, 5, 20, 50 applications declare a tenth; and 20 that arrive at once."""
    honest = play(Setting(seed), HONEST, loop)
    games = [Game(f"first {number}", first(number, 0.1)) for number in FIRST]
    compared = [compare(game, loop, honest, debt=debt) for game in games]
    at_once = play(Setting(seed, num_at_once=20), HONEST, loop)
    # The 20 need not be the first: whoever came before has told the truth, as all but they do.
    return [*compared, compare(Game("20 at once", _at_once), loop, at_once, debt=debt)]


def _at_once(index: int, application: Application) -> Declared:
    """Declare a tenth where the application is one of those that arrive together."""
    number = int(application.app_id.rsplit("/", 1)[1])
    return Declared(0.1 if number < 20 else 1.0)


def _calls(draw: random.Random, tenant: str) -> tuple[tuple[int, int], ...]:
    number = NUM_CALLS if tenant == GAMER else draw.randint(10, 90)
    prompt, output = draw.randint(60, 200), draw.randint(12, 60)
    return tuple(
        (int(prompt * draw.uniform(0.8, 1.2)), max(1, int(output * draw.uniform(0.8, 1.2))))
        for _ in range(number)
    )


def _split(application: Application) -> list[Application]:
    return [
        replace(application, app_id=f"{application.app_id}.{index}", stages=((call,),))
        for index, call in enumerate(application.stages[0])
    ]


@contextmanager
def _debt(debt: str) -> Iterator[None]:
    if debt == "debt":
        yield
        return
    with patch.object(Tenant, "add_debt", lambda self, service: None):
        yield
