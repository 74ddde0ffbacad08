"""From Justitia's settings and the user's words to a running server."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from typing import NoReturn

from justitia_sdk.errors import ConfigurationError
from justitia_server.engine.recording import sort_recording
from justitia_server.engine.settings import SCHEDULER_CLASS
from justitia_server.serve.arguments import parse_engine_options
from justitia_server.serve.banner import announce_when_ready, print_banner
from justitia_server.serve.checks import (
    check_address_free,
    check_engine_installed,
    check_front_end,
    check_model_exists,
    check_new_files,
)
from justitia_server.serve.launch import end_children, leave, leave_on_signals, run_until_stopped
from justitia_server.serve.plugins import allow_our_plugin, forbid_our_plugin
from justitia_server.serve.predictor import predictor_folder
from justitia_server.serve.settings import ServeSettings
from justitia_server.serve.toy_defaults import TOY_OPTIONS, set_toy_environment

_NO_MODEL = "say which MODEL to serve (a directory or a Hugging Face id), or --toy"


def serve(settings: ServeSettings, words: list[str]) -> NoReturn:
    """
    Serve until Ctrl-C or SIGTERM, then end this process.

    Args:
        settings: Justitia's own options.
        words: MODEL and vLLM's options, as written on the command line.

    Raises:
        ConfigurationError: If the server cannot start as asked; the message is one sentence.

    Changes: signal handlers; environment variables that vLLM reads, here and in its children.
    """
    if not (settings.toy or words):
        raise ConfigurationError(_NO_MODEL)
    leave_on_signals()
    _prepare_environment(settings)
    check_engine_installed()
    if not settings.stock:
        check_front_end()
        _check_engine_version()
    check_new_files(settings.files)
    args = _engine_arguments(settings, words)
    check_address_free(args)
    print_banner(settings, args)
    with announce_when_ready(args):
        code = run_until_stopped(args)
    end_children()
    leave(_sort_recording(settings) or code)


def _sort_recording(settings: ServeSettings) -> int:
    """Put the recording in order, if there is one; return 1 where that fails."""
    if settings.record is None:
        return 0
    try:
        sort_recording(settings.record)
    except ConfigurationError as error:
        sys.stderr.write(f"justitia: {error}\n")
        return 1
    return 0


def _prepare_environment(settings: ServeSettings) -> None:
    """Set what vLLM reads from the environment, before vLLM is imported."""
    if settings.toy:
        set_toy_environment(os.environ)
    if settings.stock:
        forbid_our_plugin(os.environ)
    else:
        allow_our_plugin(os.environ)


def _check_engine_version() -> None:
    from justitia_server.engine.version import check_vllm_version

    check_vllm_version()


def _engine_arguments(settings: ServeSettings, words: list[str]) -> Namespace:
    """Return vLLM's arguments: the user's, the toy's defaults, and our scheduler."""
    if settings.toy:
        from justitia_server.toy import ensure_toy_model

        args = parse_engine_options([str(ensure_toy_model()), *words], defaults=TOY_OPTIONS)
    else:
        args = parse_engine_options(words, defaults={})
        if args.model is None:
            raise ConfigurationError(_NO_MODEL)
        check_model_exists(args.model, revision=args.revision)
    if not settings.stock:
        _put_in_our_scheduler(settings, args)
    return args


def _put_in_our_scheduler(settings: ServeSettings, args: Namespace) -> None:
    if args.scheduler_cls not in (None, SCHEDULER_CLASS):
        raise ConfigurationError(
            f"--scheduler-cls {args.scheduler_cls} would replace Justitia's scheduler: "
            "leave it out, or add --stock"
        )
    args.scheduler_cls = SCHEDULER_CLASS
    args.scheduling_policy = "priority"
    args.additional_config = settings.engine_config(
        args.additional_config, predictor_folder=predictor_folder(settings, args)
    )
