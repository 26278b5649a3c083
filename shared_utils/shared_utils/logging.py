"""What a command says while it runs: log lines, progress bars, tables, and the folders in which runs are kept."""

from __future__ import annotations

import csv
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")


def configure(level: int = logging.INFO) -> None:
    """Send log records to the terminal's standard error through rich; results stay alone on standard output."""
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(console=Console(stderr=True), show_path=False, show_time=False, markup=False)
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler], force=True)
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


def progress(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar on standard error; where that is no terminal, silently."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if total is None and hasattr(items, "__len__"):
        total = len(items)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(description, total=total)
        for item in items:
            yield item
            bar.advance(task)


def table(rows: Sequence[dict[str, Any]], title: str = "") -> str:
    """Rows of equal keys as an aligned text table; numbers with four significant digits, None as a dash.

    >>> print(table([{"attack": "ifgm", "l2": 0.53104}]))
    attack      l2
    ifgm    0.5310
    """

    def cell(value: Any) -> str:
        if value is None:
            return "-"
        if not isinstance(value, float):
            return str(value)
        if value and abs(value) < 1e-3:
            return f"{value:.3e}"
        return f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"

    names = list(rows[0]) if rows else []
    cells = [names, *([cell(row.get(name)) for name in names] for row in rows)]
    columns = []
    for column, name in zip(zip(*cells, strict=True), names, strict=True):
        width = max(map(len, column))
        left = all(isinstance(row.get(name), str) for row in rows)
        columns.append([text.ljust(width) if left else text.rjust(width) for text in column])
    lines = ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]
    return "\n".join([title, *lines] if title else lines)


def run_folder(name: str, root: str | Path = "runs") -> Path:
    """A new folder ``<root>/<name>/version_N``, N one above the highest there is."""
    versions = [int(path.name[8:]) for path in (Path(root) / name).glob("version_*") if path.name[8:].isdigit()]
    folder = Path(root) / name / f"version_{max(versions, default=-1) + 1}"
    folder.mkdir(parents=True)
    return folder


def training_loggers(name: str, root: str | Path = "runs", resume: tuple[int, int] | None = None) -> list:
    """Lightning's CSV and TensorBoard loggers, both in ``<root>/<name>/version_N``.

    resume: (version, step) continues the curves of that version, without what came after that step.
    """
    from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

    version, step = resume or (None, 0)
    old = Path(root) / name / f"version_{version}" / "metrics.csv"
    rows = []
    if resume and old.is_file():
        with old.open(newline="") as file:
            rows = [{key: value for key, value in row.items() if value} for row in csv.DictReader(file)]
    table_logger = CSVLogger(str(root), name=name, version=version)
    if rows:
        # Lightning deletes the file of an existing version; its rows are written again before anything new.
        table_logger.experiment.metrics = [row for row in rows if int(row["step"]) < step]
        table_logger.experiment.save()
    return [
        table_logger,
        TensorBoardLogger(str(root), name=name, version=table_logger.version, default_hp_metric=False),
    ]
