"""One application in several processes: what a live server's own books say of it."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
from support.traffic import MODEL, Applications

import justitia_sdk as justitia

pytestmark = pytest.mark.live

SPAWN = multiprocessing.get_context("spawn")
CALL = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}

# A program that knows nothing of applications.
PLAIN = f"""
import justitia_sdk
justitia_sdk.OpenAI().chat.completions.create(**{CALL!r})
"""

# A service that is told by a request's headers whose work it does.
SERVICE = f"""
import json, sys
import justitia_sdk as justitia
with justitia.join(json.loads(sys.argv[1])) as app, app.stage("service"):
    justitia.OpenAI().chat.completions.create(**{CALL!r})
    app.finish()
"""


@pytest.fixture
def api_url(request, monkeypatch):
    """Return a live server's address, which clients find without being told, in children too."""
    given = os.environ.get("JUSTITIA_TEST_SERVER")
    url = f"{given}/v1" if given else request.getfixturevalue("server").api_url
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    return url


@pytest.fixture
def applications(api_url):
    return Applications(api_url)


@pytest.fixture
def name(request):
    """Return a kind of application that no other test and no earlier run has used."""
    return f"{request.node.name}-{time.time_ns()}"


def ask():
    """Make one call, in whichever process this is."""
    with justitia.OpenAI() as client:
        client.chat.completions.create(**CALL)
    return os.getpid()


def ask_within(handle):
    """Make one call in the application that was handed over, and one in a part of it."""
    with handle as app:
        ask()
        with justitia.application("part"):
            ask()
        app.finish()  # not this process's to end


def ask_many(number):
    return ask()


def run(program, *args, env=None):
    subprocess.run([sys.executable, "-c", program, *args], check=True, env=env, timeout=120)


def books(applications, app, *, done):
    """Return what the server shows of *app* before its end: all calls, and still open."""
    shown = applications.show(app.app_id)
    assert shown["calls"]["done"] == done
    assert shown["state"] != "finished"
    return shown


def closed(applications, app):
    """Return what it shows after the end, which its owner told."""
    applications.wait_for(lambda server: server.show(app.app_id)["state"] == "finished")
    shown = applications.show(app.app_id)
    assert shown["end_reason"] == "finished"
    assert shown["calls"]["late"] == shown["calls"]["retries"] == shown["calls"]["aborted"] == 0
    return shown


def of_type(applications, name):
    return [each["id"] for each in applications.list() if each["type"] == name]


def test_spawned_processes_are_part_of_the_application(applications, name):
    """Handles go to two fresh processes: five calls, one application, ended once, here."""
    with justitia.application(name) as app, app.stage("map"):
        ask()
        children = [SPAWN.Process(target=ask_within, args=(app.handle(),)) for _ in range(2)]
        for child in children:
            child.start()
        for child in children:
            child.join(120)
        assert [child.exitcode for child in children] == [0, 0]
        assert books(applications, app, done=5)["type"] == name
    assert closed(applications, app)["calls"]["done"] == 5
    assert of_type(applications, name) == [app.app_id]


def test_subprocess_is_part_of_the_application(applications, name):
    """A program that knows nothing of it, started with `app.env()`."""
    with justitia.application(name) as app:
        ask()
        run(PLAIN, env={**os.environ, **app.env()})
        assert books(applications, app, done=2)["type"] == name
    closed(applications, app)
    assert of_type(applications, name) == [app.app_id]


def test_subprocess_without_the_variables_is_not(applications, name):
    """What belongs together is told, not guessed."""
    with justitia.application(name) as app:
        ask()
        run(PLAIN)
        books(applications, app, done=1)
    closed(applications, app)


def test_service_joins_by_the_headers_of_a_request(applications, name):
    """A service that is called in the midst does its calls on the caller's account."""
    with justitia.application(name) as app:
        ask()
        run(SERVICE, json.dumps(app.carrier()))
        shown = books(applications, app, done=2)
        assert (shown["type"], shown["stage"]) == (name, "service")
    closed(applications, app)


def test_process_pool_serves_several_applications(applications, name):
    """One pool, wrapped: each piece of work is its submitter's."""
    with ProcessPoolExecutor(2, mp_context=SPAWN) as inner:
        pool = justitia.wrap_executor(inner)
        opened = []
        for number in (1, 2):
            with justitia.application(f"{name}-{number}") as app:
                ask()
                assert os.getpid() not in set(pool.map(ask_many, range(3 * number), chunksize=2))
                books(applications, app, done=1 + 3 * number)
            opened.append(app)
    for app in opened:
        closed(applications, app)
        assert of_type(applications, app.type) == [app.app_id]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_process_is_part_of_the_application(applications, name):
    """It needs no handle, and does not end what it inherited."""
    with justitia.application(name) as app:
        ask()
        child = multiprocessing.get_context("fork").Process(target=ask)
        child.start()
        child.join(120)
        assert child.exitcode == 0
        books(applications, app, done=2)
    closed(applications, app)


def test_child_that_goes_on_is_late(applications, name):
    """A call after the owner has left is served, and flagged as late on the same account."""
    with justitia.application(name) as app:
        ask()
        variables = {**os.environ, **app.env()}
    closed(applications, app)
    run(PLAIN, env=variables)
    calls = applications.show(app.app_id)["calls"]
    assert calls["late"] == 1
    assert of_type(applications, name).count(app.app_id) == 1
