"""Pulseq ``.seq`` files: what a scanner plays out, read as a schedule and a trajectory, and written for simulated scans.

Needs the package ``pypulseq`` (the extra ``formats``).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mrf_unroll.sequence import Sequence
from mrf_unroll.trajectory import check_positions
from shared_utils import UserError, files

# Degrees from which a pulse that no samples follow is an inversion, also where the file does not say what it is for.
_INVERSION_DEG = 150.0
# Of schedules and trajectories of the slices of one file: times in ms and angles in degrees, cycles per pixel.
_SAME, _SAME_POSITION = 0.01, 1e-4
_RASTER_S, _PULSE_S, _INVERSION_S = 1e-5, 5e-4, 1e-3


@dataclass(frozen=True)
class Played:
    """What a sequence file plays out.

    Args:
        sequence: the schedule of one pass.
        trajectory: (N, P, 2) float32 (ky, kx) in cycles per pixel.
        passes: how many times the schedule is played, such as once a slice.
        receiver_deg: (N,) phase of the receiver, which is taken out of what is sampled.
    """

    sequence: Sequence
    trajectory: np.ndarray
    passes: int
    receiver_deg: np.ndarray


def _package() -> Any:
    try:
        import pypulseq
    except ImportError:
        raise UserError(
            "a .seq file needs the package pypulseq: pip install 'tenpapers-mrf-unroll[formats]', or pip install pypulseq"
        ) from None
    return pypulseq


def read_pulseq(path: str | Path, image_size: tuple[int, int], fov_mm: tuple[float, float] | None = None) -> Played:
    """The schedule and the trajectory of a ``.seq`` file.

    Every RF pulse that samples follow is one of the schedule; a pulse of 150 degrees or more without samples is the
    inversion, and begins a pass. TE is the time of the sample nearest the centre of k-space, TR the time to the next
    pulse (of the last pulse of a pass: the TR before).

    Args:
        image_size: (H, W) of the reconstruction.
        fov_mm: (y, x); None takes the file's definition FOV.

    Raises:
        UserError: where the package is missing, the file is damaged or holds no such sequence, and where passes differ.
    """
    pypulseq = _package()
    if not Path(path).is_file():
        raise UserError(f"{path} not found: check the path of the .seq file")
    sequence = pypulseq.Sequence()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sequence.read(str(path))
            positions = sequence.calculate_kspace()[0]
    except Exception as error:  # the package raises whatever the parsing of a damaged file meets
        raise UserError(f"{path} cannot be read as a Pulseq sequence ({error or type(error).__name__})") from error
    defined = np.ravel(sequence.definitions.get("FOV", []))
    if fov_mm is None and len(defined) >= 2:
        fov_mm = 1e3 * float(defined[1]), 1e3 * float(defined[0])
    if fov_mm is None:
        raise UserError(f"{path} has no definition FOV: give the field of view with the scan, or add it to the file")
    # From cycles per metre: one cycle over a pixel is 1 / (its size).
    pixel_m = np.array([1e-3 * fov / size for fov, size in zip(fov_mm, image_size, strict=True)])
    positions = positions[[1, 0]].T * pixel_m
    return _played(_events(pypulseq, sequence, path), positions, path)


@dataclass(frozen=True)
class _Pulse:
    """An RF pulse, seconds from the file's start and degrees, and the ``times`` (P,) and ``receiver`` of its samples."""

    centre: float
    flip: float
    phase: float
    inverts: bool
    times: np.ndarray
    receiver: float = 0.0


