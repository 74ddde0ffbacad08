"""What can be known to be wrong before the engine starts: one clear sentence each."""

from __future__ import annotations

import os
import re
import socket
from argparse import Namespace
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from justitia_sdk.errors import ConfigurationError

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")
_HUB_TIMEOUT_S = 10.0


def check_engine_installed() -> None:
    """Raise ConfigurationError when vLLM cannot be imported."""
    try:
        found = find_spec("vllm") is not None
    except (ImportError, ValueError):
        found = False
    if not found:
        raise ConfigurationError(
            "vLLM is not installed: run `pip install 'justitia-sdk[server]'` on a GPU host, "
            "or `make setup` in Justitia's source folder, which also knows the CPU build"
        )
    try:
        import vllm  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(f"vLLM is installed but cannot be imported: {error}") from error


def check_front_end() -> None:
    """Raise ConfigurationError for vLLM's Rust front end, which has no place for our routes."""
    if os.environ.get("VLLM_USE_RUST_FRONTEND", "0").strip().lower() not in ("", "0", "false"):
        raise ConfigurationError(
            "VLLM_USE_RUST_FRONTEND cannot be used with Justitia's scheduler, because that "
            "front end does not read hints: unset it, or add --stock"
        )


def check_address_free(args: Namespace) -> None:
    """Raise ConfigurationError when another process listens where this server would."""
    if args.uds:
        return
    host = args.host or ""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, args.port))
        except OSError as error:
            where = f"{host or 'all interfaces'}, port {args.port}"
            raise ConfigurationError(
                f"cannot listen on {where}: {error.strerror}; choose another with --port"
            ) from error


def check_new_files(files: Mapping[str, Path]) -> None:
    """
    Make sure that *files*, by option, can be written, and that they hold nothing yet.

    Raises:
        ConfigurationError: One cannot, or does; the message names the option.
    """
    for option, path in files.items():
        try:
            with path.open("ab") as file:
                is_new = not file.tell()
        except OSError as error:
            raise ConfigurationError(
                f"{option} {path} cannot be written: {error.strerror}"
            ) from error
        if not is_new:
            raise ConfigurationError(
                f"{option} {path} holds something already: name a new file, or move it away"
            )


def check_model_exists(model: str, *, revision: str | None = None) -> None:
    """
    Raise ConfigurationError when *model* is neither a model directory nor a reachable hub id.

    vLLM would find out too, but only after minutes of retries and a page of stack traces.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not any((path / name).exists() for name in ("config.json", "params.json")):
            raise ConfigurationError(f"{model} holds no model: it has no config.json")
        return
    if path.is_file() or "://" in model or os.environ.get("VLLM_USE_MODELSCOPE"):
        return
    if not _HUB_ID.fullmatch(model) or model.startswith("."):
        raise ConfigurationError(f"model not found: there is no directory {model}")
    _check_on_hub(model.partition(":")[0], revision=revision)


def _check_on_hub(model: str, *, revision: str | None) -> None:
    """Ask the local hub cache, then the hub itself, once and briefly."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str):
        return
    lost = f"model not found: there is no directory {model}, and"
    if HF_HUB_OFFLINE:
        raise ConfigurationError(f"{lost} it is not in the hub cache (HF_HUB_OFFLINE is set)")
    try:
        HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT_S)
    except GatedRepoError as error:
        raise ConfigurationError(
            f"model {model} is gated: accept its terms, set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ConfigurationError(
            f"{lost} the Hugging Face hub has no such model (a private one needs HF_TOKEN)"
        ) from error
    except Exception as error:
        reason = type(error).__name__
        raise ConfigurationError(
            f"{lost} the Hugging Face hub cannot be asked ({reason})"
        ) from error
