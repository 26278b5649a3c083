"""Build a dictionary of fingerprints for a schedule, and compress it."""

from shared_utils import cli


def dictionary(
    fa: str,
    out: str,
    tr: str | None = None,
    te: str | None = None,
    ti: float | None = None,
    phase: str | None = None,
    train: str | None = None,
    unit: str | None = None,
    inversion_efficiency: float = 1.0,
    pulses: int | None = None,
    rank: int = 10,
    grid: str = "370x370",
    t1_ms: tuple[float, float] = (100.0, 4000.0),
    t2_ms: tuple[float, float] = (10.0, 600.0),
    n_states: str = "auto",
    overwrite: bool = False,
) -> None:
    """Simulate a FISP dictionary, compress it by SVD and write dict.npz.

    Args:
        fa: flip angles: a text file (degrees, one a line), an .npz or .mat with FA, TR, TE, PH, or a generator with its
            length: jiang:1000, ramp:200, cao:500.
        out: the file to write.
        tr: repetition times in ms: a number or a text file; without it, what the file of fa has, else 12.
        te: echo times in ms, like tr; else 2.
        ti: inversion time in ms; without it, what the file of fa has, else there is no inversion.
        phase: RF phases in degrees, like tr; else 0.
        train: which entry of an .npz or .mat holds the flip angles, where it has no FA.
        unit: deg or rad, where a file's unit is not clear.
        inversion_efficiency: 1 turns all magnetisation over.
        pulses: use the first pulses only.
        rank: components kept.
        grid: steps of T1 and T2, as 370x370 (logarithmic over the ranges), or jiang (the linear grid of Jiang 2015).
        t1_ms: range of T1.
        t2_ms: range of T2.
        n_states: configuration states, or auto: as many as each tissue needs for an error of 1e-4.
        overwrite: replace an existing file.
    """
    from mrf_unroll.dictionary import Dictionary, named_grid
    from mrf_unroll.precision import precision_rows
    from mrf_unroll.schedules import read_schedule
    from shared_utils import UserError, files, logging

    if n_states != "auto" and not (n_states.isdigit() and int(n_states)):
        raise UserError(f"n_states {n_states!r}: give a whole number from 1, or auto")
    if min(*t1_ms, *t2_ms) <= 0 or t1_ms[0] > t1_ms[1] or t2_ms[0] > t2_ms[1]:
        raise UserError("t1_ms and t2_ms are ranges in ms, smaller value first, above 0")
    lut_ms = named_grid(grid, t1_ms, t2_ms)
    files.refuse_existing(out, overwrite)
    sequence = read_schedule(fa, tr, te, ti, phase, train, unit, inversion_efficiency)
    sequence = sequence if pulses is None else sequence.truncated(pulses)
    built = Dictionary.build(
        sequence,
        lut_ms,
        rank,
        n_states if n_states == "auto" else int(n_states),
        f"{grid} {t1_ms} {t2_ms}",
        progress=True,
    )
    built.save(out)
    inversion = "no inversion" if sequence.ti_ms is None else f"inversion, TI {sequence.ti_ms:g} ms"
    summary = {
        "pulses": len(sequence),
        "atoms": len(lut_ms),
        "rank": rank,
        "energy kept": f"{built.energy:.7f}",
        "energy lost": f"{1 - built.energy:.2e}",
        "schedule": sequence.hash[:12],
    }
    print(logging.table([summary], f"{inversion}, TR {sequence.tr_ms.min():g} to {sequence.tr_ms.max():g} ms"))
    rows = precision_rows(sequence, noise_std=0.01)
    print(logging.table(rows, "what it can measure: least standard deviations at noise of 1 % of PD a sample"))
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(dictionary, argv)
