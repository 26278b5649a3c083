"""Simulate the scan of tissue maps: continuous EPG signals, a trajectory, coils and noise."""

from shared_utils import cli


def simulate(
    maps: str,
    out: str,
    dictionary: str | None = None,
    schedule: str = "jiang:120",
    tr: str = "12",
    te: float = 2.0,
    ti: float | None = 18.0,
    traj: str = "spiral",
    samples: int = 48,
    turns: float = 4.0,
    power: float = 1.2,
    rotation_deg: float | None = None,
    density: str = "spiral",
    coils: int = 1,
    noise: float = 0.01,
    slice: int | None = 0,
    fov_mm: float = 240.0,
    thickness_mm: float = 5.0,
    unit_t: str | None = None,
    use_b1: bool = False,
    use_phase: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Write scan.npz, or ISMRMRD and a Pulseq .seq, of what a scanner would measure of maps, and the maps beside it.

    Every voxel's own signal is simulated; neither a dictionary's grid nor its subspace has a part in it.

    Args:
        maps: an .npz or .mat of T1, T2 and PD; or head:48, a procedural head of that many pixels.
        out: the scan to write, .npz or .h5, or .mrd for ISMRMRD with <out>.seq beside it; the maps in ms go to <out>_maps.npz.
        dictionary: take the schedule of this dictionary.
        schedule: without dictionary: a generator with its length or a file of flip angles.
        tr: without dictionary: ms, a number or a text file.
        te: without dictionary: ms.
        ti: without dictionary: ms; null is no inversion.
        traj: spiral, radial, or a file with one interleaf (Coords (2, P) or traj (P, 2)) or all (traj (N, P, 2)).
        samples: of a spiral or line.
        turns: of the spiral.
        power: of the spiral's radius, t^power.
        rotation_deg: angle from one repetition to the next; without it, the golden angle.
        density: weights stored with the scan: spiral, radial, pipe_menon or none.
        coils: Gaussian coils on a ring.
        noise: standard deviation of real and imaginary part over the mean of |y|.
        slice: which slice of the maps; null for all of them.
        fov_mm: side of the image.
        thickness_mm: of a slice, and the distance to the next.
        unit_t: ms or s, where the maps do not declare it.
        use_b1: scale the flip angles by the map B1.
        use_phase: give the object the phase of the map.
        seed: of the noise, and of the procedural head.
        overwrite: replace existing files.
    """
    from pathlib import Path

    import numpy as np

    from mrf_unroll.data.maps import write_maps
    from mrf_unroll.data.simulated import count_slices, load_slice, simulate_stack, write_acquisition
    from mrf_unroll.dictionary import Dictionary
    from mrf_unroll.protocol import Protocol, ProtocolOptions
    from shared_utils import UserError, files

    if density not in ("spiral", "radial", "pipe_menon", "none"):
        raise UserError(f"density {density!r}: spiral, radial, pipe_menon or none")
    if min(samples, coils) < 1 or noise < 0 or min(fov_mm, thickness_mm) <= 0:
        raise UserError("samples and coils must be at least 1, noise at least 0, fov_mm and thickness_mm above 0")
    beside = Path(out).with_name(f"{Path(out).stem}_maps.npz")
    seq = Path(out).with_suffix(".seq") if Path(out).suffix == ".mrd" else None
    for path in (out, beside, seq):
        if path is not None:
            files.refuse_existing(path, overwrite)
    places = [slice] if slice is not None else list(range(count_slices(maps, unit_t)))
    stack = [load_slice(maps, place, unit_t, seed, use_b1, use_phase) for place in places]
    options = ProtocolOptions(
        schedule=schedule,
        tr_ms=tr,
        te_ms=te,
        ti_ms=ti,
        trajectory=traj,
        samples=samples,
        turns=turns,
        power=power,
        rotation_deg=rotation_deg,
        density=density,
        num_coils=coils,
    )
    protocol = Protocol(options)
    if dictionary is not None:
        protocol.sequence = Dictionary.load(dictionary).sequence
    scans = simulate_stack(stack, protocol, coils, noise, seed, (fov_mm, thickness_mm))
    write_acquisition(out, scans, seq)

    def stacked(name: str, factor: float = 1.0) -> np.ndarray | None:
        values = [getattr(one, name) for one in stack]
        if values[0] is None:
            return None
        return factor * values[0][0] if len(values) == 1 else factor * np.concatenate(values)

    masks = [one.mask for one in stack]
    mask = masks[0][0] if len(masks) == 1 else np.concatenate(masks)
    t1_ms, t2_ms, density_map = stacked("t1_s", 1e3), stacked("t2_s", 1e3), stacked("pd")
    assert t1_ms is not None and t2_ms is not None and density_map is not None
    write_maps(beside, t1_ms, t2_ms, density_map, mask, stacked("phase"), stacked("b1"))
    scan = scans[0]
    height, width = scan.image_size
    per_frame = height * width / scan.trajectory.shape[1]
    print(
        f"{len(scan.sequence)} frames of {scan.trajectory.shape[1]} samples ({per_frame:.0f}x undersampled), {coils} coils,"
        f" {height} x {width} pixels, noise {scan.noise_std:.3g}"
        + (f", {len(scans)} slices" if len(scans) > 1 else "")
        + f"\nwrote {', '.join(str(path) for path in (out, seq, beside) if path is not None)}"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(simulate, argv)
