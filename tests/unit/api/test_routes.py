"""The application endpoints: what they check before an engine is asked."""

from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from justitia_server.api.intake import Intake
from justitia_server.api.routes import router
from justitia_server.fairness.spells import MOST_EXPECTED_S
from justitia_server.prediction.online import OnlinePredictor


class Control:
    """Takes note of what the engines are asked."""

    def __init__(self):
        self.asked = []
        self.answers = [shown("waiting")]

    async def ask(self, operation, **arguments):
        self.asked.append((operation, arguments))
        return self.answers


def shown(state):
    """Return an engine's answer about application A."""
    return {"application": {"id": "A", "tenant": "default", "state": state}}


CLOSED = {"error": {"type": "ApplicationClosed", "message": "application A has finished"}}
UNKNOWN = {"application": None}


@pytest.fixture
def control():
    return Control()


@pytest.fixture
def client(control):
    app = FastAPI()
    app.include_router(router)
    app.state.justitia = SimpleNamespace(control=control, intake=Intake(OnlinePredictor()))
    return TestClient(app)


@pytest.mark.parametrize(("told", "expected_s"), [(None, None), (2, 2.0), (1e9, MOST_EXPECTED_S)])
def test_a_tool_may_tell_how_long_it_takes(client, control, told, expected_s):
    """A day at most."""
    event = {"event": "tool_start", "name": "search", "expected_s": told}
    assert client.post("/v1/applications/A/events", json=event).status_code == 200
    assert control.asked == [
        ("event", {"app_id": "A", "kind": "tool_start", "name": "search", "expected_s": expected_s})
    ]


@pytest.mark.parametrize("value", ["0", "-1", "true", '"5"', "NaN", "Infinity", "[]"])
def test_an_expected_time_without_meaning_is_refused(client, control, value):
    """Named, in a sentence; the engine is not asked."""
    body = f'{{"event": "tool_start", "expected_s": {value}}}'
    reply = client.post("/v1/applications/A/events", content=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"]) == (400, "expected_s")
    assert "expected_s must be a finite number of seconds above 0" in error["message"]
    assert control.asked == []


@pytest.mark.parametrize("kind", ["tool_end", "stage"])
def test_only_a_tool_that_starts_is_expected_to_take_time(client, kind):
    """Said with anything else, it is a mistake."""
    reply = client.post("/v1/applications/A/events", json={"event": kind, "expected_s": 5})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "expected_s")


def test_an_announcement_says_whether_it_is_news(client, control):
    """Before the first call everything is."""
    plan = [{"name": "map", "calls": 3}]
    for _ in range(2):
        body = {"app": "A", "plan": plan}
        assert client.post("/v1/applications", json=body).status_code == 201
    assert [arguments["revises"] for _, arguments in control.asked] == [True, True]


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        ([shown("announced"), shown("running")], "running"),
        ([shown("finished"), shown("idle")], "idle"),
        ([shown("announced"), shown("finished")], "finished"),
        ([UNKNOWN, shown("announced")], "announced"),
        ([CLOSED, shown("waiting")], "waiting"),
    ],
)
def test_of_several_engines_the_one_that_serves_it_is_shown(client, control, answers, state):
    """Each keeps its own account; where it was only announced nothing is to be seen."""
    control.answers = answers
    reply = client.post("/v1/applications/A/events", json={"event": "stage", "name": "map"})
    assert (reply.status_code, reply.json()["state"]) == (200, state)


@pytest.mark.parametrize(("answers", "status"), [([CLOSED, UNKNOWN], 409), ([UNKNOWN] * 2, 404)])
def test_what_no_engine_serves_is_refused(client, control, answers, status):
    """Finished, or never heard of."""
    control.answers = answers
    assert client.post("/v1/applications/A/events", json={"event": "stage"}).status_code == status


def test_an_application_that_one_of_several_engines_has_ended_is_not_announced_again(
    client, control
):
    """Its end was told; elsewhere it was only announced."""
    control.answers = [shown("announced"), CLOSED]
    assert client.post("/v1/applications", json={"app": "A"}).status_code == 409
