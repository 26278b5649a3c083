"""Which file: the newest good checkpoint, the checkpoint of a run, the model that the user means."""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from shared_utils import UserError
from shared_utils.checkpoint.reading import load_tensors, verify

log = logging.getLogger(__name__)

TRAINING_KEYS = ("state_dict", "optimizer_states", "loops", "epoch", "global_step")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_FILE_ENDINGS = {".ckpt", ".pth", ".pt", ".tar", ".bin", ".pkl", ".safetensors", ".onnx", ".tflite", ".json", ".yaml"}


def newest_good(paths: Iterable[str | Path], check: Callable[[Path], Any] = verify) -> Path | None:
    """The most recently written of ``paths`` that is good; the others are named in the log, with the reason.

    Args:
        paths: files; what is not there, or is a folder, is left out.
        check: raises UserError for a file that does not do: ``verify`` (whole), or ``training_state`` (can be resumed).
    """
    present = [Path(path) for path in paths if Path(path).is_file()]
    for path in sorted(present, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            check(path)
            return path
        except UserError as error:
            log.warning("skipped: %s", error)
        except OSError as error:
            log.warning("skipped: %s cannot be read (%s)", path, error.strerror)
    return None


def training_state(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint that training can go on from, its tensors left on disk until they are used.

    Raises:
        UserError: it is not a whole checkpoint, or one without the state of training.
    """
    content = load_tensors(path, lazily=True)
    missing = [key for key in TRAINING_KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(
            f"{path} holds no state of training (no {', '.join(missing)}): training cannot continue from it"
        )
    return content


def _has_weights(path: Path) -> None:
    content = load_tensors(path, lazily=True)
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise UserError(f"{path} is not the checkpoint of a run (it has no state_dict)")


def run_checkpoint(folder: str | Path) -> Path:
    """The checkpoint of a run: of its newest version that has a good one, the newest good best-*, else last, else any.

    Args:
        folder: ``runs/NAME``, ``runs/NAME/version_N``, or a folder with checkpoints in it.

    Raises:
        UserError: there is none.
    """
    folder = Path(folder)
    for version in [*_versions(folder), folder]:
        for place in (version / "checkpoints", version):
            for pattern in ("best-*.ckpt", "last*.ckpt", "*.ckpt"):
                if found := newest_good(place.glob(pattern), _has_weights):
                    return found
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give a run's folder, as in runs/NAME")
    runs = sorted(str(path) for path in folder.iterdir() if _versions(path))
    hint = f"give one of its runs, {' or '.join(runs[:4])}" if runs else "give runs/NAME or a folder with config.json"
    raise UserError(f"no good checkpoint in {folder}: {hint}")


def _versions(folder: Path) -> list[Path]:
    """The versions of a run, the newest first."""
    found = [path for path in folder.glob("version_*") if path.name.removeprefix("version_").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("version_")), reverse=True)


def locate(source: str | Path | None, bundled: str | Path) -> Path:
    """The model that the user means, verified: a file, or a folder with ``config.json`` and ``model.safetensors``.

    Args:
        source: None for the bundled model; an exported folder; a run's folder (``run_checkpoint``); a file; the name
            ``user/model`` of a repository on the Hugging Face hub, which is downloaded once.
        bundled: the file or folder in the package.

    Raises:
        UserError: there is no such model, or it is damaged.
    """
    path = Path(bundled if source is None else source).expanduser()
    if path.is_dir():
        return _exported(path) if (path / "config.json").is_file() else run_checkpoint(path)
    if path.is_file():
        verify(path)
        return path
    if source is None:
        raise UserError(f"the bundled model {path} is missing: install the package again, or give --ckpt")
    name = str(source)
    if _HUB_NAME.fullmatch(name) and path.suffix not in _FILE_ENDINGS and not path.parent.exists():
        return _exported(_snapshot(name))
    raise UserError(
        f"{name} not found: give a checkpoint, a run's folder, an exported folder, or user/model of the hub"
    )


def _exported(folder: Path) -> Path:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        missing = "model.safetensors" if not weights else "config.json"
        raise UserError(f"{folder} is not an exported model, it has no {missing}: export it again")
    for path in weights:
        verify(path)
    return folder


def _snapshot(name: str) -> Path:
    """The files of a hub repository, downloaded where they are not in the cache yet."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=["config.json", "*.safetensors"]))
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        refused = isinstance(error, errors.GatedRepoError)
        why = "needs a login (huggingface-cli login)" if refused else "does not exist, or needs a login"
        raise UserError(f"{name} is not on disk, and as a model of the Hugging Face hub it {why}: check it") from error
    except Exception as error:  # of the hub's client or of the HTTP library below it, which depends on its version
        reason = textwrap.shorten(str(error), 120, placeholder=" ...") or type(error).__name__
        raise UserError(
            f"{name} is not on disk, and the Hugging Face hub cannot be reached ({reason}): check the path or the "
            "connection"
        ) from error
