"""Checkpoints that survive a kill, loading that never runs code, and a plain way in and out of published state dicts.

A file written by ``save`` is an ordinary ``torch.save`` file; its SHA-256 stands in the zip comment at its end, so that
one file carries its own proof and any torch reads it. It appears under its name only when it is whole on disk.

``writing`` and ``reading`` are about one file, ``kinds`` and ``outline`` about what a file is before it is loaded,
``runs`` about which file, ``exchange`` about models that come from and go to others.
"""

from shared_utils.checkpoint.exchange import Exportable, ImportReport, find_state, import_state_dict
from shared_utils.checkpoint.reading import load_tensors, verify
from shared_utils.checkpoint.runs import TRAINING_KEYS, locate, newest_good, run_checkpoint, training_state
from shared_utils.checkpoint.writing import save, save_safetensors, weights_digest
from shared_utils.files import replacing, write_json

__all__ = [
    "TRAINING_KEYS",
    "Exportable",
    "ImportReport",
    "find_state",
    "import_state_dict",
    "load_tensors",
    "locate",
    "newest_good",
    "replacing",
    "run_checkpoint",
    "save",
    "save_safetensors",
    "training_state",
    "verify",
    "weights_digest",
    "write_json",
]
