"""Settings of Lightning's that cannot work, in one sentence each, before anything is trained or written."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.model_helpers import is_overridden

from shared_utils import UserError

# Checks of these libraries are complaints about settings: batch_size 0, devices 99, a precision that does not exist.
_LIBRARIES = ("pytorch_lightning", "lightning_fabric", "jsonargparse", "torch/utils/data", "torch/optim")


def check_groups(arguments: Sequence[str]) -> None:
    """Raise UserError where a config gives one value for what has settings of its own, as ``model: 3``."""
    for before, argument in pairwise(["", *arguments]):
        name = argument.removeprefix("--config=")
        if before not in ("--config", "-c") and name == argument:
            continue
        content = yaml.safe_load(Path(name).read_text()) or {}
        for group in ("trainer", "model", "data"):
            value = content.get(group, {})
            if value is not None and not isinstance(value, dict):
                raise UserError(f"{name}: {group} has settings of its own (name: value below it), got {value}")


def check(trainer: Any) -> None:
    """Raise UserError where the trainer's settings train nothing.

    Args:
        trainer: the settings under ``trainer:`` (a Namespace of jsonargparse).
    """
    for name in ("max_epochs", "max_steps", "limit_train_batches"):
        value = trainer.get(name)
        if value is not None and not isinstance(value, bool) and value == 0:
            raise UserError(f"trainer.{name}: 0 trains nothing; give 1 or more, or leave it out")
    for name in ("max_epochs", "max_steps"):
        value = trainer.get(name)
        if value is not None and value < -1:
            raise UserError(
                f"trainer.{name}: {value} is not a number of {name[4:]}; give 1 or more, or -1 for no limit"
            )
    if trainer.get("devices") in (0, "0", []):
        raise UserError("trainer.devices: 0 leaves nothing to train on; give 1 or more, or auto")
    devices, cores = str(trainer.get("devices")), os.cpu_count() or 1
    if accelerator_is_cpu(trainer) and devices.isdecimal() and int(devices) > max(8, cores):
        raise UserError(f"trainer.devices: {devices} processes on {cores} CPU cores; give {cores} or fewer")
    there = {"gpu": torch.cuda.is_available() or torch.backends.mps.is_available(), "cuda": torch.cuda.is_available()}
    if not there.get(accelerator := trainer.get("accelerator"), True):
        raise UserError(f"trainer.accelerator: {accelerator}, but there is no GPU here; use auto or cpu")
    if trainer.get("val_check_interval") in (0, 0.0):
        raise UserError("trainer.val_check_interval: 0 is no interval; to leave validation out, limit_val_batches is 0")
    for name in ("check_val_every_n_epoch", "num_nodes", "accumulate_grad_batches"):
        value = trainer.get(name)
        if isinstance(value, int) and value < 1:
            raise UserError(f"trainer.{name}: {value} is not possible; give 1 or more")


def accelerator_is_cpu(trainer: Any) -> bool:
    """Whether training will be on the CPU."""
    anything_else = torch.cuda.is_available() or torch.backends.mps.is_available()
    return trainer.get("accelerator") == "cpu" or (trainer.get("accelerator") == "auto" and not anything_else)


def writes(trainer: Any) -> bool:
    """Whether a run with these settings leaves a folder: a trial run and the bare bones leave nothing."""
    return not trainer.get("fast_dev_run") and not trainer.get("barebones")


def keeps_checkpoints(trainer: Any) -> bool:
    """Whether a run with these settings leaves checkpoints."""
    return writes(trainer) and trainer.get("enable_checkpointing") is not False


def check_fits(source: Path, stored: Mapping[str, Any], model: LightningModule) -> None:
    """Raise UserError where a checkpoint's weights don't fit the model, naming the first that does not.

    A module may know another way on: its ``misfit_hint`` ends the message.
    """
    if is_overridden("configure_model", model):
        return  # its layers do not exist yet
    own = model.state_dict()
    fix = "use the settings of the run that made it (its config.yaml), or another --name"
    fix += f"; {hint}" if (hint := getattr(model, "misfit_hint", "")) else ""
    for name, tensor in own.items():
        if name in stored and tuple(stored[name].shape) != tuple(tensor.shape):
            there, here = tuple(stored[name].shape), tuple(tensor.shape)
            raise UserError(f"{source} does not fit the model: {name} is {there} there and {here} here; {fix}")
    if model.strict_loading and not is_overridden("on_load_checkpoint", model):
        for names, others, where in ((own, stored, "in the checkpoint"), (stored, own, "in the model")):
            if missing := [name for name in names if name not in others]:
                raise UserError(f"{source} does not fit the model: {missing[0]} is not {where}; {fix}")


@contextmanager
def explained() -> Iterator[None]:
    """Turn the libraries' complaints about settings into a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except MisconfigurationException as error:
        raise UserError(_sentence(error)) from error
    except (ModuleNotFoundError, ValueError, TypeError, RuntimeError, ZeroDivisionError, KeyError) as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        text = str(error)
        if isinstance(error, RuntimeError) and text.startswith("Error(s) in loading state_dict"):
            raise UserError(
                f"the checkpoint does not fit the model: {' '.join(text.split(':', 1)[1].split())}"
            ) from error
        innermost = traceback.extract_tb(error.__traceback__)[-1].filename.replace("\\", "/")
        if not any(f"/site-packages/{library}" in innermost for library in _LIBRARIES):
            raise
        raise UserError(_sentence(error)) from error


def _sentence(error: Exception) -> str:
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    if uninstalled := re.search(r"Requirement '([\w-]+)[^']*' not met.*?(pip install[^`]*)`", text):
        return f"{uninstalled[1]} is not installed: {uninstalled[2]}"
    return f"{text[:400].rstrip('. ') or type(error).__name__}: check the settings (--print_config shows them)"
