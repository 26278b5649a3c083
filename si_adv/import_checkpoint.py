"""Bring in a published checkpoint."""

import sys

from shared_utils import cli


def import_checkpoint(
    input: str, out: str, architecture: str | None = None, class_names: str | None = None, num_points: int = 1024
) -> None:
    """Import a published checkpoint (.pth, .t7, .tar) into a folder that every command here takes as --ckpt.

    Args:
        input: the published file.
        out: the folder to write (model.safetensors and config.json).
        architecture: what it is, where that cannot be told from its entries.
        class_names: a file with one name a line, in the order of the labels.
        num_points: points of a cloud that it was trained for.
    """
    from pathlib import Path

    from shared_utils import UserError
    from si_adv.published import import_published
    from si_adv.victim import Victim

    model, report = import_published(input, architecture)
    if report.num_classes is None:
        raise UserError(f"{input} holds a {report.architecture}, no classifier: give it as it is to --punet")
    names = None if class_names is None else [name.strip() for name in Path(class_names).read_text().splitlines()]
    victim = Victim(report.architecture, report.num_classes, names, num_points, report.with_normals, report.options)
    victim.model = model
    victim.save_pretrained(out)
    print(f"{report}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(import_checkpoint, argv)


if __name__ == "__main__":
    sys.exit(main())
