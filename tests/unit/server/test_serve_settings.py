"""What `justitia serve` decides before vLLM is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from justitia_sdk.errors import ConfigurationError
from justitia_server.api.tenants import tenant_of_key
from justitia_server.engine.settings import Settings
from justitia_server.serve import ServeSettings
from justitia_server.serve.checks import check_front_end, check_model_exists
from justitia_server.serve.plugins import (
    allow_our_plugin,
    forbid_our_plugin,
    installed_plugins,
)
from justitia_server.serve.settings import parse_tenant_weights
from justitia_server.serve.toy_defaults import set_toy_environment


def test_unknown_policy_names_the_nearest() -> None:
    """An unknown policy is refused with the known ones."""
    with pytest.raises(ConfigurationError, match=r"did you mean fcfs\?.*app_fcfs, fcfs, justitia"):
        ServeSettings(policy="fcsf")


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_idle_timeout_is_positive(seconds: float) -> None:
    """An idle timeout of nothing has no meaning."""
    with pytest.raises(ConfigurationError, match="--idle-timeout"):
        ServeSettings(idle_timeout_s=seconds)


def test_engine_config_keeps_what_the_user_gave() -> None:
    """Our section is merged into the user's additional config; our options win in it."""
    theirs = {"other": 1, "justitia": {"policy": "x", "more": 3}}
    settings = Settings(policy="fcfs", idle_timeout_s=5.0)
    merged = ServeSettings(policy="fcfs", idle_timeout_s=5.0).engine_config(theirs)
    assert merged == {"other": 1, "justitia": {**settings.as_config()["justitia"], "more": 3}}


def test_a_tenants_weight_is_given_by_its_key() -> None:
    """The engine is told the tenant's name, from which the key cannot be read."""
    weights = parse_tenant_weights(["sk-alice=2", "sk=b=0.5"])
    config = ServeSettings(tenant_weights=weights).engine_config(None)
    assert config["justitia"]["tenant_weights"] == {  # type: ignore[index]
        tenant_of_key("sk-alice"): 2.0,
        tenant_of_key("sk=b"): 0.5,
    }


@pytest.mark.parametrize("word", ["sk-alice", "=2", "sk-alice=", "sk-alice=0", "a=nan", "a=-1"])
def test_a_tenants_weight_that_makes_no_sense_is_refused(word: str) -> None:
    """The message shows the form, and never the key."""
    with pytest.raises(ConfigurationError, match="--tenant-weight takes API_KEY=WEIGHT") as raised:
        parse_tenant_weights([word])
    assert "sk-alice=2" in str(raised.value)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--prefix-cost", {"prefix_cost": "free"}),
        ("--revisions", {"revisions": "up"}),
        ("--idle-grace", {"idle_grace_s": -1.0}),
    ],
)
def test_a_choice_that_is_unknown_names_its_option(option: str, values: dict[str, Any]) -> None:
    """The sentence names the option as it is typed."""
    with pytest.raises(ConfigurationError, match=option):
        ServeSettings(**values)


@pytest.mark.parametrize("additional", [None, {}, "{}"])
def test_engine_config_from_nothing(additional: object) -> None:
    """Without a config of the user's only our section is there."""
    assert list(ServeSettings().engine_config(additional)) == ["justitia"]


def test_plugins_unset_become_all_installed_and_ours() -> None:
    """The allow-list takes nothing away that loads without one."""
    environment: dict[str, str] = {}
    allow_our_plugin(environment)
    names = environment["VLLM_PLUGINS"].split(",")
    assert set(names) == {*installed_plugins(), "justitia"}
    assert names.count("justitia") == 1


def test_plugins_of_the_user_are_kept() -> None:
    """A list the user gave is lengthened by ours and nothing else."""
    environment = {"VLLM_PLUGINS": "mine"}
    allow_our_plugin(environment)
    assert environment["VLLM_PLUGINS"] == "mine,justitia"


def test_stock_forbids_only_ours() -> None:
    """Under --stock our plugin does not load, even when the user's list names it."""
    environment = {"VLLM_PLUGINS": "justitia,mine"}
    forbid_our_plugin(environment)
    assert environment["VLLM_PLUGINS"] == "mine"


def test_toy_environment_gives_way() -> None:
    """What the user set in the environment stays."""
    environment = {"VLLM_CPU_KVCACHE_SPACE": "4"}
    set_toy_environment(environment)
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_front_end_off_is_fine(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a Rust front end switched on is refused."""
    monkeypatch.setenv("VLLM_USE_RUST_FRONTEND", value)
    check_front_end()


def test_an_empty_directory_holds_no_model(tmp_path: Path) -> None:
    """A directory without a config is refused, one with it is taken."""
    directory = tmp_path
    with pytest.raises(ConfigurationError, match="holds no model"):
        check_model_exists(str(directory))
    (directory / "config.json").write_text("{}")
    check_model_exists(str(directory))
