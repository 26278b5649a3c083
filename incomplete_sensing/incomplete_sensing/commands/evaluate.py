"""Measure the quality of a trained reconstruction, through operators it has seen and through unseen ones."""

from shared_utils import cli


def evaluate(
    ckpt: str | None = None,
    data: str | None = None,
    out: str | None = None,
    unseen: int | None = None,
    unseen_operators: str | None = None,
    limit: int | None = None,
    panels: int = 6,
    batch_size: int = 256,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Evaluate a reconstruction on the test images: a table, per-image scores as CSV, and a picture.

    Args:
        ckpt: a run's folder, a checkpoint of it, a folder that import_checkpoint or export has written, or a hub
            repository; the bundled model where not given.
        data: other data than it was trained on, in any layout of the README.
        out: folder for scores.csv and panels.png; "evaluation" in the folder of the run where not given.
        unseen: how many operators to draw that training has not seen; as many as it has seen where not given, 0 for none.
        unseen_operators: a file of such operators, instead of drawing them.
        limit: at most this many test images.
        panels: images in the picture.
        batch_size: images at once.
        resume: continue an evaluation that was interrupted.
        overwrite: replace an earlier one.
        device: auto, cpu, cuda, mps.
    """
    from incomplete_sensing import evaluation, pretrained
    from shared_utils import UserError, distributed, logging

    if batch_size < 1 or (limit is not None and limit < 1) or panels < 1 or (unseen is not None and unseen < 0):
        raise UserError("batch_size, limit and panels must be at least 1, unseen at least 0")
    with distributed.process_group():
        model = pretrained.load(ckpt).to(distributed.choose_device(device))
        folder = out or evaluation.default_folder(ckpt)
        options = (data, unseen, unseen_operators, limit, panels, batch_size, resume, overwrite)
        rows = evaluation.evaluate(model, folder, *options)
        if distributed.rank() == 0:
            print(logging.table(rows, "mean +- standard deviation over test images:"))
            print(f"wrote {folder}/scores.csv and {folder}/panels.png")


def main(argv: list[str] | None = None) -> int:
    return cli.run(evaluate, argv)
