"""Where a server's predictor keeps what it learns."""

from __future__ import annotations

from argparse import Namespace

import pytest

from justitia_sdk.errors import ConfigurationError
from justitia_server.engine.settings import Settings
from justitia_server.serve import ServeSettings
from justitia_server.serve.predictor import default_folder, predictor_folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path / "justitia" / "predictor"


def served(model="org/Model-8B", names=None) -> Namespace:
    return Namespace(model=model, served_model_name=names)


@pytest.mark.parametrize(
    ("served_name", "name"),
    [
        ("meta-llama/Llama-3.1-8B", "meta-llama--Llama-3.1-8B"),
        ("/models/mine", "models--mine"),
        ("../../x", "x"),
        ("..", "model"),
        ("a b:c", "a--b--c"),
    ],
)
def test_the_default_folder_goes_by_the_served_name(home, served_name, name):
    """Always one folder right below the home of all."""
    assert default_folder(served_name) == home / name


def test_each_model_has_a_folder_of_its_own(home):
    """By the name under which it is served, where it has one."""
    assert predictor_folder(ServeSettings(), served()) == home / "org--Model-8B"
    assert predictor_folder(ServeSettings(), served(names=["short", "long"])) == home / "short"
    assert (home / "short").is_dir()


def test_a_folder_that_is_named_is_taken(tmp_path, monkeypatch):
    """From the root, wherever the server's processes start; made if need be."""
    monkeypatch.chdir(tmp_path)
    assert predictor_folder(ServeSettings(predictor="a/b"), served()) == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("settings", [ServeSettings(predictor="off"), ServeSettings(toy=True)])
def test_nothing_is_learned_where_nobody_wants_it(home, settings):
    """Switched off, or from the noise of the toy model; no folder is made."""
    assert predictor_folder(settings, served()) is None
    assert not home.exists()


def test_the_toy_is_learned_from_where_asked(tmp_path):
    """As in a test."""
    settings = ServeSettings(toy=True, predictor=str(tmp_path), keep_input_text=True)
    assert predictor_folder(settings, served()) == tmp_path


def test_a_named_folder_that_cannot_be_written_is_refused(tmp_path):
    """In a sentence that names the option, and the way out."""
    (tmp_path / "file").write_text("")
    settings = ServeSettings(predictor=str(tmp_path / "file"))
    with pytest.raises(ConfigurationError, match=r"--predictor .*file cannot be .*predictor off"):
        predictor_folder(settings, served())


def test_a_default_folder_that_cannot_be_written_stops_no_server(home, capsys):
    """It serves, learns nothing, and says so."""
    home.parent.mkdir()
    home.write_text("in the way")
    assert predictor_folder(ServeSettings(), served()) is None
    assert "cannot be written" in capsys.readouterr().err


def test_the_engine_is_told(tmp_path):
    """And the API process, by the same way."""
    settings = ServeSettings(keep_input_text=True)
    config = settings.engine_config(None, predictor_folder=tmp_path)
    told = Settings.from_config(config)
    assert (told.predictor, told.keep_input_text) == (str(tmp_path), True)
    assert Settings.from_config(ServeSettings().engine_config(None)).predictor is None


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"predictor": ""}, "--predictor names no folder"),
        ({"predictor": "x", "stock": True}, "--predictor x needs Justitia's scheduler"),
        ({"keep_input_text": True, "stock": True}, "--keep-input-text needs a predictor"),
        ({"keep_input_text": True, "predictor": "off"}, "--keep-input-text needs a predictor"),
        ({"keep_input_text": True, "toy": True}, "with --toy needs --predictor DIR"),
    ],
)
def test_what_makes_no_sense_is_refused(told, said):
    """Before anything starts."""
    with pytest.raises(ConfigurationError, match=said):
        ServeSettings(**told)


def test_stock_may_say_off():
    """As a script does that compares."""
    assert ServeSettings(predictor="off", stock=True).predictor == "off"
