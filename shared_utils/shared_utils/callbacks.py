"""What happens beside training: durable checkpoints, random numbers kept for every process, lines of progress."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import isfinite
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.combined_loader import CombinedLoader

from shared_utils import checkpoint, distributed
from shared_utils.logging import SECONDS_BETWEEN_LINES
from shared_utils.logging import _duration as duration

log = logging.getLogger(__name__)
_SECONDS_BETWEEN_EPOCHS = 5.0


class DurableCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints through ``checkpoint.save`` and ``checkpoint.load_tensors``."""

    def save_checkpoint(self, checkpoint_content: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        checkpoint.save(checkpoint_content, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return checkpoint.load_tensors(path, map_location or "cpu")


class NewestCheckpoint(ModelCheckpoint):
    """Keep ``last``: the state at every validation, and at the end of an epoch, or of training within one, that had none."""

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if not self._should_skip_saving_checkpoint(trainer):  # no validation saved at this step
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))


class RandomState(Callback):
    """Every process draws its own random numbers, and a resumed run draws what the unbroken one would have.

    Up to the start of training all processes draw alike, so that they build the same model (under DDP the weights of
    the first one are sent to the others besides). Then each but the first gets a seed of its own. A checkpoint holds the
    states of all of them. Workers of data loaders are seeded from the process's generator whenever they start; they are
    started anew in every epoch, ``persistent_workers`` or not, because what goes on inside of them cannot be saved.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None
        self._device = torch.device("cpu")

    def state_dict(self) -> dict[str, Any]:
        # Lightning collects a checkpoint on all processes, and writes that of the first one.
        return {"ranks": distributed.gather_objects(_generators(self._device))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._restored = state

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not later: the first epoch's loader draws its seed before on_train_start.
        self._device = pl_module.device
        restored, self._restored = self._restored, None
        ranks = restored.get("ranks", [restored]) if restored else []  # older checkpoints hold one process's state
        if distributed.rank() < len(ranks):
            _set_generators(ranks[distributed.rank()], self._device)
        elif distributed.rank() > 0:
            distributed.seed_everything(torch.initial_seed())
        if ranks and len(ranks) != distributed.world_size():
            log.warning(
                "the checkpoint is of %d processes, this run has %d: it goes on, but not as the unbroken run would have",
                *(len(ranks), distributed.world_size()),
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _stop_workers(trainer.train_dataloader)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            _stop_workers(trainer.val_dataloaders)


def _generators(device: torch.device) -> dict[str, Any]:
    """The states of this process's random generators, as tensors and plain values."""
    state = np.random.get_state()  # noqa: NPY002 (libraries draw from it)
    assert isinstance(state, tuple), "a dictionary only where legacy=False asks for it"
    name, keys, position, has_gauss, gauss = state
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else [],
    }


def _set_generators(state: Mapping[str, Any], device: torch.device) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and len(state["cuda"]) == 1:
        torch.cuda.set_rng_state(state["cuda"][0], device)


def _stop_workers(loaders: Any) -> None:
    """End the persistent workers of data loaders; the next epoch starts new ones."""
    for loader in CombinedLoader(loaders).flattened if loaders is not None else []:
        iterator = getattr(loader, "_iterator", None)
        if iterator is not None:
            with suppress(AttributeError):
                iterator._shutdown_workers()
            loader._iterator = None


class ProgressLines(Callback):
    """Where no bar is shown, a line every 30 seconds, at the ends of epochs (not more often than every 5), and at the end.

    Args:
        monitor: a logged metric that is shown beside the loss.
        clock: seconds; for tests.
    """

    def __init__(self, monitor: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._monitor, self._clock = monitor, clock
        self._start = self._printed = clock()
        self._begun = self._done = 0
        self._loss: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = self._printed = self._clock()
        self._begun = self._done = trainer.fit_loop.total_batch_idx + 1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        self._done += 1
        self._loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        self._say(trainer, SECONDS_BETWEEN_LINES)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            self._say(trainer, SECONDS_BETWEEN_LINES, ", validating")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._say(trainer, _SECONDS_BETWEEN_EPOCHS)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._done > self._begun:
            self._say(trainer, 0.0, f", trained for {duration(self._clock() - self._start)}", left=False)

    def _say(self, trainer: Trainer, pause: float, more: str = "", left: bool = True) -> None:
        now = self._clock()
        if now - self._printed < pause or not trainer.is_global_zero:
            return
        self._printed = now
        epochs, steps = trainer.max_epochs or -1, trainer.num_training_batches
        epoch = min(trainer.current_epoch + 1, epochs if epochs > 0 else trainer.current_epoch + 1)
        total = epochs * steps if epochs > 0 else float("inf")
        if trainer.max_steps > 0:
            total = min(total, trainer.max_steps * trainer.accumulate_grad_batches)
        line = f"epoch {epoch}" + (f" of {epochs}" if epochs > 0 else "") + f", step {self._done}"
        line += f" of {int(total)}" if isfinite(total) else ""
        if isinstance(self._loss, torch.Tensor) and self._loss.numel() == 1:
            line += f", loss {float(self._loss):.4g}"
        if self._monitor in trainer.callback_metrics:
            line += f", {self._monitor} {float(trainer.callback_metrics[self._monitor]):.4g}"
        if left and isfinite(total) and self._done > self._begun and total > self._done:
            rate = (now - self._start) / (self._done - self._begun)
            line += f", about {duration(rate * (total - self._done))} left"
        log.info("%s", line + more)