def _events(pypulseq: Any, sequence: Any, path: str | Path) -> list[_Pulse]:
    pulses: list[_Pulse] = []
    start = 0.0
    for number, duration in sequence.block_durations.items():
        block = sequence.get_block(number)
        if (rf := block.rf) is not None:
            centre = float(pypulseq.calc_rf_center(rf)[0])
            flip = 360 * abs(np.trapezoid(rf.signal, rf.t))
            kind = getattr(rf, "use", "undefined")
            inverts = kind == "inversion" or (kind in ("undefined", "other") and flip >= _INVERSION_DEG)
            phase = math.degrees(float(rf.phase_offset))
            pulses.append(_Pulse(start + float(rf.delay) + centre, float(flip), phase, inverts, np.empty(0)))
        if (adc := block.adc) is not None:
            if not pulses:
                raise UserError(f"{path}: samples are taken before the first RF pulse: leave the noise scan out of it")
            times = start + float(adc.delay) + (np.arange(int(adc.num_samples)) + 0.5) * float(adc.dwell)
            last = pulses[-1]
            both = np.concatenate([last.times, times])
            pulses[-1] = replace(last, times=both, receiver=math.degrees(float(adc.phase_offset)))
        start += float(duration)
    return pulses


def _played(pulses: list[_Pulse], positions: np.ndarray, path: str | Path) -> Played:
    """``Played`` of the events, pass by pass."""
    passes: list[tuple[float | None, list[_Pulse]]] = []
    for pulse in pulses:
        if pulse.inverts and not len(pulse.times):
            passes.append((pulse.centre, []))
        elif len(pulse.times):
            if not passes:
                passes.append((None, []))
            passes[-1][1].append(pulse)
    passes = [one for one in passes if one[1]]
    if not passes:
        raise UserError(f"{path} has no RF pulse with samples after it: it is not a fingerprinting sequence")
    counts = [[len(pulse.times) for pulse in own] for _, own in passes]
    if any(len(own) != len(counts[0]) for own in counts) or len({count for own in counts for count in own}) > 1:
        raise UserError(f"{path}: its pulses have different numbers of samples, or its passes of pulses: one is needed")
    positions = positions.reshape(len(passes), len(counts[0]), counts[0][0], 2)
    if float(np.abs(positions - positions[0]).max()) > _SAME_POSITION:
        raise UserError(f"{path}: its passes have different trajectories: write them into files of their own")
    check_positions(positions[0], path)
    echoes = np.hypot(*np.moveaxis(positions[0], -1, 0)).argmin(axis=1)
    schedules = [_schedule(inversion, own, echoes) for inversion, own in passes]
    first = schedules[0]
    for other in schedules[1:]:
        same = (first.ti_ms is None) == (other.ti_ms is None) and all(
            np.allclose(getattr(first, name), getattr(other, name), atol=_SAME)
            for name in ("fa_deg", "tr_ms", "te_ms", "phase_deg")
        )
        if not same:
            raise UserError(f"{path}: its passes have different schedules: write them into files of their own")
    receiver = np.array([pulse.receiver for pulse in passes[0][1]])
    return Played(first, positions[0].astype(np.float32), len(passes), receiver)


def _schedule(inversion: float | None, pulses: list[_Pulse], echoes: np.ndarray) -> Sequence:
    centres = np.array([pulse.centre for pulse in pulses])
    tr = np.diff(centres)
    tr = np.append(tr, tr[-1] if len(tr) else pulses[0].times[-1] - centres[0])
    te = np.array([pulse.times[echo] for pulse, echo in zip(pulses, echoes, strict=True)]) - centres
    phase = np.round([pulse.phase for pulse in pulses], 6)
    # Rounded to what a sequence is played at, so that equal schedules have one hash.
    return Sequence(
        np.round([pulse.flip for pulse in pulses], 3),
        np.round(1e3 * tr, 3),
        np.round(1e3 * te, 3),
        None if inversion is None else round(1e3 * float(centres[0] - inversion), 3),
        np.mod(phase, 360),
    )


