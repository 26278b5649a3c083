"""Files that appear whole or not at all, locks, and the one answer when an output exists. Needs no torch."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from shared_utils import UserError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Write a file so that ``path`` is either the old file or the whole new one, whatever happens in between.

    Yields the path of a temporary file in the same folder; on leaving the block it is synced to disk and renamed. On an
    error it is removed and ``path`` stays as it was. The temporary name belongs to this process, and what a killed
    process left behind under another one is removed.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        _remove_left_behind(path)  # before writing: a job that dies at every try must not fill the disk
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    sync_folder(path.parent)


def _remove_left_behind(path: Path) -> None:
    """Remove temporary files of ``path`` whose process is gone; those of other machines are left to them."""
    for other in path.parent.glob(f".{glob_escape(path.name)}.{glob_escape(socket.gethostname())}.*.tmp"):
        number = other.name.split(".")[-2]
        if number.isdigit() and not _alive(int(number)):
            other.unlink(missing_ok=True)


def glob_escape(name: str) -> str:
    """A name with the wildcards of ``Path.glob`` made literal."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it exists and is not ours
        return True
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(content: Any, path: str | Path) -> None:
    """Write JSON durably (see ``replacing``)."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: str | Path, what: str = "JSON file") -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        what: what the file is called in the error.

    Raises:
        UserError: the file is missing or is not whole JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} not found: it should be a {what}; check the path") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is not a whole {what} ({error}): delete it, or restore it from a copy") from None


@contextmanager
def lock(path: str | Path, what: str) -> Iterator[None]:
    """Hold ``path`` for the length of the block; the operating system releases it when the process ends, however it ends.

    Args:
        path: the lock file; made where it is missing and left in place.
        what: what is locked, as the error names it ("runs/default/version_0").

    Raises:
        UserError: another process holds it; the message gives its number, machine and start.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise UserError(f"{what} is in use by {holder}: wait for it, stop it, or use another name") from None
        stream.truncate(0)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        stream.write(f"process {os.getpid()} on {socket.gethostname()}, since {since}")
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)


def refuse_existing(path: str | Path, overwrite: bool, resume_possible: bool = False) -> None:
    """Raise UserError where ``path`` is a file, or a folder with something in it, unless ``overwrite``.

    Args:
        path: the output that is about to be written.
        overwrite: the user's ``--overwrite``.
        resume_possible: the verb knows ``--resume``, which the message then names too.
    """
    path = Path(path)
    check_writable(path)
    if overwrite or not (path.is_file() or (path.is_dir() and any(path.iterdir()))):
        return
    go_on = "continue it with --resume, " if resume_possible else ""
    raise UserError(f"{path} exists: {go_on}replace it with --overwrite, or name another --out")


def check_writable(path: str | Path) -> None:
    """Raise UserError where nothing can be written at ``path``: a parent is a file, or may not be written to."""
    path = Path(path)
    parent = path if path.is_dir() else path.parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise UserError(f"{path} cannot be written: {parent} is a file where a folder is needed")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"{path} cannot be written: no permission to write in {parent}")
