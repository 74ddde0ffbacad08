"""The command line: its commands, and how refusals look."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from justitia_sdk.errors import JustitiaError

from .bench import BENCH_HELP, bench
from .demo import demo
from .predictor import predictor_app
from .serve import SERVE_HELP, serve
from .simulate import SIMULATE_HELP, simulate
from .step_time import step_time_app
from .workload import workload_app

app = typer.Typer(
    name="justitia",
    help="Fair and fast scheduling of whole LLM applications inside vLLM.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"justitia {version('justitia-sdk')}")
        raise typer.Exit


@app.callback()
def justitia(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Fair and fast scheduling of whole LLM applications inside vLLM."""


app.command(
    help=SERVE_HELP,
    options_metavar="MODEL [OPTIONS] [ANY VLLM OPTION]",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(serve)
app.command()(demo)
app.command(help=SIMULATE_HELP)(simulate)
app.command(help=BENCH_HELP)(bench)
app.add_typer(predictor_app)
app.add_typer(workload_app)
app.add_typer(step_time_app)


def main() -> None:
    """Run the command line; whatever the user got wrong is one sentence on stderr."""
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except JustitiaError as error:
        sys.exit(_refuse(str(error)))
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        sys.exit(_refuse(error.format_message()))
    sys.exit(code)


def _refuse(sentence: str) -> int:
    print(f"justitia: {sentence}", file=sys.stderr)
    return 2
