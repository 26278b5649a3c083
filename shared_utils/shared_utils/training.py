"""What ``cli.train`` needs of Lightning: fit, test the best checkpoint, call what comes after. Imported only to train."""

from __future__ import annotations

import logging as log_levels
import re
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.utilities.model_helpers import is_overridden

from shared_utils import UserError, logging
from shared_utils import training_flags as flags
from shared_utils.lightning_cli import WorkspaceCLI

log = log_levels.getLogger(__name__)
# What the settings ask for, or what a line of our own says.
_EXPECTED = (
    *("requested to overfit but enabled", "is configured. Logging can impact", "could not find the monitored key"),
    "The dirpath has changed",
)


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
    """Build everything from the arguments, fit, test the best checkpoint where there is a test, and call ``after``.

    ``after`` needs a run folder with curves and checkpoints; where the settings leave none, a line says why it is not
    called.
    """
    logging.configure()
    if "--debug" not in arguments:
        # What Lightning reports about the machine is in our own lines, or of no use; its warnings stay.
        for name in ("pytorch_lightning", "lightning_fabric"):
            log_levels.getLogger(name).setLevel(log_levels.WARNING)
        for text in _EXPECTED:
            warnings.filterwarnings("ignore", message=f".*{text}.*")
    module_class, data_class = classes
    with flags.explained():
        cli = WorkspaceCLI(
            module_class,
            data_class,
            args=[re.sub("^--seed(?==|$)", "--seed_everything", argument) for argument in arguments],
            run=False,
            links=links,
            parse=parse,
            monitor=monitor,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={"callbacks": [], "enable_model_summary": False},
            parser_kwargs={"prog": program, "exit_on_error": False, "allow_abbrev": False},
        )
        with cli.held, cli.removed_if_unused():
            _fit(cli)
            _test(cli)
            if cli.trainer.is_global_zero:
                _finish(cli, after)


def _fit(cli: WorkspaceCLI) -> None:
    trainer = cli.trainer
    if cli.start_from is not None and trainer.is_global_zero:
        log.info("continuing %s, step %d", cli.start_from, cli.start_step)
    if trainer.is_global_zero and not cli.config.trainer.barebones:
        count = sum(value.numel() for value in cli.model.parameters())
        log.info("training %s, %s parameters, on %s", type(cli.model).__name__, f"{count:,}", _devices(trainer))
    try:
        trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=cli.start_from, weights_only=True)
    except SystemExit:
        # Lightning has caught Ctrl-C, shut down in order and left with status 1.
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if trainer.global_step > cli.start_step or trainer.interrupted or not _trained_here(trainer):
        return
    if cli.start_from is None:
        raise UserError("nothing was trained: the training set gives no batch; is data.batch_size larger than it is?")
    log.info(
        "%s is finished already, at step %d: a larger trainer.max_epochs trains on", cli.start_from, cli.start_step
    )


def _trained_here(trainer: Trainer) -> bool:
    """Whether it was this process that trained: the strategies ddp_spawn and ddp_fork leave it to new ones."""
    return not type(trainer.strategy.launcher).__name__.startswith("_MultiProcessing")


def _devices(trainer: Trainer) -> str:
    kind = trainer.strategy.root_device.type
    return kind if trainer.world_size == 1 else f"{trainer.world_size} processes ({kind})"


def _test(cli: WorkspaceCLI) -> None:
    """Test the best checkpoint, or the last weights where none was kept."""
    if cli.datamodule is None or not is_overridden("test_step", cli.model):
        return
    best = cli.best.best_model_path if cli.best is not None else ""
    cli.trainer.test(
        cli.model, datamodule=cli.datamodule, ckpt_path=best if Path(best).is_file() else None, weights_only=True
    )


def _finish(cli: WorkspaceCLI, after: Callable[[LightningCLI, Path], None] | None) -> None:
    if cli.folder is None:
        print("nothing is kept of this run (trainer.fast_dev_run or trainer.barebones)")
        return
    missing = []
    if not (cli.folder / "metrics.csv").is_file():
        why = "trainer.logger is false" if cli.config.trainer.logger is False else "nothing was logged"
        missing.append(f"metrics.csv ({why})")
    if not any(cli.folder.glob("checkpoints/*.ckpt")):
        off = cli.config.trainer.enable_checkpointing is False
        why = "trainer.enable_checkpointing is false" if off else "it ended before one was due"
        missing.append(f"checkpoints ({why})")
    elif cli.best is not None and cli.best.monitor and not cli.best.best_model_path:
        log.info("no best checkpoint: %s was not measured in this run", cli.best.monitor)
    if missing:
        log.info("no figures: this run keeps no %s", " and no ".join(missing))
    elif after is not None:
        after(cli, cli.folder)
    print(f"run: {cli.folder}")
