"""Offsets and log-mel bands, against the published way; prints ratios of CPU time.

    python benchmarks/synchrony.py
    python benchmarks/synchrony.py --seconds 20

The published way of synchrony puts every window of a video through both networks, although neighbours share all frames but
one, and then walks over the shifts one by one; ours puts the video through the front-ends once and compares all shifts at once.
Networks, weights and windows are the same. The published way of the bands (librosa's and python_speech_features') works in
double precision, one clip after the other; the filters are the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad, pairwise_distance

from av_deepfake import mel
from av_deepfake.models.branches import AudioVisual
from av_deepfake.synchrony import distances, window_rows
from shared_utils import cli
from shared_utils.logging import table

#: The sizes of configs/default.yaml, and those of the published front-ends with a small encoder.
SIZES = {
    "24 px, as the default": (24, (8, 16, 32), (1, 1, 1), {"channels": 8, "stem_pooling": False, "grid": 3}, 1),
    "88 px, published front-ends": (88, (64, 128, 256, 512), (2, 2, 2, 2), {"channels": 64}, 2),
}
"""Side, widths and blocks of the stages, what else the picture's front-end has, how much wider it is than the sound's."""
_ENCODER = {"dim": 48, "depth": 2, "heads": 4, "mlp": 96}


@torch.no_grad()
def every_window(model: AudioVisual, pictures: Tensor, sound: Tensor, window: int = 25) -> tuple[Tensor, Tensor]:
    """Each window through both networks, 20 at once."""
    starts = range(pictures.shape[2] - window + 1)
    seen = [pictures[0, :, start : start + window] for start in starts]
    heard = [sound[0, :, 4 * start : 4 * (start + window)] for start in starts]
    video, audio = [], []
    for first in range(0, len(starts), 20):
        rows = model(torch.stack(seen[first : first + 20]), torch.stack(heard[first : first + 20]))
        video.append(rows[0])
        audio.append(rows[1])
    return torch.cat(video), torch.cat(audio)


def every_shift(video: Tensor, audio: Tensor, reach: int) -> Tensor:
    """The published loop: row after row, all shifts of it."""
    padded = pad(audio, (0, 0, reach, reach))
    found = [
        pairwise_distance(video[[row]].repeat(2 * reach + 1, 1), padded[row : row + 2 * reach + 1])
        for row in range(len(video))
    ]
    return torch.stack(found, 1)


def double_bands(samples: np.ndarray) -> np.ndarray:
    """Bands of a clip by frames and numpy's transform, in double precision."""
    padded = np.pad(samples.astype(np.float64), 256, mode="reflect")
    window = np.pad(np.hanning(321)[:-1], 96)
    frames = np.stack([padded[start : start + 512] * window for start in range(0, len(padded) - 511, 160)])
    power = np.abs(np.fft.rfft(frames)) ** 2 @ mel.filter_bank().numpy().astype(np.float64)
    level = 10 * np.log10(np.maximum(power, 1e-10))
    return (np.maximum(level - level.max(), -80) + 40) / 40


def cost(run: Callable[[], object], repeats: int) -> float:
    """The least CPU time of several runs: other processes can only add to it."""
    run()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        spent.append(time.process_time() - start)
    return min(spent)


def measure(seconds: int = 3, repeats: int = 3) -> None:
    """Print how many times faster ours is.

    Args:
        seconds: length of the video.
        repeats: runs of each way.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    frames, rows = 25 * seconds, []
    sound = torch.randn(1, 1, 4 * frames, 80)
    for name, (side, widths, blocks, front, wider) in SIZES.items():
        audio = {"widths": [width // wider for width in widths], "blocks": blocks, **_ENCODER}
        model = AudioVisual({"widths": widths, "blocks": blocks, **front, **_ENCODER}, audio, 48).eval()
        pictures = torch.randn(1, 1, frames, side, side)
        ways = [lambda: every_window(model, pictures, sound), lambda: window_rows(model, pictures, sound)]  # noqa: B023
        rows.append(row(f"rows of windows, {name}", *(cost(way, repeats) for way in ways)))
    video, audio = (normalize(torch.randn(frames, 256), dim=-1) for _ in range(2))
    torch.testing.assert_close(every_shift(video, audio, 15), distances(video, audio, 15, "zero"))
    ways = [lambda: every_shift(video, audio, 15), lambda: distances(video, audio, 15)]
    rows.append(row("distances at 31 shifts", *(cost(way, repeats) for way in ways)))
    clips = 0.1 * torch.randn(64, 16000)
    np.testing.assert_allclose(double_bands(clips[0].numpy()).T[:, :100], mel.log_mel(clips[0], 25)[0].T, atol=1e-3)
    ways = [lambda: [double_bands(clip) for clip in clips.numpy()], lambda: mel.log_mel(clips, 25)]
    rows.append(row("log-mel of 1 s", *(cost(way, repeats) / len(clips) for way in ways)))
    print(table(rows, "CPU time, one thread"))


def row(name: str, published: float, ours: float) -> dict[str, str | float]:
    """Times in milliseconds, and the ratio."""
    return {"what": name, "published (ms)": 1e3 * published, "ours (ms)": 1e3 * ours, "times faster": published / ours}


if __name__ == "__main__":
    raise SystemExit(cli.run(measure))
