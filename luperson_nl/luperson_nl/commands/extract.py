"""Write the features of pictures to an .npz."""

from shared_utils import cli


def extract(
    images: str,
    out: str = "features.npz",
    ckpt: str | None = None,
    batch_size: int = 64,
    limit: int | None = None,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Extract features of a picture, a folder, a list, a data set or a store: unit vectors, a row a picture.

    The file holds features (n, d), path, and what names or lists tell: pid, camera, video, frame (-1 where they do not),
    and of a data set with a query, which ones ask. evaluate and search take it.

    Args:
        images: a picture, a folder of pictures, a CSV list, a data set with query and gallery, or a store.
        out: the file.
        ckpt: the model; the bundled one where not given.
        batch_size: pictures at a time.
        limit: at most this many pictures.
        device: auto, cpu, cuda, mps.
        resume: continue the same job: pictures that are finished are not done again.
        overwrite: replace the file.
    """
    from luperson_nl import extraction, pretrained
    from shared_utils import distributed, files, work

    files.refuse_existing(out, overwrite, resume_possible=True)
    with distributed.process_group():
        pictures = extraction.of_anything(images).first(limit)
        embedder = pretrained.load(ckpt).to(distributed.choose_device(device))
        job = extraction.job(embedder, pictures)
        with work.begin(work.beside_file(out), job, resume=resume, overwrite=overwrite) as parts:
            names = extraction.extract(embedder, pictures, parts, batch_size)
            if distributed.rank() == 0:
                found = extraction.features_of(parts, names)
                extraction.write_features(out, pictures, found, embedder.num_features, job["model"])
                print(f"wrote {out}: {len(pictures)} pictures, {embedder.num_features} numbers each")
            parts.remove()


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(extract, argv)
