"""The finished parts of a long job on disk: what a killed run had finished is not computed again, and nothing is mixed.

::

    with work.begin(out, {"method": method, "weights": digest}, resume=resume, overwrite=overwrite) as job:
        job.finish(names, compute, "reconstructing")  # compute(name) -> arrays; shared over the ranks of torchrun
        tables = [job.read(name) for name in names]
        job.complete()

One policy for what exists: it is refused, continued under the same description (``resume``), or replaced (``overwrite``).
"""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shared_utils import UserError, distributed, files
from shared_utils.logging import progress

log = logging.getLogger(__name__)

DESCRIPTION, PARTS, LOCK = "job.json", "parts", ".lock"


class Work:
    """The parts of one job, in ``folder``/parts. Made by ``begin``.

    A part is a name (slashes make sub-folders) with either arrays, kept whole in one file, or a folder of files
    (``place``) that counts once it is marked.
    """

    def __init__(self, folder: Path, resumed: bool) -> None:
        self.folder, self.resumed = folder, resumed

    def _file(self, name: str) -> Path:
        return self.folder / PARTS / f"{name}.npz"

    def _marker(self, name: str) -> Path:
        return self.folder / PARTS / name / ".done"

    def place(self, name: str) -> Path:
        """The folder of a part that is files; made where it is missing."""
        folder = self.folder / PARTS / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def mark(self, name: str) -> None:
        """Record that the folder of a part is whole; what is in it must be on disk."""
        marker = self._marker(name)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        files.sync_folder(marker.parent)

    def has(self, name: str) -> bool:
        """Whether a part is there and whole; a damaged one is named in the log and counts as missing."""
        if self._marker(name).is_file():
            return True
        path = self._file(name)
        if not path.is_file():
            return False
        try:
            _read(path)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            log.warning("%s is damaged (%s): computed again", path, error)
            return False
        return True

    def write(self, name: str, /, **arrays: Any) -> None:
        """Keep the arrays of a part (anything ``numpy.asarray`` takes but objects, torch tensors included)."""
        plain: dict[str, Any] = {key: _array(key, value) for key, value in arrays.items()}
        with files.replacing(self._file(name)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **plain)

    def read(self, name: str) -> dict[str, np.ndarray]:
        """The arrays of a part.

        Raises:
            UserError: it is not there, or damaged since it was written.
        """
        path = self._file(name)
        try:
            return _read(path)
        except FileNotFoundError:
            raise UserError(f"{path} not found: continue the job with --resume") from None
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is damaged ({error}): continue with --resume, which computes it again") from None

    def finish(
        self, names: Sequence[str], compute: Callable[[str], Mapping[str, Any]], description: str = "working"
    ) -> None:
        """Compute and keep what is missing of ``names``, each rank its share; returns when all ranks are done.

        A part is the work of one rank: while it computes, the rank is on its own (``distributed.alone``).

        Args:
            names: the parts, the same on every rank.
            compute: arrays of a part by name.
            description: of the progress bar.
        """
        missing = distributed.broadcast(
            [name for name in names if not self.has(name)] if distributed.rank() == 0 else None
        )
        if self.resumed and len(missing) < len(names) and distributed.rank() == 0:
            log.info("%d of %d parts are there already", len(names) - len(missing), len(names))
        for name in progress(distributed.share(missing), description):
            with distributed.alone():
                arrays = compute(name)
            self.write(name, **arrays)
        distributed.barrier()

    @property
    def finished(self) -> bool:
        """Whether ``complete`` was called for this job, now or in the run that is being continued."""
        return bool(files.read_json(self.folder / DESCRIPTION, "job description")["finished"])

    def complete(self) -> None:
        """Record that everything of the job is finished, results included."""
        if distributed.rank() == 0:
            path = self.folder / DESCRIPTION
            files.write_json(files.read_json(path, "job description") | {"finished": True}, path)

    def remove(self) -> None:
        """Delete the work folder: for jobs whose output is a file and whose parts nobody needs afterwards."""
        distributed.barrier()
        if distributed.rank() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)


