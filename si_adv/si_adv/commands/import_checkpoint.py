"""Bring in a published checkpoint."""

from shared_utils import cli


def import_checkpoint(
    file: str,
    out: str,
    architecture: str | None = None,
    class_names: str | None = None,
    num_points: int = 1024,
    overwrite: bool = False,
) -> None:
    """Import a published checkpoint (.pth, .t7, .tar) into a folder that every command here takes as --ckpt.

    Args:
        file: the published file.
        out: the folder to write (model.safetensors and config.json).
        architecture: what it is, where its entries do not show it.
        class_names: a file with one name a line, in the order of the labels.
        num_points: points of a cloud that it was trained for.
        overwrite: replace what is in --out.
    """
    from pathlib import Path

    from shared_utils import UserError, files
    from si_adv.published import import_published
    from si_adv.victim import Victim

    files.refuse_existing(out, overwrite)
    names = None if class_names is None else [name.strip() for name in Path(class_names).read_text().splitlines()]
    model, report = import_published(file, architecture)
    if report.num_classes is None:
        raise UserError(f"{file} holds a {report.architecture}, which is not a classifier: give it as it is to --punet")
    victim = Victim(report.architecture, report.num_classes, names, num_points, report.with_normals, report.options)
    victim.model = model
    victim.save_pretrained(out)
    print(f"{report}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(import_checkpoint, argv)
