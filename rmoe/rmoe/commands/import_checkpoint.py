"""Bring in a released checkpoint."""

from shared_utils import cli


def import_checkpoint(
    file: str, out: str, image_size: int | None = None, class_names: str | None = None, overwrite: bool = False
) -> None:
    """Import a released checkpoint into a folder that every command here takes as --ckpt; nothing of the file is run.

    The kind is recognised by the entries: Swin (official, timm, OpenMMLab), CvT, UperNet, Mask R-CNN and Cascade Mask
    R-CNN on Swin, Swin-MoE (one file, or one a rank).

    Args:
        file: the released file; of a Swin-MoE any of its rank files, or the name before .rank0.
        out: the folder to write (model.safetensors and config.json).
        image_size: of a Swin classifier, where it is not 32 windows.
        class_names: a file with one name a line, in the order of the labels.
        overwrite: replace what is in --out.
    """
    from rmoe import pretrained
    from shared_utils import files

    files.refuse_existing(out, overwrite)
    given, report = pretrained.load_with_report(file, image_size)
    if class_names is not None:
        given = given.with_class_names(class_names)
    given.save_pretrained(out)
    facts = ", ".join(f"{key} {value}" for key, value in pretrained.described(given).items())
    print(f"{facts}\n{report or 'a model of this project'}\nwrote {out}")


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(import_checkpoint, argv)
