"""Reference sets: names kept, copies refused, who and claims, files that come back."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from ict_deepfake.models.ict import Embeddings
from ict_deepfake.references import PictureHash, ReferenceSet, empty, hash_file, load_references, near_hash
from shared_utils import UserError, checkpoint

DIM = 16


def person(seed, count=4, spread=0.1):
    """Inner and outer rows of one person: near a direction of their own."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(2, 1, DIM, generator=draw)
    rows = normalize(normalize(centres, dim=-1) + spread * torch.randn(2, count, DIM, generator=draw), dim=-1)
    return Embeddings(*rows)


def made(persons=4, count=4, **options):
    found = empty("the model")
    for seed in range(persons):
        pictures = [PictureHash(f"{seed}-{row}") for row in range(count)]
        found = found.add(f"person {seed}", person(seed, count, **options), pictures)
    return found


def picture(seed, size=(120, 100)):
    draw = np.random.default_rng(seed)
    small = Image.fromarray(draw.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC))


def saved_again(image, size=None, quality=60):
    stream = io.BytesIO()
    other = Image.fromarray(image)
    (other if size is None else other.resize(size)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_names_sources_and_rows_come_back(tmp_path, ending):
    references = made()
    references.save(tmp_path / f"ref{ending}")
    again = load_references(tmp_path / f"ref{ending}")
    for key in ("names", "sources", "hashes", "model"):
        assert getattr(again, key) == getattr(references, key), key
    assert torch.equal(again.inner, references.inner) and torch.equal(again.outer, references.outer)
    with pytest.raises(UserError, match=r"ends with \.safetensors or \.npz"):
        references.save(tmp_path / "ref.pkl")


def test_persons_are_added_and_removed_without_touching_the_others():
    references = made(3)
    without = references.remove("person 1")
    assert without.persons == ["person 0", "person 2"] and len(without) == 8
    assert torch.equal(without.inner, references.inner[[0, 1, 2, 3, 8, 9, 10, 11]])
    assert without.sources == [source for source in references.sources if source[0] != "1"]
    back = without.add("person 1", person(1), [PictureHash(f"1-{row}") for row in range(4)])
    assert torch.equal(back.inner[-4:], references.inner[4:8])
    with pytest.raises(UserError, match="did you mean person 0"):
        references.remove("persn 0")


def test_the_same_file_twice_is_refused_whoever_it_is_said_to_be():
    references = made(2)
    with pytest.raises(UserError, match=r"a picture of nobody is in the set twice \(first as person 1\)"):
        references.add("nobody", person(9, 1), [PictureHash("1-2")])
    with pytest.raises(UserError, match="twice"):
        empty().add("one", person(0, 2), [PictureHash("a"), PictureHash("a")])
    with pytest.raises(UserError, match="length 8 cannot be added to references of length 16"):
        references.add("x", Embeddings(torch.zeros(1, 8), torch.zeros(1, 8)))
    with pytest.raises(UserError, match="without a name"):
        references.add(" ", person(9, 1))


def test_who_names_the_person_and_how_far_the_next_one_is():
    references = made()
    swapped = Embeddings(person(2).inner[:1], person(0).outer[:1])
    inner, outer = references.who(swapped)
    assert inner.names == ["person 2"] and outer.names == ["person 0"]
    assert inner.distances[0] == pytest.approx(0, abs=1e-6)
    others = [row for row, name in enumerate(references.names) if name != "person 2"]
    nearest = (references.inner[others] - swapped.inner).square().sum(1).min()
    assert inner.margins[0] == pytest.approx(float(nearest), abs=1e-5)
    assert made(1).who(swapped).inner.margins[0] == np.inf
    assert references.who(Embeddings(torch.zeros(0, DIM), torch.zeros(0, DIM))).inner.names == []
    with pytest.raises(UserError, match="empty"):
        empty().who(swapped)
    with pytest.raises(UserError, match="length 16 cannot be compared with embeddings of length 8"):
        references.who(Embeddings(torch.zeros(1, 8), torch.zeros(1, 8)))


def test_the_report_counts_and_names_the_most_confusable():
    references = made().add("twin of 3", Embeddings(*(normalize(part + 0.05) for part in person(3))))
    report = references.report()
    assert report.pictures["person 0"] == 4 and report.tested == 20
    assert {report.confusable.first, report.confusable.second} == {"person 3", "twin of 3"}
    assert report.inner_accuracy < 1 and "5 persons, 20 pictures (4 to 4 each)" in str(report)
    clear = made().report()
    assert clear.inner_accuracy == clear.outer_accuracy == 1 and "100.0% by the inner face" in str(clear)
    alone = made(1).report()
    assert alone.inner_accuracy is None and alone.confusable is None and "unknown" in str(alone)
    assert str(empty().report()).startswith("0 persons")


def test_leave_one_out_does_not_find_the_picture_itself():
    # One picture each, and another of person 0 on the other side: whoever is found, it is wrong.
    rows = Embeddings(*(torch.eye(3)[[0, 1]] for _ in range(2)))
    references = empty().add("a", rows).add("b", Embeddings(torch.eye(3)[:1] * 0.9, torch.eye(3)[:1] * 0.9))
    assert references.report().inner_accuracy == 0


def test_the_threshold_of_a_claim_passes_the_persons_own_pictures():
    references = made(3, 20)
    threshold = references.claim_threshold("person 1", passed=0.95)
    genuine = references.genuine_distances("person 1")
    assert threshold.of == "person 1" and threshold.count == 20 == len(genuine)
    assert (genuine <= threshold.value).mean() >= 0.95 and threshold.value < 2
    few = references.add("newcomer", person(9, 2)).claim_threshold("newcomer")
    assert few.of == "all persons" and few.count == 62
    with pytest.raises(UserError, match="no person of the reference set has two pictures"):
        made(2, 1).claim_threshold("person 0")
    with pytest.raises(UserError, match="is not in the reference set"):
        references.claim_threshold("nobody")


def test_copies_of_test_pictures_are_found_by_file_and_by_sight(tmp_path):
    image = picture(0)
    Image.fromarray(image).save(tmp_path / "a.png")
    first = hash_file(tmp_path / "a.png", image)
    references = empty().add("one", person(0, 1), [first])
    tests = {
        "copy.png": PictureHash(first.digest, near_hash(picture(1))),
        "smaller.jpg": PictureHash("other", near_hash(saved_again(image, (60, 50)))),
        "worse.jpg": PictureHash("other", near_hash(saved_again(image, quality=20))),
        "brighter.png": PictureHash("other", near_hash(np.clip(image * 0.7 + 20, 0, 255).astype(np.uint8))),
        **{f"{seed}.png": PictureHash(str(seed), near_hash(picture(seed))) for seed in range(1, 40)},
    }
    assert list(references.leaks(tests)) == ["copy.png", "smaller.jpg", "worse.jpg", "brighter.png"]
    with pytest.raises(UserError, match=r"4 test pictures are in the reference set.*copy.png is a picture of one"):
        references.refuse_leaks(tests)
    references.refuse_leaks({"39.png": tests["39.png"], "no face": PictureHash("x")})


def test_the_published_set_is_read_and_numbered(tmp_path):
    rows = person(0, 3)
    torch.save({"inner": rows.inner, "outer": rows.outer}, tmp_path / "ref.pkl")
    references = load_references(tmp_path / "ref.pkl")
    assert references.names == ["reference 0", "reference 1", "reference 2"] and torch.equal(
        references.inner, rows.inner
    )


def test_what_is_not_a_reference_set_is_named(tmp_path):
    with pytest.raises(UserError, match="ref.npz not found"):
        load_references(tmp_path / "ref.npz")
    torch.save({"centres": torch.zeros(2, 3)}, tmp_path / "x.pkl")
    with pytest.raises(UserError, match="holds: centres"):
        load_references(tmp_path / "x.pkl")
    checkpoint.save_safetensors({"inner": torch.zeros(1, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="it has no outer, names"):
        load_references(tmp_path / "x.safetensors")
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match=r"not a whole \.npz"):
        load_references(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", inner=np.array([{"a": 1}], object), outer=np.zeros((1, 1)), names=np.array(["a"]))
    with pytest.raises(UserError, match=r"not a whole \.npz of plain arrays"):
        load_references(tmp_path / "y.npz")
    with pytest.raises(UserError, match="2 names and 1 rows"):
        ReferenceSet(["a", "b"], torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(UserError, match="not finite"):
        ReferenceSet(["a"], torch.full((1, 2), torch.nan), torch.zeros(1, 2))
    with pytest.raises(UserError, match=r"inner rows of \(1, 2\) and outer rows of \(1, 3\)"):
        ReferenceSet(["a"], torch.zeros(1, 2), torch.zeros(1, 3))
