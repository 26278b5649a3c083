"""Schedules from generators and files: flip angles and RF phases in degrees, times in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mrf_unroll.arrays import load_arrays
from mrf_unroll.sequence import Sequence
from shared_utils import UserError


def jiang_like_fa(num_pulses: int) -> np.ndarray:
    """Flip angles (N,) in degrees: five half-sine lobes with peaks 35, 43, 70, 45 and 27, at least 1 (after Jiang 2015)."""
    length = num_pulses / 5
    pulse = np.arange(num_pulses)
    lobe = np.minimum((pulse / length).astype(int), 4)
    inside = pulse - np.ceil(lobe * length)
    peaks = np.array([35.0, 43.0, 70.0, 45.0, 27.0])[lobe]
    return np.maximum(1.0, peaks * np.sin(np.pi * (inside + 0.5) / length))


def ramp(num_pulses: int, first_deg: float = 1.0, last_deg: float = 35.0) -> np.ndarray:
    """Flip angles (N,) in degrees that rise linearly."""
    return np.linspace(first_deg, last_deg, num_pulses)


def cao_like_fa(num_pulses: int) -> np.ndarray:
    """Flip angles (N,) in degrees: two short low lobes, then one long high one, as in optimised short trains (after Cao)."""
    position = (np.arange(num_pulses) + 0.5) / num_pulses
    edges, peaks = np.array([0.0, 0.2, 0.45, 1.0]), np.array([30.0, 20.0, 70.0])
    lobe = np.minimum(np.searchsorted(edges, position, side="right") - 1, 2)
    inside = (position - edges[lobe]) / np.diff(edges)[lobe]
    return np.maximum(1.0, peaks[lobe] * np.sin(np.pi * inside))


GENERATORS = {"jiang": jiang_like_fa, "ramp": ramp, "cao": cao_like_fa}


def read_schedule(
    fa: str | Path,
    tr: str | Path | float | None = None,
    te: str | Path | float | None = None,
    ti: float | None = None,
    phase: str | Path | float | None = None,
    train: str | None = None,
    unit: str | None = None,
    inversion_efficiency: float = 1.0,
) -> Sequence:
    """Read a schedule.

    A first pulse of 180 degrees (to 15 %), followed by one below 90, is the inversion: it becomes one, with its TR as
    TI where ``ti`` is not given. Pulses of exactly zero degrees are kept.

    Args:
        fa: a text file of flip angles, one a line; an .npz or .mat, whose entries FA, TR, TE, PH (any case, also
            fa_deg, tr_ms, te_ms, phase_deg, phase, ti, ti_ms) are all used; or a generator with its length:
            ``jiang:1000``, ``ramp:200``, ``cao:500``.
        tr, te, phase: a number for all pulses or a text file; each is taken before what the file of ``fa`` has, and
            defaults to 12 ms, 2 ms and 0 degrees.
        ti: ms; without it, what the file has, else no inversion.
        train: which entry of an .npz or .mat holds the flip angles, where it has no FA.
        unit: ``deg`` or ``rad``. Without it, a train is in radians where its file declares it (an entry Units =
            "rad") or where the flips never exceed 2 pi although their median is positive: degrees so small would make
            no signal.
    """
    content = _contents(fa)
    if train is not None and train not in content:
        raise UserError(f"{fa} has no entry {train}: it has {', '.join(content) or 'none'}")
    angles = content.get(train) if train else _entry(content, "fa", "fa_deg", "flip_angles")
    if angles is None:
        raise UserError(
            f"{fa} has no flip angles FA: name the entry with train=, one of {', '.join(content) or 'none'}"
        )
    angles = _numbers(angles, fa)
    stored_unit = _entry(content, "units", "unit")
    declared = unit or ("" if stored_unit is None else str(np.ravel(stored_unit)[0]))
    radians = declared.startswith("rad") or (
        not declared.startswith("deg") and np.abs(angles).max(initial=0) <= 2 * np.pi + 1e-6 and np.median(angles) > 0
    )
    if radians:
        angles = np.rad2deg(angles)
    values = {
        "tr": _given(tr, _entry(content, "tr", "tr_ms"), 12.0),
        "te": _given(te, _entry(content, "te", "te_ms"), 2.0),
        "phase": _given(phase, _entry(content, "ph", "phase", "phase_deg"), 0.0),
    }
    if ti is None:
        stored = _entry(content, "ti", "ti_ms")
        ti = None if stored is None or not np.isfinite(np.ravel(stored)).all() else float(np.ravel(stored)[0])
    if len(angles) > 1 and 153 <= abs(angles[0]) <= 207 and abs(angles[1]) < 90:
        angles, inversion_tr = angles[1:], float(values["tr"][0])
        values = {name: value[1:] if len(value) == len(angles) + 1 else value for name, value in values.items()}
        ti = inversion_tr if ti is None else ti
    return Sequence.of(angles, values["tr"], values["te"], ti, values["phase"], inversion_efficiency)


def _contents(source: str | Path) -> dict[str, np.ndarray]:
    """The entries of a schedule's file by name; a text file and a generator have FA alone."""
    name, _, length = str(source).partition(":")
    if name in GENERATORS and length:
        if not length.isdigit() or int(length) < 1:
            raise UserError(f"{source}: give the number of pulses, as in {name}:200")
        return {"FA": GENERATORS[name](int(length))}
    path = Path(source)
    if not path.is_file():
        raise UserError(f"schedule {source} not found: give a file, or a generator such as jiang:1000")
    if path.suffix in (".npz", ".mat"):
        return load_arrays(path)
    return {"FA": _text(path)}


def _text(path: str | Path) -> np.ndarray:
    try:
        return np.loadtxt(path, delimiter="," if "," in Path(path).read_text() else None).reshape(-1)
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a list of numbers ({error}): one number a line") from error


def _entry(content: dict[str, np.ndarray], *names: str) -> np.ndarray | None:
    for key, value in content.items():
        if key.lower() in names:
            return value
    return None


def _numbers(value: np.ndarray, source: str | Path) -> np.ndarray:
    try:
        return np.asarray(value, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise UserError(f"{source}: the flip angles are not numbers") from error


def _given(argument: str | Path | float | None, stored: np.ndarray | None, default: float) -> np.ndarray:
    """(N,) or (1,): the argument (a number or a text file), else what is stored, else the default."""
    if argument is None:
        return np.ravel(default if stored is None else np.asarray(stored, dtype=np.float64))
    try:
        return np.array([float(str(argument))])
    except ValueError:
        if not Path(str(argument)).is_file():
            raise UserError(f"{argument} not found: give a number (ms or degrees) or a text file of them") from None
        return _text(str(argument))
