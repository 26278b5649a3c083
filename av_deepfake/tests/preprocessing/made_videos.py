"""Small videos with a white flash and a click at known seconds, in the containers and codecs that people have."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 44_100


def flash_and_click(
    path,
    codec="mpeg4",
    sound="aac",
    fps=25.0,
    seconds=2.0,
    at=1.0,
    sound_from=0.0,
    size=(48, 64),
    times=None,
    sound_seconds=None,
    rate=RATE,
    container=None,
):
    """A video that is white at ``at`` seconds only, and clicks there.

    sound_from: the sound track begins at this second. times: of the frames, where they are not evenly spaced. sound: a
    codec, None for a silent video.
    """
    path = Path(path)
    with av.open(str(path), "w", format=container) as out:
        per_second = Fraction(fps).limit_denominator(1001)
        picture = out.add_stream(codec, per_second)
        picture.height, picture.width, picture.pix_fmt = *size, "yuv420p"
        picture.codec_context.time_base = Fraction(1, 30_000) if times is not None else 1 / per_second
        heard = None
        if sound is not None:
            heard = out.add_stream(sound, rate=rate)
            heard.layout = "mono"
        stamps = np.arange(round(seconds * fps)) / fps if times is None else np.asarray(times)
        white = int(np.abs(stamps - at).argmin())
        packets = []
        for number, stamp in enumerate(stamps):
            image = np.full((*size, 3), 255 if number == white else 16, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = picture.codec_context.time_base
            frame.pts = round(stamp / frame.time_base)
            packets += picture.encode(frame)
        packets += picture.encode(None)
        if heard is not None:
            total = (sound_seconds or seconds) - sound_from
            samples = np.zeros(round(total * rate), np.float32)
            place = round((at - sound_from) * rate)
            samples[place : place + rate // 200] = 0.9
            kind = {"aac": "fltp", "libopus": "flt", "mp2": "s16"}[sound]
            resampler = av.AudioResampler(format=kind, layout="mono", rate=rate, frame_size=heard.frame_size or 1024)
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, round(sound_from * rate), Fraction(1, rate)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                packets += heard.encode(part)
            packets += heard.encode(None)
        for packet in packets:
            out.mux(packet)
    return path


def click_of(samples, rate=16_000):
    """The second at which a sound rises to half of its largest value."""
    loud = np.abs(np.asarray(samples, np.float64))
    return float(np.argmax(loud > 0.5 * loud.max())) / rate
