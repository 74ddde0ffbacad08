"""What the API process tells the engine process survives the way."""

from dataclasses import replace

import pytest

from justitia_sdk.errors import AccountingError, ConfigurationError
from justitia_server.engine.carrier import pack, unpack
from justitia_server.engine.settings import Settings
from justitia_server.fairness.accounts import ApplicationFacts, CallFacts

FACTS = ApplicationFacts("a", "té", "tenant", 2.5, 1e6, "plan")


def test_facts_survive():
    """Unpacking gives back what was packed."""
    call = CallFacts("c", 2, "map", 3, True)
    assert unpack(pack(FACTS, call)) == (FACTS, call)


def test_facts_told_anew_replace_those_told_before():
    """Two calls of one application, its prediction revised in between."""
    revised = replace(FACTS, predicted_cost=2e6)
    told = [unpack(pack(facts, CallFacts()))[0] for facts in (FACTS, revised, FACTS)]
    assert told == [FACTS, revised, FACTS]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "[[],[]]", '{"a":1}', "[[1,2,3,4,5,6,7,8,9],[]]", "[1,2]",
        "[{},{}]", '[{"app_id":"a","weight":"heavy"},{}]', '[{"app_id":"a"},{"attempt":"x"}]',
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    """A string that is not ours is an error, never a half-read fact."""
    with pytest.raises(AccountingError, match="not ours"):
        unpack(text)


def test_settings_survive_additional_config():
    """Beside whatever else the operator puts there."""
    settings = Settings("fcfs", 30.0)
    assert Settings.from_config({**settings.as_config(), "other": 1}) == settings
    assert Settings.from_config({}) == Settings()


@pytest.mark.parametrize("entry", [{"policy": "best"}, {"idle_timeout_s": 0}, {"idle_timeout": 5}])
def test_wrong_settings_name_the_field(entry):
    """An unknown policy, a timeout without meaning, a misspelt name."""
    with pytest.raises(ConfigurationError, match=next(iter(entry))):
        Settings.from_config({"justitia": entry})