def beside_file(out: str | Path) -> Path:
    """The hidden folder beside an output that is a file, for the parts it is put together from."""
    out = Path(out)
    return out.with_name(f".{out.name}.work")


@contextmanager
def begin(out: str | Path, job: Mapping[str, Any], *, resume: bool = False, overwrite: bool = False) -> Iterator[Work]:
    """Start or continue a job in the folder ``out`` and hold it against other processes for the length of the block.

    Args:
        out: the folder of the results (``beside_file`` of an output that is a file).
        job: everything the result depends on, in plain values: arguments, digests of weights and data.
        resume: continue what is there, if it is the same job; begins where nothing is there.
        overwrite: begin again: earlier parts are deleted, other files in the folder stay.

    Raises:
        UserError: ``out`` exists and neither flag is given; it was begun as another job (every differing key is named
            with both values); another process holds it. On all ranks alike.
    """
    folder = Path(out)
    wanted = _plain(job)
    with ExitStack() as held:
        problem, resumed = None, False
        if distributed.rank() == 0:
            try:
                resumed = _open(folder, wanted, resume, overwrite, held)
            except UserError as error:
                problem = str(error)
        problem, resumed = distributed.broadcast((problem, resumed))
        if problem is not None:
            raise UserError(problem)
        yield Work(folder, resumed)


def _open(folder: Path, wanted: dict[str, Any], resume: bool, overwrite: bool, held: ExitStack) -> bool:
    """Apply the policy; whether an earlier run is continued."""
    if resume and overwrite:
        raise UserError("--resume continues and --overwrite begins again: give one of them")
    if folder.is_file():
        raise UserError(f"{folder} is a file: name a folder with --out")
    files.check_writable(folder)
    description = folder / DESCRIPTION
    ours = description.is_file()
    other = [path for path in folder.iterdir() if path.name != LOCK] if folder.is_dir() and not ours else []
    if other and not overwrite:
        resuming = "holds no job to continue" if resume else "exists and is not empty"
        raise UserError(f"{folder} {resuming}: name another --out, or write into it with --overwrite")
    held.enter_context(files.lock(folder / LOCK, str(folder)))
    if ours and resume:
        _compare(folder, files.read_json(description, "job description"), wanted)
        return True
    if ours and not overwrite:
        raise UserError(
            f"{folder} exists: continue it with --resume, replace it with --overwrite, or name another --out"
        )
    # First the description goes, so that a kill in between leaves no mixture that could be continued.
    description.unlink(missing_ok=True)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    files.write_json({"job": wanted, "finished": False}, description)
    return False


def _compare(folder: Path, known: Any, wanted: dict[str, Any]) -> None:
    before = known.get("job") if isinstance(known, dict) else None
    if not isinstance(before, dict):
        raise UserError(f"{folder / DESCRIPTION} is not a job description: begin again with --overwrite")
    differing = [key for key in sorted({*before, *wanted}) if before.get(key) != wanted.get(key)]
    if differing:
        changes = "; ".join(f"{key} {_short(before.get(key))}, now {_short(wanted.get(key))}" for key in differing)
        raise UserError(
            f"{folder} was begun as another job ({changes}): repeat its arguments, begin again with --overwrite, or name "
            "another --out"
        )


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(job: Mapping[str, Any]) -> dict[str, Any]:
    """The description as JSON reads it back; paths as text."""
    return json.loads(json.dumps(dict(job), default=_as_text))


def _as_text(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a job is described in plain values, got {type(value).__name__}")


def _array(key: str, value: Any) -> np.ndarray:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    if array.dtype == object:
        raise TypeError(f"{key}: a part holds arrays of numbers or text, got objects")
    return array


def _read(path: Path) -> dict[str, np.ndarray]:
    """Every array, read to its end, so that the checksums of the archive are tested."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
