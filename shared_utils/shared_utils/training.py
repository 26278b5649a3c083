"""What ``cli.train`` needs of Lightning: run folders, durable checkpoints, exact resumption. Imported only to train."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.model_helpers import is_overridden

from shared_utils import UserError, checkpoint, logging

# Lightning's CLI calls functions that jsonargparse is about to rename; that is between the two of them.
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints through ``checkpoint.save`` and ``checkpoint.load_tensors``."""

    def save_checkpoint(self, checkpoint_content: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint.save(checkpoint_content, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoint.load_tensors(path, map_location or "cpu")


class RandomState(Callback):
    """Keeps the random generators in the checkpoint, so that a resumed run draws what the unbroken one would have."""

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 (libraries draw from it)
        return {
            "python": random.getstate(),
            "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._restored = state

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not later: the first epoch's loader draws its seed before on_train_start.
        if self._restored is None:
            return
        state, self._restored = self._restored, None
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        torch.set_rng_state(state["torch"])
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])


class WorkspaceCLI(LightningCLI):
    """LightningCLI with a run name, ``--resume`` and ``--debug``, and the workspace's loggers and checkpoints."""

    def __init__(self, *args: Any, links: dict[str, str], parse: Callable, **kwargs: Any) -> None:
        self.links, self._parse_or_explain = links, parse
        super().__init__(*args, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", type=str, default="default", help="the run's folder is runs/<name>/version_N")
        parser.add_argument("--resume", action="store_true", help="continue the newest good checkpoint of this name")
        parser.add_argument("--debug", action="store_true", help="on an error, show the traceback")
        for attribute, argument in self.links.items():
            parser.link_arguments(f"data.{attribute}", f"model.{argument}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = self._parse_or_explain(parser, args)

    @property
    def root(self) -> Path:
        return Path(self.config.trainer.default_root_dir or "runs")

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        trainer = self.config_init.trainer
        found = self.resume_from = self.find_checkpoint()
        if trainer.logger in (None, True):
            resume = found and (int(found.parts[-3].removeprefix("version_")), _global_step(found))
            kwargs["logger"] = logging.training_loggers(self.config.name, self.root, resume)
        if not trainer.plugins:
            kwargs["plugins"] = [DurableCheckpointIO()]
        return super().instantiate_trainer(**kwargs)

    def find_checkpoint(self) -> Path | None:
        """The newest good checkpoint of this run name; None without ``--resume``.

        Raises UserError when there is none.
        """
        if not self.config.resume:
            return None
        folder = self.root / self.config.name
        found = checkpoint.newest_good(folder.glob("version_*/checkpoints/*.ckpt"))
        if found is None:
            raise UserError(f"nothing to resume in {folder}: no good checkpoint; start without --resume")
        return found


def _global_step(path: Path) -> int:
    return int(checkpoint.load_tensors(path)["global_step"])


def run_training(
    classes: tuple[type, type],
    arguments: list[str],
    *,
    program: str,
    parse: Callable[[Any, list[str]], Any],
    links: dict[str, str],
    monitor: tuple[str, str] | None,
    after: Callable[[LightningCLI, Path], None] | None,
) -> None:
    """Build everything from the arguments, fit, test the best checkpoint where there is a test, and call ``after``."""
    logging.configure()
    # "last" is the newest epoch's end, whether or not it is the best, which is kept beside it.
    last = ModelCheckpoint(filename="last", enable_version_counter=False)
    callbacks = [RandomState(), last]
    if monitor:
        best = ModelCheckpoint(
            filename="best-{epoch}", auto_insert_metric_name=False, monitor=monitor[0], mode=monitor[1]
        )
        callbacks.insert(1, best)
    module_class, data_class = classes
    cli = WorkspaceCLI(
        module_class,
        data_class,
        args=arguments,
        run=False,
        links=links,
        parse=parse,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        save_config_kwargs={"overwrite": True},
        trainer_defaults={"callbacks": callbacks},
        parser_kwargs={"prog": program, "exit_on_error": False, "allow_abbrev": False},
    )
    trainer = cli.trainer
    try:
        trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.resume_from, weights_only=True)
    except SystemExit:
        # Lightning has caught Ctrl-C, shut down in order and left with status 1.
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(trainer.log_dir)
    if (
        cli.datamodule is not None
        and is_overridden("test_step", cli.model)
        and trainer.checkpoint_callback.best_model_path
    ):
        trainer.test(cli.model, datamodule=cli.datamodule, ckpt_path="best", weights_only=True)
    if trainer.is_global_zero:
        if after is not None:
            after(cli, folder)
        print(f"run: {folder}")
