"""`justitia predictor train`, `eval`, `show`, `rollback`, `export` and `reset`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from justitia_sdk.errors import ConfigurationError

from .options import takes, writable_folder
from .predictor_source import ExamplesOptions, StoreOption, folder_of, reading

if TYPE_CHECKING:
    from justitia_server.prediction.evaluation import Tried
    from justitia_server.prediction.store import Stored
    from justitia_server.prediction.training import Report

predictor_app = typer.Typer(
    name="predictor",
    help="What the predictor has learned: train, try, look at it, take it back.",
    no_args_is_help=True,
)


@predictor_app.command()
@takes(source=ExamplesOptions)
def train(
    *,
    source: ExamplesOptions,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 1,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Make the new version live even if it is not better.")
    ] = False,
) -> None:
    """
    Train a version now; it goes live if it is better on the newest fifth.

    A server does so by itself. One that runs takes the new version up within seconds. With
    --workload the version is learned from the file, and --store says where it goes.
    """
    from justitia_server.prediction.training import (
        only_one,
        train_if_better,
        train_on,
        use_one_thread,
    )
    from justitia_server.prediction.versions import Versions

    use_one_thread()
    if source.workload is not None and source.store is None:
        raise ConfigurationError("with --workload say where the version is to go: --store DIR")
    folder = folder_of(source.store)
    if source.workload is None:
        with reading(folder):  # before anything is made there
            pass
    writable_folder(folder)
    with only_one(folder) as is_alone, _steps() as on_step:
        if not is_alone:
            raise ConfigurationError(f"another process trains in {folder}: try again in a minute")
        versions, now = Versions(folder), time.time()
        if source.workload is None:
            with reading(folder) as store:
                report = train_if_better(
                    store, versions, seed=seed, now=now, always=anyway, on_step=on_step
                )
        else:
            stored, unit = source.read()
            report = train_on(
                stored, versions, unit, seed=seed, now=now, always=anyway, on_step=on_step
            )
    _say_what_came(report)


@predictor_app.command("eval")
@takes(source=ExamplesOptions)
def evaluate(
    *,
    source: ExamplesOptions,
    live: Annotated[
        bool,
        typer.Option("--live", help="Try the live version of --store, on what it has not seen."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of all chance.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw predicted against true cost.")
    ] = None,
) -> None:
    """
    Say how good predictions are, by type: errors, order, and whether intervals hold.

    Learns from the older four fifths of the applications and predicts the newest fifth.
    """
    from justitia_server.prediction.evaluation import back_test
    from justitia_server.prediction.training import (
        LEAST_TO_TRY,
        cost_model_named,
        neural,
        use_one_thread,
    )

    from .predictor_display import draw, print_grades

    use_one_thread()
    if plot is not None:
        writable_folder(plot.absolute().parent)
    stored, unit = source.read()
    if live:
        about, tried = _try_live(folder_of(source.store), stored, unit, source.workload is None)
    else:
        if len(stored) < LEAST_TO_TRY:
            raise ConfigurationError(
                f"there are {len(stored)} applications, too few to learn from and to try on: "
                f"{LEAST_TO_TRY} are needed"
            )
        tried = back_test(
            [each.example for each in stored], neural(cost_model_named(unit)), seed=seed
        )
        about = f"learned from {len(stored) - len(tried)}, tried on the {len(tried)} after them"
    print_grades(tried, about)
    if plot is not None:
        draw(tried, plot)
        print(f"Drawn in {plot}.")


@predictor_app.command()
def show(*, store: StoreOption = None) -> None:
    """Show versions, which of them is live, and how many examples there are of each type."""
    from justitia_server.prediction.store import FILE_NAME
    from justitia_server.prediction.versions import Versions

    from .predictor_display import print_examples, print_versions

    folder = folder_of(store)
    versions = Versions(folder)
    known = versions.all()
    if not known and not (folder / FILE_NAME).is_file():
        raise ConfigurationError(
            f"there is nothing of a predictor in {folder}: name the folder of "
            "`justitia serve --predictor`"
        )
    print(f"{folder}: {_num_bytes(folder) / 1000:,.0f} kB")
    print_versions(known, versions.current_number)
    if (folder / FILE_NAME).is_file():
        with reading(folder) as opened:
            print_examples(opened.counts(), opened.unit)


@predictor_app.command()
def rollback(
    *,
    store: StoreOption = None,
    to: Annotated[
        int | None, typer.Option(help="Number of the version; the one before the live one.", min=1)
    ] = None,
) -> None:
    """Make an older version live. A server that runs takes it up within seconds."""
    from justitia_server.prediction.versions import Versions

    folder = folder_of(store)
    versions = Versions(folder)
    if not versions.all():
        raise ConfigurationError(
            f"there is no version in {folder}: none was trained yet; see `justitia predictor train`"
        )
    writable_folder(folder)
    version = versions.roll_back(to)
    print(f"Version {version.number} is live.")


@predictor_app.command()
def export(
    *,
    store: StoreOption = None,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Written to; standard output.")
    ] = None,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="Input texts, too, where they are stored.")
    ] = False,
) -> None:
    """Write the examples as JSON, one a line, oldest first."""
    from justitia_server.prediction.records import as_fields

    folder = folder_of(store)
    with reading(folder) as opened:
        stored = opened.latest()
        num_with_text = sum(each.num_with_text for each in opened.counts())
    if with_text and not num_with_text:
        raise ConfigurationError(
            f"no input text is stored in {folder}: serve with --keep-input-text, or leave out "
            "--with-text"
        )
    lines = (
        json.dumps({"id": each.id, **as_fields(each.example, with_text=with_text)}) + "\n"
        for each in stored
    )
    if file is None:
        sys.stdout.writelines(lines)
        return
    writable_folder(file.absolute().parent)
    with file.open("w", encoding="utf-8") as writing:
        writing.writelines(lines)
    print(f"{file}: {len(stored)} examples")


@predictor_app.command()
def reset(
    *,
    store: StoreOption = None,
    keep_examples: Annotated[
        bool, typer.Option("--keep-examples", help="Remove the versions only.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget what was learned: all versions, all examples. A server that runs begins anew."""
    from justitia_server.prediction.reset import forget

    folder = folder_of(store)
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}")
    writable_folder(folder)
    what = "every version" if keep_examples else "every version and every example"
    if not yes:
        typer.confirm(f"Remove {what} in {folder}?", abort=True)
    num_versions, num_examples = forget(folder, keep_examples=keep_examples, now=time.time())
    print(f"Removed {num_versions} versions and {num_examples} examples.")


