"""The sound of a file as an array on the clock of its frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError

from shared_utils import UserError
from shared_utils.video.decoding import open_file, origin, time_base

log = logging.getLogger(__name__)
_JITTER = 0.01  # seconds by which time stamps are rounded; what is missing beyond that is silence
_RUN_UP = 0.5  # seconds decoded before the wanted start: a codec needs some of what lies before


def read_sound(
    path: str | Path, rate: int | None = None, mono: bool = True, start: float = 0.0, stop: float | None = None
) -> tuple[np.ndarray, int, float]:
    """Decode the sound of a file.

    Args:
        path: a video or sound file.
        rate: samples per second to convert to; the file's own where not given.
        mono: the mean of the channels.
        start: seconds on the clock of the frames.
        stop: seconds; the file's end where not given.

    Returns:
        samples: float32, (N,), or (N, channels) without ``mono``; what a codec puts in front of the sound is cut off, and
            what is missing or cannot be decoded is silence.
        rate: samples per second.
        time: the time of the first sample in seconds, on the clock of the frames (see ``open_source``).

    Raises:
        UserError: the file cannot be read, or has no sound.
    """
    path = str(path)
    if not Path(path).is_file():
        raise UserError(f"{path} not found: give a video or sound file")
    with open_file(path) as container:
        stream = container.streams.best("audio")
        if not isinstance(stream, av.AudioStream) or stream.codec_context is None:
            raise UserError(f"{path} has no sound that can be decoded: give another file")
        if start > _RUN_UP:
            container.seek(int((start - _RUN_UP + origin(container)) / time_base(stream)), stream=stream, backward=True)
        samples, own, time = _assembled(container, stream, mono, stop, path)
    first, end = round((max(start, 0.0) - time) * own), None if stop is None else round((stop - time) * own)
    samples = samples[max(0, first) : end]
    if not len(samples):
        raise UserError(f"{path} has no sound from second {start:g} on: choose an earlier start")
    time += max(0, first) / own
    if rate is not None and rate != own:
        samples = np.stack([_resampled(channel, own, rate) for channel in samples.T], axis=1)
    return samples[:, 0] if mono else samples, rate or own, time


def _assembled(
    container: InputContainer, stream: av.AudioStream, mono: bool, stop: float | None, path: str
) -> tuple[np.ndarray, int, float]:
    """Everything that is decoded from where the container stands, each part at its time: samples (N, c), rate, time."""
    zero, longest = origin(container), (container.duration or 0) / av.time_base + 1
    parts: list[np.ndarray] = []
    rate, began, position = 0, 0.0, 0
    for frame in _decoded(container, stream, path):
        samples = _floats(frame)
        samples = samples.mean(axis=1, keepdims=True, dtype=np.float32) if mono else samples
        time = (
            began + position / rate
            if frame.pts is None and parts
            else float((frame.pts or 0) * time_base(stream)) - zero
        )
        if not parts:
            rate, began = frame.sample_rate, time
        if frame.sample_rate != rate:
            samples = np.stack([_resampled(channel, frame.sample_rate, rate) for channel in samples.T], axis=1)
        if parts and samples.shape[1] != parts[0].shape[1]:
            raise UserError(f"{path}: the number of its channels changes at second {time:.2f}: read it as mono")
        gap = round((time - began) * rate) - position
        if _JITTER * rate < gap < longest * rate:
            parts.append(np.zeros((gap, samples.shape[1]), np.float32))
            position += gap
        elif gap < -_JITTER * rate and -gap < longest * rate:
            samples = samples[-gap:]
        parts.append(samples)
        position += len(samples)
        if stop is not None and began + position / rate >= stop:
            break
    if not parts:
        raise UserError(f"{path}: none of its sound can be decoded: copy or encode it again")
    return np.concatenate(parts), rate, began


def _decoded(container: InputContainer, stream: av.AudioStream, path: str) -> Iterator[av.AudioFrame]:
    unreadable = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except InvalidDataError as error:
            log.warning("the sound of %s cannot be read on (%s): it ends here", path, error.strerror)
            break
        if packet is None:
            break
        try:
            frames = packet.decode()
        except FFmpegError:
            unreadable += 1
            continue
        yield from frames
    if unreadable:
        log.warning("%d packets of the sound of %s cannot be decoded: silence instead", unreadable, path)


def _floats(frame: av.AudioFrame) -> np.ndarray:
    """The samples of a frame as float32 (N, channels), full scale 1."""
    samples = frame.to_ndarray()
    samples = samples.T if frame.format.is_planar else samples.reshape(-1, len(frame.layout.channels))
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype.kind == "i":
        return (samples / 2.0 ** (8 * samples.dtype.itemsize - 1)).astype(np.float32)
    return samples.astype(np.float32)


def _resampled(samples: np.ndarray, own: int, rate: int) -> np.ndarray:
    """(N,) at another rate; the time of the first sample stays."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    parts = []
    for place in range(0, len(samples), own):
        frame = av.AudioFrame.from_ndarray(samples[None, place : place + own].copy(), format="flt", layout="mono")
        frame.sample_rate, frame.pts = own, place
        parts += resampler.resample(frame)
    parts += resampler.resample(None)
    converted = np.concatenate([part.to_ndarray()[0] for part in parts])
    length = round(len(samples) * rate / own)
    return np.pad(converted[:length], (0, max(0, length - len(converted))))
