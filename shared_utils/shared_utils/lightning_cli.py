"""LightningCLI with a run name, ``--resume`` and the workspace's loggers and checkpoints. Imported only to train."""

from __future__ import annotations

import logging as log_levels
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities import rank_zero_only

from shared_utils import UserError, checkpoint, files, logging
from shared_utils import training_flags as flags
from shared_utils.callbacks import DurableCheckpointIO, NewestCheckpoint, ProgressLines, RandomState

# Lightning's CLI calls functions that jsonargparse is about to rename; that is between the two of them.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
log = log_levels.getLogger(__name__)


class WorkspaceCLI(LightningCLI):
    """LightningCLI with a run name, ``--resume`` and ``--debug``, and the workspace's loggers and checkpoints.

    After construction: ``folder`` is the run's (None where nothing is written, and for a new run on all processes but the
    first), ``start_from`` the checkpoint that training goes on from, ``start_step`` its step, ``best`` the callback that
    keeps what is tested.
    """

    def __init__(
        self, *args: Any, links: dict[str, str], parse: Callable, monitor: tuple[str, str] | None, **kwargs: Any
    ) -> None:
        self.links, self._parse_or_explain, self.monitor = links, parse, monitor
        self.held = ExitStack()
        self.folder: Path | None = None
        self._new = False
        self.start_from: Path | None = None
        self.start_step = 0
        self.best: ModelCheckpoint | None = None
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            self.held.close()
            raise

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", type=str, default="default", help="the run's folder is runs/<name>/version_N")
        parser.add_argument("--resume", action="store_true", help="continue the newest good checkpoint of this name")
        parser.add_argument(
            "--ckpt_path", type=str | None, default=None, help="begin with this checkpoint, in a new folder"
        )
        parser.add_argument("--debug", action="store_true", help="on an error, show the traceback")
        for attribute, argument in self.links.items():
            parser.link_arguments(f"data.{attribute}", f"model.{argument}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        flags.check_groups(args)
        self.config = self._parse_or_explain(parser, args)
        flags.check(self.config.trainer)
        self.root = Path(self.config.trainer.default_root_dir or "runs")
        self.place = logging.run_place(self.config.name, self.root)
        if self.config.resume and self.config.ckpt_path:
            raise UserError("--resume and --ckpt_path are two beginnings: give one of them")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        settings = self.config_init["trainer"]
        self._find_start()
        # What is kept of the run is how to make it, not how it was started this time.
        self.config.resume, self.config.debug = False, False
        self.trainer_defaults["callbacks"] = self._callbacks(settings, kwargs)
        if not any(isinstance(plugin, CheckpointIO) for plugin in settings.plugins or []):
            kwargs["plugins"] = [*(settings.plugins or []), DurableCheckpointIO()]
        if not flags.writes(settings):
            self.save_config_callback = None
            if settings.fast_dev_run:
                kwargs |= {"logger": False, "enable_checkpointing": False}
            return super().instantiate_trainer(**kwargs)
        self._make_folder()
        with self.removed_if_unused():
            kwargs |= self._loggers(settings.logger)
            return super().instantiate_trainer(**kwargs)

    def _find_start(self) -> None:
        """Find the checkpoint to begin with, and see that it fits."""
        if self.config.resume:
            found = self._newest("version_*/checkpoints/*.ckpt", self.place)
            self.folder = found.parents[1]
            self._lock()
            # Who held the folder until now may have written another one.
            found = self._newest("checkpoints/*.ckpt", self.folder)
        elif self.config.ckpt_path:
            found = checkpoint.locate(self.config.ckpt_path, "")
            found = found / "model.safetensors" if found.is_dir() else found
        else:
            return
        content = checkpoint.load_tensors(found, lazily=True)
        if all(key in content for key in checkpoint.TRAINING_KEYS):
            flags.check_fits(found, content["state_dict"], self.model)
            self.start_from, self.start_step = found, int(content["global_step"])
        else:
            state = content.get("state_dict", content)
            report = checkpoint.import_state_dict(self.model, state, source=str(found))
            log.info("beginning with the weights of %s: %s", found, report)

    def _newest(self, pattern: str, place: Path) -> Path:
        found = checkpoint.newest_good(place.glob(pattern), checkpoint.training_state)
        if found is None:
            raise UserError(f"nothing to resume in {self.place}: no good checkpoint; start without --resume")
        return found

    def _lock(self) -> None:
        if rank_zero_only.rank == 0 and self.folder is not None:
            self.held.enter_context(files.lock(self.folder / ".lock", str(self.folder)))

    def _make_folder(self) -> None:
        """Make the run's folder, unless it is that of the resumed run."""
        if rank_zero_only.rank == 0 and self.folder is None:
            self.folder, self._new = logging.run_folder(self.config.name, self.root), True
            self._lock()

    @contextmanager
    def removed_if_unused(self) -> Iterator[None]:
        """Where the block ends in an error before anything was trained, remove the folder that was made for the run."""
        try:
            yield
        except BaseException:
            unused = ("config.yaml", ".lock", "hparams.yaml")
            if self._new and self.folder is not None and self.folder.is_dir():
                files = list(self.folder.iterdir())
                if all(path.name in unused or path.name.startswith("events.out") for path in files):
                    for path in files:
                        path.unlink()
                    self.folder.rmdir()
            raise

    def _loggers(self, given: Any) -> dict[str, Any]:
        """The trainer's loggers: the table first, whose folder is the run's; those of the config beside it."""
        if given is False:
            return {"default_root_dir": str(self.folder or self.root)}
        version = int(self.folder.name.removeprefix("version_")) if self.folder else None
        resume = (version, self.start_step) if self.continues and version is not None else None
        own = logging.training_loggers(self.config.name, self.root, resume, version)
        if given in (None, True):
            return {"logger": own}
        return {"logger": [own[0], *([given] if isinstance(given, Logger) else given)]}

    @property
    def continues(self) -> bool:
        """Whether training goes on in the folder of ``start_from``."""
        return self.start_from is not None and not self.config.ckpt_path

    def _callbacks(self, settings: Any, kwargs: dict[str, Any]) -> list[Callback]:
        callbacks: list[Callback] = [RandomState()]
        if settings.barebones:
            return callbacks
        if settings.enable_progress_bar is False or not sys.stderr.isatty():
            kwargs["enable_progress_bar"] = False
            callbacks.append(ProgressLines(self.monitor[0] if self.monitor else None))
        if flags.keeps_checkpoints(settings):
            # The newest state is kept whether or not it is the best, which is kept beside it.
            self.best = last = NewestCheckpoint()
            if self.monitor and settings.limit_val_batches != 0:
                metric, mode = self.monitor
                name = "best-{epoch}"
                self.best = ModelCheckpoint(filename=name, auto_insert_metric_name=False, monitor=metric, mode=mode)
                callbacks.append(self.best)
            callbacks.append(last)
        return callbacks
