"""Quality of a trained reconstruction: on unseen images, and apart from that through unseen operators."""

import sys

from shared_utils import cli


def evaluate(
    ckpt: str,
    data: str | None = None,
    out: str | None = None,
    unseen: int | None = None,
    unseen_operators: str | None = None,
    limit: int | None = None,
    panels: int = 6,
    batch_size: int = 256,
    device: str = "auto",
) -> None:
    """Evaluate a reconstruction on the test images: a table, per-image scores as CSV, and a picture.

    Args:
        ckpt: a run's folder, a checkpoint of it, or a folder that import_checkpoint.py or export.py has written.
        data: other data than it was trained on, in any layout of the README.
        out: folder for scores.csv and panels.png; the folder of the run where not given.
        unseen: how many operators to draw that training has not seen; as many as it has seen where not given, 0 for none.
        unseen_operators: a file of such operators, instead of drawing them.
        limit: at most this many test images.
        panels: images in the picture.
        batch_size: images at once.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    from incomplete_sensing import evaluation
    from incomplete_sensing.data.problem import Problem
    from incomplete_sensing.operators import read_operators
    from incomplete_sensing.reconstructor import Reconstructor
    from shared_utils import UserError, distributed, logging

    if batch_size < 1 or (limit is not None and limit < 1) or panels < 1 or (unseen is not None and unseen < 0):
        raise UserError("batch_size, limit and panels must be at least 1, unseen at least 0")
    with distributed.process_group():
        place = distributed.choose_device(device)
        reconstructor = Reconstructor.load(ckpt).to(place)
        seen = reconstructor.operators
        if seen is None:
            raise UserError(f"{ckpt} has no operators to evaluate with: import it again with --operators")
        options = reconstructor.data or {"operators": {"kind": "mri" if seen.kind == "mri" else "file"}}
        changes = {"root": data, "layout": "auto"} if data else {}
        if limit is not None:
            changes["num_test"] = limit
        problem = Problem.of(options, **changes)
        dataset = problem.dataset("test", truth=True, family=seen)
        rows = [evaluation.evaluate_dataset(reconstructor, seen, dataset, batch_size, place, "seen")]
        other = None
        if unseen_operators is not None:
            other = read_operators(unseen_operators, reconstructor.image_shape)
        elif unseen != 0 and not problem.measured and (unseen or options["operators"]["kind"] != "file"):
            other = evaluation.unseen_operators(reconstructor, unseen or seen.num_operators)
        if other is not None:
            elsewhere = problem.dataset("test", truth=True, family=other)
            other = other.to(place)
            rows.append(evaluation.evaluate_dataset(reconstructor, other, elsewhere, batch_size, place, "unseen"))
        if distributed.rank() == 0:
            folder = Path(out) if out else (Path(ckpt) if Path(ckpt).is_dir() else Path(ckpt).parent)
            evaluation.write_rows(folder / "scores.csv", [row for part in rows for row in part])
            shown = evaluation.to_device(dataset[list(range(min(panels, len(dataset))))], place)
            evaluation.draw_panels(folder / "panels.png", reconstructor, seen, shown)
            print(
                logging.table(
                    [evaluation.summary(part) for part in rows], "mean +- standard deviation over test images:"
                )
            )
            print(f"wrote {folder / 'scores.csv'} and {folder / 'panels.png'}")


def main(argv: list[str] | None = None) -> int:
    return cli.run(evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
