"""Make a test set of face swaps from pictures of real people."""

from shared_utils import cli


def make_swaps(
    data: str,
    out: str,
    landmarks: str | None = None,
    regions: str = "face",
    swaps: int = 2,
    seed: int = 0,
    limit: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Swap faces between the people of a data set, with a record of what made each swap.

    Genuine pictures and swaps are aligned crops of 317 pixels, all JPEG of one quality: OUT/real, OUT/fake, the lists
    real.json, fake.json (paths) and pairs.json (who is who), and swaps.csv.

    Args:
        data: a folder with one folder a person, or a list of pictures with identities (see README).
        out: folder of the test set.
        landmarks: .json, .csv, .npz or .npy with 5 or 68 points a face; found by MTCNN, five a face, where not given.
        regions: what is swapped: face, eyes, mouth, with commas between several; eyes and mouth take 68 points.
        swaps: of each picture and region, each with the face of another person.
        seed: of donors, masks and blends.
        limit: swap only into the first pictures.
        resume: continue the same set: pictures that are there are not made again.
        overwrite: begin again although out exists.
    """
    from ict_deepfake import faces, swap_set
    from ict_deepfake.data.identities import open_identities
    from shared_utils import distributed

    with distributed.process_group():
        source = open_identities(data, faces.landmark_file(landmarks) if landmarks else None)
        maker = swap_set.SwapSet(source, [region.strip() for region in regions.split(",")], swaps, seed)
        print(swap_set.write(maker, out, limit, resume, overwrite))


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    return cli.run(make_swaps, argv)
