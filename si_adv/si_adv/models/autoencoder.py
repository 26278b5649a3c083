"""A point-cloud autoencoder: shared layers and a maximum down to a code, and a decoder that names every point.

Achlioptas et al., "Learning Representations and Generative Models for 3D Point Clouds", ICML 2018; through one of these
AdvPC attacks.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from shared_utils import UserError, checkpoint, files
from shared_utils.checkpoint import Exportable, import_state_dict, load_tensors

#: Trained on the embedded shapes (see ``weights/README.md``).
BUNDLED = Path(__file__).parents[1] / "weights" / "autoencoder"


class PointAutoencoder(nn.Module, Exportable):
    """Clouds (B, N, 3), of any number of points in any order -> clouds (B, num_points, 3).

    Args:
        num_points: of the clouds that come out.
        code: width of the code, what is kept of a cloud.
        width: of the last layer before the points.
    """

    def __init__(self, num_points: int = 1024, code: int = 128, width: int = 96) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 64), (64, 128), (128, code)):
            layers += [nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
        self.encoder = nn.Sequential(*layers)
        self.decoder = nn.Sequential(
            nn.Linear(code, code), nn.ReLU(), nn.Linear(code, width), nn.ReLU(), nn.Linear(width, 3 * num_points)
        )

    def forward(self, points: Tensor) -> Tensor:
        code = self.encoder(points.transpose(1, 2)).amax(2)
        return self.decoder(code).unflatten(1, (-1, 3))


def load_autoencoder(source: str | Path | None = None) -> PointAutoencoder:
    """An autoencoder in evaluation mode, verified.

    Args:
        source: what ``train_autoencoder.py`` made (the folder ``autoencoder`` in the run's), or a repository of the hub; None:
            the bundled one, of the embedded shapes.

    Raises:
        UserError: there is none, or it is damaged.
    """
    folder = checkpoint.locate(source, BUNDLED)
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: give the folder that train_autoencoder.py wrote, with its config.json")
    config = files.read_json(folder / "config.json", "config of an autoencoder")
    known = {"num_points", "code", "width"}
    if (
        not isinstance(config, dict)
        or set(config) != known
        or not all(type(value) is int and 0 < value <= 1_000_000 for value in config.values())
    ):
        raise UserError(
            f"{folder / 'config.json'} is not of an autoencoder: give the folder that train_autoencoder.py wrote"
        )
    autoencoder = PointAutoencoder(**config)
    weights = folder / "model.safetensors"
    import_state_dict(autoencoder, load_tensors(weights), source=str(weights))
    return autoencoder.eval()
