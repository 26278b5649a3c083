"""The six heads of the network, the same on every backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

#: Output channels by head: centre heatmap; left, top, right, bottom distances; embedding; centre offset; occlusion
#: heatmap and offset (paper, section 3).
HEADS = {"hm": 1, "wh": 4, "id": 128, "reg": 2, "occlusion": 1, "occlusion_offset": 2}


def head(name: str, in_channels: int, hidden: int, out_channels: int) -> nn.Sequential:
    """conv 3 x 3, ReLU, conv 1 x 1; the heatmaps start at a probability of 0.1, as published also ``occlusion_offset``."""
    first, last = nn.Conv2d(in_channels, hidden, 3, padding=1), nn.Conv2d(hidden, out_channels, 1)
    assert first.bias is not None and last.bias is not None
    nn.init.zeros_(first.bias)
    nn.init.constant_(last.bias, -2.19 if name == "hm" or "occlusion" in name else 0.0)
    return nn.Sequential(first, nn.ReLU(inplace=True), last)


class HeadedNetwork(nn.Module):
    """A backbone's feature map, stride 4, under the heads; the heads are attributes by their published names."""

    def __init__(self, channels: int, hidden: int, heads: Mapping[str, int] | None = None) -> None:
        super().__init__()
        self.heads = dict(HEADS if heads is None else heads)
        for name, out_channels in self.heads.items():
            self.add_module(name, head(name, channels, hidden, out_channels))

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, channels, H/4, W/4)."""
        raise NotImplementedError

    def apply_heads(self, features: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Raw maps of the named heads from what ``features`` returns."""
        return {name: self.get_submodule(name)(features) for name in names}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W), RGB in [0, 1], H and W multiples of 32 -> raw maps by head, each (B, c, H/4, W/4)."""
        return self.apply_heads(self.features(images), self.heads)
