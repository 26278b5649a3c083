"""Make a reference set of genuine pictures of persons."""

from typing import Literal

from shared_utils import cli


def build_reference(
    data: str,
    out: str,
    ckpt: str | None = None,
    add: str | None = None,
    remove: str | None = None,
    test: str | None = None,
    backend: Literal["ict", "dlib"] = "ict",
    faces: Literal["mtcnn", "retinaface", "dlib"] = "mtcnn",
    retinaface: str | None = None,
    landmarks: str | None = None,
    min_size: int = 40,
    overwrite: bool = False,
    device: str = "auto",
) -> None:
    """Build, extend or reduce a reference set, and say what it is worth.

    Prints persons and pictures, how often a picture finds its own person when it is left out, and the two persons that
    are most alike. A picture that is unreadable or shows no face is named and left out, and the exit status is 2.

    Args:
        data: a folder with a folder of pictures for each person (people/NAME/*.jpg); or a reference set, to remove a
            person from or to write as another kind of file.
        out: the .safetensors or .npz file to write.
        ckpt: the model; the bundled one where not given.
        add: a reference set that the persons are added to. What is in it is not computed again.
        remove: a person that is left out of the reference set that data names.
        test: test pictures (a folder, a JSON array of paths, a text file with one a line) of which none may be among the
            references, as a file or nearly the same to look at.
        backend: ict, or dlib (extra; descriptors of a plain face recogniser, for predict --claim --backend dlib).
        faces: the face detector; of several faces the largest is taken.
        retinaface: its published weights, for --faces retinaface.
        landmarks: a file of landmarks (.json .csv .npz .npy) instead of a detector.
        min_size: side of the smallest face in pixels.
        overwrite: replace --out.
        device: auto, cpu, cuda, mps.
    """
    from pathlib import Path

    from ict_deepfake import enrolment, pretrained, references
    from ict_deepfake import faces as finding
    from shared_utils import UserError, distributed, files

    references.check_ending(out)
    files.refuse_existing(out, overwrite)
    if Path(data).is_file():
        if add is not None or test is not None:
            raise UserError("--add and --test go with a folder of persons: give one, or leave them out")
        known = references.load_references(data)
        known = known if remove is None else known.remove(remove)
        known.save(out)
        print(f"{known.report()}\nwrote {out}")
        return
    if remove is not None:
        raise UserError(f"--remove takes {remove} out of a reference set: give its file instead of {data}")
    pictures = enrolment.portraits(data)
    tests = [] if test is None else enrolment.test_pictures(test)
    known = None if add is None else references.load_references(add)
    where = distributed.choose_device(device)
    finder = (
        finding.detector(faces, min_size, retinaface, where)
        if landmarks is None
        else finding.landmark_file(landmarks, [str(portrait.path) for portrait in pictures])
    )
    describer = enrolment.DlibDescriber() if backend == "dlib" else enrolment.ICTDescriber(pretrained.load(ckpt, where))
    if known is None:
        known = references.empty(describer.model)
    elif known.model != describer.model:
        raise UserError(
            f"{add} was built with another model ({known.model or 'unknown'}): build it again with this one"
        )
    done = enrolment.enrol(pictures, known, describer, finder, tests)
    done.references.save(out)
    for path in done.crowded:
        print(f"{path} shows several faces: the largest is taken")
    if done.known:
        print(f"{done.known} pictures were in {add} already")
    print(f"{done.references.report()}\nwrote {out}")
    if done.problems:
        raise UserError(
            f"{len(done.problems)} of {len(pictures)} pictures gave no reference: {'; '.join(done.problems)}"
        )


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(build_reference, argv)
