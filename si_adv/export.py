"""Write a victim in the form that others want."""

import sys
from typing import Literal

from shared_utils import cli


def export(
    out: str,
    ckpt: str | None = None,
    to: Literal["pretrained", "published", "pt2", "onnx"] = "pretrained",
    batch_size: int = 1,
) -> None:
    """Export a victim.

    Args:
        out: a folder for pretrained, a file otherwise.
        ckpt: the victim; the one that travels with the package where not given.
        to: pretrained (model.safetensors and config.json), published (a checkpoint that the published code loads),
            pt2 (torch.export), onnx (needs the extra "onnx").
        batch_size: clouds at once, for pt2 and onnx.
    """
    from si_adv import jobs
    from si_adv.export import export_victim

    victim = next(iter(jobs.open_victims(ckpt, "cpu").values()))
    export_victim(victim, out, to, batch_size)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(export, argv)


if __name__ == "__main__":
    sys.exit(main())
