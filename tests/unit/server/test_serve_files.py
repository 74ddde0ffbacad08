"""Files that a server is told to write."""

from pathlib import Path

import pytest

from justitia_sdk.errors import ConfigurationError
from justitia_server.serve import ServeSettings
from justitia_server.serve.checks import check_new_files


def test_new_files_and_empty_ones_will_do(tmp_path: Path) -> None:
    """Asked twice, as by a server that is started again because its port was in use."""
    files = {"--record": tmp_path / "r.jsonl", "--step-log": tmp_path / "s.csv"}
    for _ in range(2):
        check_new_files(files)


def test_a_file_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """It may be yesterday's recording."""
    path = tmp_path / "r.jsonl"
    path.write_text("something")
    with pytest.raises(ConfigurationError, match=r"--record .*r\.jsonl holds something already"):
        check_new_files({"--record": path})
    assert path.read_text() == "something"


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """By its option, with the reason."""
    with pytest.raises(ConfigurationError, match=r"--step-log .* cannot be written: Is a"):
        check_new_files({"--step-log": tmp_path})


def test_a_stock_server_writes_none() -> None:
    """Nobody there would."""
    with pytest.raises(ConfigurationError, match="--record r needs Justitia's scheduler"):
        ServeSettings(record=Path("r"), stock=True)


def test_the_engine_is_told_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the root, wherever its processes start."""
    monkeypatch.chdir(tmp_path)
    told = ServeSettings(record=Path("r"), step_log=Path("/s")).engine_config(None)["justitia"]
    assert isinstance(told, dict)
    assert (told["record"], told["step_log"]) == (str(tmp_path / "r"), "/s")
