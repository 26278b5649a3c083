"""A network with the facts that are needed to use it, as one object that is saved and loaded whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from mot_occlusion.models import build_network
from shared_utils.checkpoint import Exportable


class TrackingModel(nn.Module, Exportable):
    """A network and its facts; ``save_pretrained(folder)`` writes ``model.safetensors`` and ``config.json``.

    Args:
        backbone: ``dla34`` or ``small``.
        heads: output channels by head.
        input_size: (height, width) it was trained for.
        untrained: heads that an import had to initialise; nothing is decoded from them.
        head_channels: hidden channels of the heads; None for the backbone's own.
        uncertainties: ``s_det`` and ``s_id`` of its training, where known.
    """

    def __init__(
        self,
        backbone: str,
        heads: Mapping[str, int],
        input_size: Sequence[int] = (608, 1088),
        untrained: Sequence[str] = (),
        head_channels: int | None = None,
        uncertainties: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        height, width = input_size
        self.backbone, self.heads, self.input_size = backbone, dict(heads), (int(height), int(width))
        self.untrained, self.uncertainties = tuple(untrained), dict(uncertainties or {})
        self.network = build_network(backbone, heads, head_channels)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W), RGB in [0, 1] -> raw maps by head."""
        return self.network(images)