# -- helpers -----------------------------------------------------------------------------


def _try_live(
    folder: Path, stored: Sequence[Stored], unit: str, is_own_store: bool
) -> tuple[str, Sequence[Tried]]:
    """Ask the live version of *folder* of all it has not seen; say what was done."""
    from justitia_server.prediction.evaluation import try_on
    from justitia_server.prediction.scoring import typical_cost
    from justitia_server.prediction.training import cost_model_named, neural
    from justitia_server.prediction.versions import Versions

    found = Versions(folder).load(neural(cost_model_named(unit)).read)
    if found is None:
        raise ConfigurationError(f"no version is live in {folder}: leave out --live, or train one")
    version, model = found
    seen_until = version.facts.newest_id if is_own_store else -1
    unseen = [each.example for each in stored if each.id > seen_until]
    if not unseen:
        raise ConfigurationError(f"version {version.number} has seen every example in {folder}")
    typical = typical_cost([each.example for each in stored])
    about = f"version {version.number}, tried on {len(unseen)}"
    if is_own_store:
        about += " it has not seen"
    return about, try_on(model, unseen, typical=typical)


def _num_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Show how far training is; give what is to be called as each step begins."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from justitia_server.prediction.training import STEPS

    columns = (TextColumn("{task.description:>10}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(STEPS[0], total=len(STEPS))

        def begin(step: str) -> None:
            progress.update(task, description=step, completed=STEPS.index(step))

        yield begin


def _say_what_came(report: Report) -> None:
    from justitia_server.prediction.training import LEAST_TO_TRY

    if report.outcome == "too_few":
        raise ConfigurationError(
            f"there are {report.num_examples} examples, too few to learn from: "
            f"{LEAST_TO_TRY} are needed"
        )
    print(
        f"Learned from {report.num_examples - report.num_held_back} applications, tried on the "
        f"{report.num_held_back} after them."
    )
    print(f"Log-error (RMSE) at arrival: {report.log_rmse:.3f}")
    print(f"  of the type's median:      {report.median_log_rmse:.3f}")
    if report.current_log_rmse is not None:
        print(f"  of the live version:       {report.current_log_rmse:.3f}")
    if report.version is None:
        print("Not better: nothing has changed. --anyway makes it live all the same.")
    else:
        print(f"Version {report.version} is live.")
