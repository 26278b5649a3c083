"""Write a trained network in the form that others want."""

from typing import Literal

from shared_utils import cli

_DEFAULTS = {"pretrained": "exported/pretrained", "published": "exported/published.pt", "pt2": "exported/network.pt2"}


def export(
    ckpt: str | None = None,
    to: Literal["pretrained", "published", "pt2"] = "pretrained",
    out: str | None = None,
    overwrite: bool = False,
) -> None:
    """Export a network; what is written is compared with the original where it is another form.

    Args:
        ckpt: a run's folder, a checkpoint of it, an imported or exported folder, or a hub id; the bundled network where not
            given.
        to: pretrained (model.safetensors with basis and schedule, config.json, and the baselines beside a run), published
            (a .pt as PGD-Net's code saves it, decoder included), pt2 (torch.export of encoder and decoder: the time series
            of one slice and the pass t, an integer tensor, to maps and time series; the iteration around them needs the
            operator of a scan).
        out: a folder for pretrained, a file otherwise; exported/... where not given.
        overwrite: replace what is there.
    """
    from mrf_unroll import pretrained, program, published
    from shared_utils import checkpoint, files

    out = out or _DEFAULTS[to]
    files.refuse_existing(out, overwrite)
    if to == "pretrained":
        pretrained.load_with_baselines(ckpt).save(out)
    elif to == "published":
        checkpoint.save(published.published_content(pretrained.load(ckpt)), out)
    else:
        program.write_program(pretrained.load(ckpt), out)
    print(f"wrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(export, argv)
