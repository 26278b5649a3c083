"""Small real films for the tests: video files with sound, folders of scans, and a small network with random weights."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from old_films_rtn.models.rtn import RTN
from old_films_rtn.pretrained import Restorer
from shared_utils import checkpoint

CLOCK = Fraction(1, 24000)


def texture(seed, height=48, width=64, blur=1.5):
    """(h, w) uint8, smooth noise."""
    noise = np.random.default_rng(seed).standard_normal((height, width)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), blur)
    return (127 + 60 * noise / noise.std()).clip(0, 255).astype(np.uint8)


def moving(count, seed=0, height=48, width=64):
    """(h, w) uint8 pictures of a texture that moves a pixel a frame, with grain."""
    base, rng = texture(seed, height + count, width + 2 * count), np.random.default_rng(seed + 1)
    for index in range(count):
        picture = base[index // 2 : index // 2 + height, index : index + width].astype(np.float32)
        yield (picture + rng.normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)


def write_video(
    path, pictures, pix_fmt="yuv420p", codec="libx264", sound=True, stamps=None, rotation=None, aspect=Fraction(4, 3)
):
    """A video of (h, w) grey or (h, w, 3) RGB uint8 or uint16 pictures, BT.601 tags, with AAC sound; returns the path."""
    kinds = {(2, 1): "gray", (2, 2): "gray16le", (3, 1): "rgb24", (3, 2): "rgb48le"}
    with av.open(str(path), "w") as container:
        stream = None
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(codec, rate=24)
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], pix_fmt
                context = stream.codec_context
                context.time_base, context.sample_aspect_ratio = CLOCK, aspect
                context.color_primaries = context.color_trc = context.colorspace = 6
                context.color_range = 1
                if rotation:
                    stream.set_display_rotation(rotation)
                audio = container.add_stream("aac", rate=44100) if sound else None
                if audio:
                    audio.layout = "mono"
            frame = av.VideoFrame.from_ndarray(picture, kinds[picture.ndim, picture.itemsize]).reformat(format=pix_fmt)
            frame.pts, frame.time_base = (stamps[index] if stamps else 1000 * index), CLOCK
            container.mux(stream.encode(frame))
            if audio:
                wave = 0.3 * np.sin(0.05 * np.arange(1837, dtype=np.float32) * (1 + index % 5))
                samples = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
                samples.sample_rate, samples.pts, samples.time_base = 44100, 1837 * index, Fraction(1, 44100)
                container.mux(audio.encode(samples))
        for each in (stream, audio):
            if each:
                container.mux(each.encode(None))
    return Path(path)


def write_folder(path, pictures, suffix=".png"):
    """A folder of frames named 1, 2, ... without leading zeros."""
    Path(path).mkdir(parents=True)
    for index, picture in enumerate(pictures, start=1):
        cv2.imwrite(str(Path(path) / f"{index}{suffix}"), picture if picture.ndim == 2 else picture[..., ::-1])
    return Path(path)


def sound_packets(path):
    """The packets of the first sound track."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def sound(path):
    """(packets, digest of their bytes) of the first sound track."""
    packets = sound_packets(path)
    return len(packets), hashlib.sha256(b"".join(packets)).hexdigest()


def describe(path):
    """What a copy of a video has to keep."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        tags = context.color_range, context.colorspace, context.color_primaries, context.color_trc
        frames = [(float(frame.pts * frame.time_base), frame.rotation) for frame in container.decode(stream)]
        return {
            "size": (stream.width, stream.height),
            "aspect": stream.sample_aspect_ratio,
            "tags": tags,
            "frames": len(frames),
            "moments": [moment for moment, _ in frames],
            "rotation": frames[0][1],
            "depth": context.format.components[0].bits,
        }


def write_model(path, seed=0, change=0.15, **options):
    """A small network whose output differs from its input; returns the path."""
    torch.manual_seed(seed)
    model = RTN(**{"width": 16, "depths": (2,), "num_heads": 2, "tanh_residual": False, **options})
    with torch.no_grad():
        model.output.weight.normal_(0, change)
    checkpoint.save_safetensors(Restorer(model).state_dict(), path)
    return Path(path)
