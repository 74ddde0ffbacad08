"""The version guard names the range it was tested with."""

import pytest

from justitia_sdk.errors import ConfigurationError
from justitia_server.engine import version


@pytest.mark.parametrize("installed", ["0.32.0", "0.32.1+cu130", "0.32.4rc1"])
def test_the_tested_range_passes(monkeypatch, installed):
    """Patch releases, local versions and candidates of the tested minor are in."""
    monkeypatch.setattr(version, "_installed_version", lambda: installed)
    assert version.check_vllm_version() == installed


@pytest.mark.parametrize("installed", ["0.31.9", "0.33.0", "1.0"])
def test_outside_the_range_is_one_clear_sentence(monkeypatch, installed):
    """It names what is installed, what is tested, and the way out."""
    monkeypatch.setattr(version, "_installed_version", lambda: installed)
    with pytest.raises(ConfigurationError, match=rf"{installed}.*0\.32\.0.*--stock") as caught:
        version.check_vllm_version()
    assert "\n" not in str(caught.value)


def test_a_missing_engine_says_how_to_install_it(monkeypatch):
    """No vLLM at all."""
    monkeypatch.setattr(version, "_installed_version", lambda: None)
    with pytest.raises(ConfigurationError, match=r"not installed.*\[server\]"):
        version.check_vllm_version()