def write_pulseq(
    path: str | Path,
    sequence: Sequence,
    trajectory: np.ndarray,
    image_size: tuple[int, int],
    fov_mm: tuple[float, float],
    passes: int = 1,
) -> None:
    """Write a ``.seq`` that plays a schedule and a trajectory (N, P, 2) in cycles per pixel, for simulated scans.

    Block pulses, and one gradient waveform a repetition: a spline through the samples and back to the centre. The
    limits of a scanner's gradients are not kept, and no spoiler is played.

    Args:
        image_size, fov_mm: (y, x) of the image.
        passes: how many times it is played, such as once a slice.

    Raises:
        UserError: where the package is missing, and where the times leave no room for pulses and samples.
    """
    pypulseq = _package()
    system = pypulseq.Opts(
        max_grad=1e12, grad_unit="Hz/m", max_slew=1e18, slew_unit="Hz/m/s", adc_dead_time=0, rf_dead_time=0, rf_ringdown_time=0
    )  # fmt: skip
    positions = trajectory.astype(np.float64)[..., ::-1] / (1e-3 * np.array(fov_mm[::-1]) / np.array(image_size[::-1]))
    echoes = np.hypot(*np.moveaxis(positions, -1, 0)).argmin(axis=1)
    te, tr = 1e-3 * sequence.te_ms, 1e-3 * sequence.tr_ms
    before, after = te - _PULSE_S / 2, tr - te - _PULSE_S / 2
    samples = positions.shape[1]
    room = min((before / (echoes + 1)).min(), (after / (samples - echoes + 2)).min())
    # Even, so that the middle of a sample is a whole number of microseconds.
    dwell = 2 * math.floor(0.45 * room / 1e-6) * 1e-6
    if dwell < 2e-6 or (sequence.ti_ms is not None and 1e-3 * sequence.ti_ms < _INVERSION_S):
        raise UserError("TE, TR or TI leave no room for pulses and samples: a .seq cannot be written of this schedule")
    played = pypulseq.Sequence(system)
    played.set_definition("FOV", [1e-3 * fov_mm[1], 1e-3 * fov_mm[0], 1e-3 * fov_mm[0] / image_size[0]])
    for _ in range(passes):
        if sequence.ti_ms is not None:
            wait = 1e-3 * sequence.ti_ms - _INVERSION_S / 2 - _PULSE_S / 2
            inversion = pypulseq.make_block_pulse(math.pi, duration=_INVERSION_S, system=system, use="inversion")
            played.add_block(inversion)
            played.add_block(pypulseq.make_delay(_raster(wait)))
        for n in range(len(sequence)):
            flip, phase = math.radians(sequence.fa_deg[n]), math.radians(sequence.phase_deg[n])
            pulse = pypulseq.make_block_pulse(
                flip, duration=_PULSE_S, phase_offset=phase, system=system, use="excitation"
            )
            played.add_block(pulse)
            delay = round((before[n] - (echoes[n] + 0.5) * dwell) / 1e-6) * 1e-6
            adc = pypulseq.make_adc(samples, dwell=dwell, delay=delay, system=system)
            duration = _raster(tr[n] - _PULSE_S)
            gradients = _gradients(pypulseq, system, positions[n], delay + (np.arange(samples) + 0.5) * dwell, duration)
            played.add_block(adc, *gradients, pypulseq.make_delay(duration))
    with files.replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = temporary.with_suffix(".seq")
        played.write(str(own), create_signature=False)
        own.replace(temporary)


def _raster(seconds: float) -> float:
    """A multiple of the raster of blocks."""
    return round(seconds / _RASTER_S) * _RASTER_S


def _gradients(pypulseq: Any, system: Any, positions: np.ndarray, times: np.ndarray, duration: float) -> list[Any]:
    """Waveforms of x and y, Hz/m, that bring k from 0 through positions (P, 2) in 1/m at ``times`` and back to 0."""
    from scipy.interpolate import CubicSpline

    end = times[-1] + 0.9 * (duration - times[-1])
    knots = np.concatenate([[0.0], times, [end]])
    path = CubicSpline(knots, np.concatenate([np.zeros((1, 2)), positions, np.zeros((1, 2))]), bc_type="clamped")
    raster = np.arange(math.floor(end / _RASTER_S) + 1) * _RASTER_S
    slopes = path(raster, 1)
    slopes[[0, -1]] = 0
    return [
        pypulseq.make_extended_trapezoid(
            channel, amplitudes=slopes[:, axis], times=raster, system=system, skip_check=True
        )
        for axis, channel in enumerate("xy")
        if np.abs(slopes[:, axis]).max() > 0
    ]
