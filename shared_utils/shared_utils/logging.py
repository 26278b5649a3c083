"""What a command reports while it runs: log lines, progress, tables, figures, and the folders in which runs are kept."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

from shared_utils import UserError
from shared_utils.tables import read_metrics as read_metrics
from shared_utils.tables import save_figure as save_figure
from shared_utils.tables import table as table
from shared_utils.tables import write_table as write_table

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 30.0


def configure(level: int = logging.INFO) -> None:
    """Send log records to standard error, through rich on a terminal; results stay alone on standard output."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, show_time=False, markup=False)
        logging.basicConfig(level=level, format="%(message)s", handlers=[handler], force=True)
    else:  # whole lines for a file, which rich would break at 80 letters
        logging.basicConfig(level=level, format="%(levelname)-8s %(message)s", force=True)
    # Lightning reports through handlers of its own; libraries that only chat stay quiet.
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).propagate = False
    for name in ("httpx", "matplotlib", "PIL", "fsspec", "urllib3", "h5py"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A small data set needs no workers, and an epoch may be shorter than the logging interval: both are choices here.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    # A resumed run goes on in its own folder, on purpose.
    warnings.filterwarnings("ignore", message=".*exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(
        lambda record: not record.getMessage().startswith(("TPU available", "💡 Tip", "HPU available"))
    )


def progress(
    items: Iterable[Item],
    description: str,
    total: int | None = None,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Item]:
    """Iterate and show how far it is, on standard error: a bar on a terminal, elsewhere a line every 30 seconds.

    Args:
        items: what to iterate over.
        description: what is done with them, "reconstructing".
        total: their number, where they don't know it themselves.
        clock: seconds; for tests.

    Of the processes of one job (torchrun) only the first one shows its own share. Where no line was due, nothing is
    printed at the end either.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if any(os.environ.get(name, "0") not in ("", "0") for name in ("RANK", "LOCAL_RANK")):
        return iter(items)
    if sys.stderr.isatty():
        return _bar(items, description, total)
    return _lines(items, description, total, clock)


def _bar(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=total)
        for item in items:
            yield item
            bar.advance(task)


def _lines(items: Iterable[Item], description: str, total: int | None, clock: Callable[[], float]) -> Iterator[Item]:
    start = printed = clock()
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        now = clock()
        if now - printed >= SECONDS_BETWEEN_LINES and done != total:
            printed = now
            line = f"{description}: {done}"
            if total:
                line += f" of {total}"
            line += f", {_duration(now - start)}"
            if total and done < total:
                line += f", about {_duration((now - start) / done * (total - done))} left"
            print(line, file=sys.stderr, flush=True)
    if printed > start:
        print(f"{description}: {done} done in {_duration(clock() - start)}", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    """Seconds as a reader takes them in: 45 s, 3 min 10 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def run_place(name: str, root: str | Path = "runs") -> Path:
    """The folder ``<root>/<name>`` of all versions of a run; ``name`` may have parts, "claim/training".

    Raises:
        UserError: the name is empty, absolute, or leads out of ``root``.
    """
    parts = Path(name.strip()).parts
    if not parts or ".." in parts or Path(name.strip()).is_absolute() or "\0" in name:
        raise UserError(f"--name {name!r} is not a name for a run: give plain words, as in demo or claim/training")
    return Path(root).joinpath(*parts)


def run_folder(name: str, root: str | Path = "runs") -> Path:
    """Make a new folder ``<root>/<name>/version_N``, N one above the highest there is.

    Of several processes that start at the same moment, each gets a folder of its own.

    Raises:
        UserError: the name is empty, absolute, or leads out of ``root``.
    """
    place = run_place(name, root)
    place.mkdir(parents=True, exist_ok=True)
    while True:
        versions = [int(path.name[8:]) for path in place.glob("version_*") if path.name[8:].isdecimal()]
        folder = place / f"version_{max(versions, default=-1) + 1}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue


def training_loggers(
    name: str, root: str | Path = "runs", resume: tuple[int, int] | None = None, version: int | None = None
) -> list:
    """Lightning's CSV and TensorBoard loggers, both in ``<root>/<name>/version_N``.

    Args:
        name: of the run.
        root: the folder of all runs.
        resume: (version, step) continues the curves of that version, without what came after that step.
        version: that of a folder which ``run_folder`` has made. Without it, the first process of the job makes one.
    """
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
    from pytorch_lightning.utilities import rank_zero_only

    place, step = run_place(name, root), 0
    if resume:
        version, step = resume
    elif version is None and getattr(rank_zero_only, "rank", 0) == 0:
        version = int(run_folder(name, root).name.removeprefix("version_"))
    rows = read_metrics(place / f"version_{version}") if resume else []
    # Lightning joins the two itself; the name is the cleaned one.
    name = str(place.relative_to(root))
    table_logger = CSVLogger(str(root), name=name, version=version)
    if rows:
        # Lightning deletes the file of an existing version; its rows are written again before anything new.
        rows = [{key: value for key, value in row.items() if value} for row in rows]
        table_logger.experiment.metrics = [row for row in rows if int(row["step"]) < step]
        table_logger.experiment.save()
    return [
        table_logger,
        TensorBoardLogger(str(root), name=name, version=table_logger.version, default_hp_metric=False),
    ]
