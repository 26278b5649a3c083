"""SyncNet, for its published weights: one embedding of five lip pictures, one of 0.2 s of sound."""

from __future__ import annotations

from torch import Tensor, nn


def _convolution(kind: type[nn.Module], norm: type[nn.Module], *arguments: object, **settings: object) -> list:
    return [kind(*arguments, **settings), norm(arguments[1]), nn.ReLU(inplace=True)]


def _embedding() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 1024))


class SyncNet(nn.Module):
    """The two-stream network of Chung and Zisserman (2016), with the names of ``syncnet_v2.model``."""

    def __init__(self) -> None:
        super().__init__()
        flat, deep = (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d)
        self.netcnnaud = nn.Sequential(
            *_convolution(*flat, 1, 64, 3, padding=1),
            nn.MaxPool2d(1, stride=1),
            *_convolution(*flat, 64, 192, 3, padding=1),
            nn.MaxPool2d(3, stride=(1, 2)),
            *_convolution(*flat, 192, 384, 3, padding=1),
            *_convolution(*flat, 384, 256, 3, padding=1),
            *_convolution(*flat, 256, 256, 3, padding=1),
            nn.MaxPool2d(3, stride=2),
            *_convolution(*flat, 256, 512, (5, 4)),
        )
        self.netfcaud = _embedding()
        self.netcnnlip = nn.Sequential(
            *_convolution(*deep, 3, 96, (5, 7, 7), stride=(1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_convolution(*deep, 96, 256, (1, 5, 5), stride=(1, 2, 2), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
            *_convolution(*deep, 256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *_convolution(*deep, 256, 256, (1, 3, 3), padding=(0, 1, 1)),
            *_convolution(*deep, 256, 256, (1, 3, 3), padding=(0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2)),
            *_convolution(*deep, 256, 512, (1, 6, 6)),
        )
        self.netfclip = _embedding()

    def lip(self, pictures: Tensor) -> Tensor:
        """(n, 3, 5, 224, 224), blue first, 0..255 as they are -> (n, 1024)."""
        return self.netfclip(self.netcnnlip(pictures).flatten(1))

    def audio(self, mfcc: Tensor) -> Tensor:
        """(n, 1, 13, 20) cepstral coefficients of 0.2 s (``mel.mfcc``) -> (n, 1024)."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))
