"""Write a mouth model in the form that others load."""

from typing import Literal

from shared_utils import cli


def export(
    ckpt: str | None = None,
    to: Literal["pretrained", "published", "onnx", "pt2"] = "pretrained",
    out: str | None = None,
    agreement: str | None = None,
    overwrite: bool = False,
) -> None:
    """Export a model, and say what its input has to be.

    Args:
        ckpt: the model; the bundled one where not given.
        to: pretrained (model.safetensors and config.json), published (the layout of LipForensics; of other models their
            front-end under the published names), onnx (one file; needs the extra "onnx") or pt2 (torch.export). The last
            two take grey mouth clips in 0..255 and the frames that count, any number at once, and give their logits.
        out: a folder for pretrained, a file otherwise; in a new runs/export/version_N where not given.
        agreement: the run of the pre-training that --ckpt was fine-tuned from: its branches go into the same model, which then
            both scores mouths and checks the synchrony of their sound.
        overwrite: replace --out.
    """
    from pathlib import Path

    from av_deepfake import deployment, pretrained
    from shared_utils import files, logging

    if out is not None:
        files.refuse_existing(out, overwrite)
    model = pretrained.load(ckpt)
    if agreement is not None:
        model = pretrained.join(pretrained.load(agreement), model)
    target = logging.run_folder("export") / f"model{deployment.SUFFIXES[to]}" if out is None else Path(out)
    print(f"{deployment.export_model(model, target, to)}\nwrote {target}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(export, argv)
