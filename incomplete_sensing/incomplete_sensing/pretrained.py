"""``load``: a trained reconstruction from wherever it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from incomplete_sensing.operators import OperatorFamily
from incomplete_sensing.published import import_published
from incomplete_sensing.reconstructor import Reconstructor
from incomplete_sensing.torch_files import read_published
from shared_utils import UserError, checkpoint, files

BUNDLED = Path(__file__).parent / "weights" / "digits"
"""The model that ``load()`` means: digits through ten Gaussian operators of 24 rows, see weights/README.md."""


def load(source: str | Path | None = None, operators: OperatorFamily | None = None) -> Reconstructor:
    """A trained reconstruction, ready to evaluate; nothing of a file is run, and every file is verified.

    Args:
        source: None (the bundled model), the folder of a run (its best good checkpoint), a checkpoint of one, a folder
            of ``save_pretrained`` or ``import_checkpoint``, a published checkpoint (which has no operators), or the name
            ``user/model`` of a repository on the Hugging Face hub.
        operators: instead of the stored ones, or where none are.

    Returns:
        The network with its operators and its own pre- and post-processing.

    Raises:
        UserError: naming the file, for whatever is none of these.
    """
    path = checkpoint.locate(source, BUNDLED)
    if path.is_file() and path.suffix == ".safetensors" and path.with_name("config.json").is_file():
        path = path.parent
    reconstructor = _from_folder(path) if path.is_dir() else _from_file(path, operators)
    if operators is not None:
        if operators.image_shape != reconstructor.image_shape:
            raise UserError(
                f"{path} reconstructs images of shape {reconstructor.image_shape},"
                f" the operators are for {operators.image_shape}"
            )
        reconstructor.operators = operators
    return reconstructor.eval()


def _from_folder(folder: Path) -> Reconstructor:
    config = files.read_json(folder / "config.json", "description of a reconstruction")
    if not isinstance(config, dict) or not {"network", "image_shape"} <= set(config):
        raise UserError(
            f"{folder / 'config.json'} does not describe a reconstruction: network and image_shape are missing"
        )
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"model.safetensors not found in {folder}: export the reconstruction again")
    try:
        reconstructor = Reconstructor(**config)
    except TypeError as error:
        raise UserError(f"{folder / 'config.json'} does not describe a reconstruction ({error})") from error
    weights = folder / "model.safetensors"
    checkpoint.import_state_dict(reconstructor, checkpoint.load_tensors(weights), source=str(weights))
    return reconstructor


def _from_file(path: Path, operators: OperatorFamily | None) -> Reconstructor:
    content = checkpoint.load_tensors(path) if path.suffix == ".safetensors" else read_published(path)
    if isinstance(content, dict) and isinstance(content.get("reconstructor"), dict):
        return _from_training(content, str(path), operators)
    return import_published(content, operators=operators, name=str(path))[0]


def _from_training(content: dict[str, Any], source: str, operators: OperatorFamily | None) -> Reconstructor:
    """From the content of a training checkpoint, which holds network, operators and what they were trained on."""
    config = dict(content["reconstructor"])
    prefix = "reconstructor."
    state = {name[len(prefix) :]: value for name, value in content["state_dict"].items() if name.startswith(prefix)}
    if operators is not None:
        config["operators"] = None
        state = {name: value for name, value in state.items() if not name.startswith("operators.")}
    reconstructor = Reconstructor(**config)
    checkpoint.import_state_dict(reconstructor, state, source=source)
    return reconstructor
