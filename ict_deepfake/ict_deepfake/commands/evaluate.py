"""Measure AUC of frames and videos, EER, AP, TPR at low FPR and robustness, on parametric people or a test set."""

from typing import Literal

from ict_deepfake.data.test_sets.reading import Format
from shared_utils import cli


def evaluate(
    ckpt: str | None = None,
    data: str | None = None,
    format: Format | None = None,
    real: str | None = None,
    fake: str | None = None,
    split: str | None = None,
    compression: str = "c23",
    root_map: str | None = None,
    labels: str | None = None,
    masks: bool = False,
    reference: str | None = None,
    k: int = 1,
    faces: Literal["mtcnn", "retinaface", "dlib"] = "mtcnn",
    retinaface: str | None = None,
    landmarks: str | None = None,
    aligned: bool = False,
    min_size: int = 40,
    frames: int = 32,
    degrade: str | None = None,
    protocol: Literal["exact", "published"] = "exact",
    calibrate: Literal["logistic", "isotonic"] | None = None,
    out: str = "runs/evaluation",
    device: str = "auto",
    limit: int | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Evaluate a model on a test set: metrics.json, table.csv and .md, grid.csv where pictures are degraded, figures.

    Without a set, on the parametric people of --seed (--split validation or test), with references of them. AUC is exact;
    intervals are over videos. A file that cannot be used is named, and the exit status is then 2.

    Args:
        ckpt: the model; the bundled one where not given.
        data: folder or JSON of the set: FaceForensics++, DFD, Celeb-DF, DeeperForensics, DFDC, DeepfakeBench, a list of
            {"file", "label"}; with --real and --fake, what their paths begin at.
        format: of the set; found out where not given.
        real: published format: JSON list of real pictures.
        fake: published format: JSON list of fake pictures.
        split: of DeepfakeBench train, val or test; of FaceForensics++ a JSON of pairs; of people validation or test.
        compression: of FaceForensics++ and DeepfakeBench.
        root_map: OLD=NEW, several with commas between, for lists made on another machine.
        labels: NAME=0 (real) or NAME=1 (fake), several with commas between, for label names that are not known.
        masks: of several faces, the one that the set's mask touches is the labelled one.
        reference: a set of build_reference: ICT-Ref is measured too.
        k: references that are averaged.
        faces: the detector.
        retinaface: published weights of that detector.
        landmarks: a file of landmarks in place of a detector.
        aligned: the pictures are crops that are aligned already.
        min_size: of a face in pixels.
        frames: at most so many of a video, evenly spread.
        degrade: all, or kinds with commas between: five levels of each.
        protocol: published: its numbers besides the exact ones.
        calibrate: the set is a validation set: fit a calibration, and write the model with it to OUT/calibrated.
        out: folder to write.
        device: auto, cpu, cuda, mps.
        limit: at most so many clips of each label.
        seed: of people, degradations and intervals.
        resume: continue the same job: clips that are embedded are not embedded again.
        overwrite: begin again although out exists.
    """
    from ict_deepfake import evaluation, pretrained
    from ict_deepfake.evaluation.choosing import chosen
    from ict_deepfake.references import load_references
    from shared_utils import distributed, logging

    with distributed.process_group():
        place = distributed.choose_device(device)
        model = pretrained.load(ckpt, place)
        suspects, missing = chosen(
            model,
            data=data,
            kind=format,
            real=real,
            fake=fake,
            split=split,
            compression=compression,
            root_map=root_map,
            labels=labels,
            masks=masks,
            finder=faces,
            retinaface=retinaface,
            landmarks=landmarks,
            aligned=aligned,
            min_size=min_size,
            device=str(place),
            frames=frames,
            limit=limit,
            seed=seed,
        )
        if reference is not None:
            references = load_references(reference)
        else:
            references = suspects.references(model) if isinstance(suspects, evaluation.PeopleSuspects) else None
        options = evaluation.Options(degrade, protocol, calibrate, k, seed)
        found = evaluation.evaluate(suspects, model, references, options, out, resume=resume, overwrite=overwrite)
        if found is not None:
            print(logging.table(evaluation.shown(found), f"{found['set']}, {found['seen']['clips']} clips"))
            print(f"wrote {out}")
            evaluation.check_complete(found, missing)


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(evaluate, argv)
