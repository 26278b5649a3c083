"""Write a trained network in the form that others want."""

import sys
from typing import Literal

from shared_utils import cli


def export(out: str, ckpt: str | None = None, to: Literal["pretrained", "published", "pt2"] = "pretrained") -> None:
    """Export a network; what is written is compared with the original where it is another form.

    Args:
        out: a folder for pretrained, a file otherwise.
        ckpt: a run's folder, a checkpoint of it, or an imported or exported one; the travelling network where not given.
        to: pretrained (model.safetensors with basis and schedule, config.json, and the rivals beside a run), published (a
            .pt as PGD-Net's code saves it, decoder included), pt2 (torch.export of encoder and decoder: the time series
            of one slice to maps and time series; the iteration around them needs the operator of a scan).
    """
    from mrf_unroll.export import export_network

    export_network(ckpt, out, to)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(export, argv)


if __name__ == "__main__":
    sys.exit(main())
