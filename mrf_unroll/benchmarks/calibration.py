"""How often an error lies within one and two of the standard deviations that `reconstruct.py` gives.

    python benchmarks/calibration.py --data maps1.npz:ms,maps2.mat

Factors come from the eight validation slices of random tissue (the share of 68 % of |error| over the bare bound), and are what
`mrf_unroll/uncertainty.py` holds; coverage is that of discs, heads, random slices of the test split, and the files of
``data``. Classical methods run at rank 10 with their default options, the network at its own.
"""

from collections.abc import Sequence

import torch

from shared_utils import cli, lists, logging

METHODS = ("svd_mrf", "low_rank", "llr", "lrtv", "unrolled")
NAMES = ("T1", "T2", "PD")


def calibration(ckpt: str | None = None, data: str = "") -> None:
    """Print factors and coverage of every method.

    Args:
        ckpt: the network.
        data: files of maps with commas between, beside what is procedural; file:ms or file:s where the unit is not declared.
    """
    from mrf_unroll.data.slices import procedural_slices, read_slices
    from mrf_unroll.evaluation.study import PROCEDURAL

    sets = {
        "fitted": procedural_slices("val", 8, 48, 0, "randomised"),
        "random": procedural_slices("test", 8, 48, 0, "randomised"),
        **{name: slices(48) for name, slices in PROCEDURAL.items()},
        **{
            name.partition(":")[0]: read_slices(
                name.partition(":")[0], 48, name.partition(":")[2] or None, resample=True
            )
            for name in lists.names(data)
        },
    }
    rows = []
    for method in METHODS:
        factors = None
        for name, slices in sets.items():
            ratios = torch.cat([_ratios(ckpt, method, one, place) for place, one in enumerate(slices)], dim=1)
            if factors is None:
                factors = torch.quantile(ratios, 0.683, dim=1, keepdim=True)
                print(f'    "{method}": ({", ".join(f"{value:.2f}" for value in factors[:, 0].tolist())}),', flush=True)
            shares = [(ratios <= times * factors).float().mean(dim=1).tolist() for times in (1, 2)]
            within = {
                f"{one} {times}": f"{shares[times - 1][place]:.2f}"
                for place, one in enumerate(NAMES)
                for times in (1, 2)
            }
            rows.append({"method": method, "slices": str(name).rpartition("/")[2], **within})
            print(rows[-1], flush=True)
    print(logging.table(rows, "share of voxels within 1 and 2 standard deviations (normal: .68, .95):"))


def _ratios(ckpt: str | None, method: str, one: object, place: int) -> torch.Tensor:
    """(3, voxels) |error| over the bare bound, of one slice."""
    from mrf_unroll.data.measure import Measurer
    from mrf_unroll.methods import Classical, Learnt
    from mrf_unroll.uncertainty import map_deviations, tangents

    protocol, network = _protocol(ckpt, method)
    batch = Measurer(protocol).evaluation([one], 77 + place)[0]  # pyright: ignore[reportArgumentType]
    assert batch.adjoint is not None
    found = (Learnt(method, network) if method == "unrolled" else Classical(method, protocol.dictionary))(
        batch.adjoint, protocol.normal, protocol.norm()
    )
    key = (method, ckpt)
    if key not in _TABLES:
        _TABLES[key] = tangents(protocol.sequence, torch.as_tensor(protocol.dictionary.basis))
    mask = batch.mask[0]
    bound = map_deviations(found.tsmi[0], found.maps[0], mask, _TABLES[key], (1.0, 1.0, 1.0))
    assert bound is not None
    return ((found.maps[0] - batch.maps[0]).abs() / bound.clamp_min(1e-9))[:, mask]


_TABLES: dict[tuple[str, str | None], torch.Tensor] = {}
_PROTOCOLS: dict[bool, tuple] = {}


def _protocol(ckpt: str | None, method: str) -> tuple:
    from mrf_unroll.pretrained import load
    from mrf_unroll.protocol import Protocol, ProtocolOptions

    learnt = method == "unrolled"
    if learnt not in _PROTOCOLS:
        network = load(ckpt)
        options = dict(network.options["data"]["protocol"])
        _PROTOCOLS[learnt] = (Protocol(ProtocolOptions(**{**options, **({} if learnt else {"rank": 10})})), network)
    return _PROTOCOLS[learnt]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(calibration, None if argv is None else list(argv))


if __name__ == "__main__":
    raise SystemExit(main())
