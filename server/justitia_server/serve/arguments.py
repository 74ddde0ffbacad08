"""vLLM's own parser for vLLM's own options, its errors turned into one sentence."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any, NoReturn

from justitia_sdk.errors import ConfigurationError
from justitia_server.serve.settings import did_you_mean

_UNRECOGNIZED = "unrecognized arguments: "


def parse_engine_options(words: list[str], *, defaults: Mapping[str, object]) -> Namespace:
    """
    Parse *words* (MODEL and vLLM's options) as `vllm serve` would.

    Args:
        words: The command line behind `serve`, our own options taken out.
        defaults: Values for options that *words* leaves open, by vLLM's argument name.

    Raises:
        ConfigurationError: If vLLM would refuse them; the message is one sentence.
    """
    parser, serve_parser = _build_parser()
    serve_parser.set_defaults(model=None, **defaults)
    try:
        args: Namespace = parser.parse_args(["serve", *_model_first(words, serve_parser)])
    except ConfigurationError:
        raise
    except (ValueError, TypeError, AssertionError, OSError) as error:
        raise ConfigurationError(str(error).strip().splitlines()[0]) from error
    args.model = args.model_tag = args.model_tag or args.model
    return args


def print_engine_help(topic: str) -> None:
    """Print vLLM's own help on *topic*: an option, a group of options, or `all`."""
    parser, _ = _build_parser()
    parser.parse_args(["serve", f"--help={topic}"])


def _build_parser() -> tuple[Any, Any]:
    """Return vLLM's command line parser and the part of it that `serve` fills."""
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser(prog="justitia")
    serve_parser = ServeSubcommand().subparser_init(parser.add_subparsers(dest="subparser"))

    def refuse(message: str) -> NoReturn:
        raise ConfigurationError(_one_sentence(message, serve_parser))

    parser.error = serve_parser.error = refuse
    return parser, serve_parser


def _model_first(words: list[str], serve_parser: Any) -> list[str]:
    """Move MODEL in front of the options: argparse overlooks it behind them."""
    known = serve_parser._option_string_actions
    takes_value = False
    for index, word in enumerate(words):
        if word.startswith("-") and not takes_value:
            action = known.get(word.replace("_", "-"))
            takes_value = "=" not in word and (action is None or action.nargs != 0)
        elif takes_value:
            takes_value = False
        else:
            return [word, *words[:index], *words[index + 1 :]]
    return words


def _one_sentence(message: str, serve_parser: Any) -> str:
    """Return argparse's *message* without its usage page, with the nearest option named."""
    if not message.startswith(_UNRECOGNIZED):
        return message.splitlines()[0]
    words = message.removeprefix(_UNRECOGNIZED).split()
    word = next((word for word in words if word.startswith("-")), words[0]).partition("=")[0]
    if not word.startswith("-"):
        return f"unexpected argument {word!r}: give either one MODEL or --toy, and options by name"
    known = [option for option in serve_parser._option_string_actions if option.startswith("--")]
    return f"unknown option {word}{did_you_mean(word.replace('_', '-'), known)}"
