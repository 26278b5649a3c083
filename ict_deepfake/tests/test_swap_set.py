"""Swaps of pictures of people as a test set: who is who, no trace but the swap, and what cannot be used."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from ict_deepfake.commands.make_swaps import main
from ict_deepfake.data.identities import open_identities
from ict_deepfake.faces import landmark_file
from ict_deepfake.procedural import Population
from ict_deepfake.swap_set import SwapSet
from shared_utils import UserError

PROJECT = Path(__file__).parents[1]
CELEBRITIES = PROJECT.parents[1] / "shared/data/ict_deepfake/celebrities"


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Three people of two pictures, with 68 landmarks."""
    root = tmp_path_factory.mktemp("people")
    faces = Population(size=96, cache=None, train=(3, 2)).train()
    known = {}
    for number, (image, person) in enumerate(zip(faces.images, faces.identity, strict=True)):
        path = root / f"person {person}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image[..., ::-1])
        known[f"person {person}/{number}.png"] = faces.points[number].tolist()
    landmarks = root.parent / "landmarks.json"
    landmarks.write_text(json.dumps(known))
    return root, landmarks


@pytest.fixture(scope="module")
def made(people, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "set"
    root, landmarks = people
    assert main([str(root), "--out", str(out), "--landmarks", str(landmarks), "--regions", "face,mouth"]) == 0
    return out


def test_lists_and_facts_name_every_picture(made):
    real, fake, pairs = (json.loads((made / name).read_text()) for name in ("real.json", "fake.json", "pairs.json"))
    assert (len(real), len(fake)) == (6, 6 * 2 * 2)
    assert {row["file"] for row in pairs} == {*real, *fake}
    assert all((made / name).is_file() for name in real + fake)
    with (made / "swaps.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == [row["file"] for row in pairs]
    for row in rows:
        assert (row["inner"] == row["outer"]) == (row["label"] == "0")
        assert row["file"].startswith("fake/" if row["label"] == "1" else "real/")
        if row["label"] == "1":
            assert row["donor"].startswith(row["inner"].replace(" ", "_"))
            assert row["blend"] in ("feather", "gaussian", "poisson")
            assert 0 < float(row["share"]) <= 0.6
    assert {row["family"] for row in rows if row["method"] == "mouth"} == {"mouth"}


def test_each_swap_of_a_target_has_a_donor_of_its_own(made):
    for method in ("face", "mouth"):
        by_target = {}
        for row in json.loads((made / "pairs.json").read_text()):
            if row["method"] == method:
                by_target.setdefault(row["target"], []).append(row["inner"])
        assert all(len(set(donors)) == 2 for donors in by_target.values())


def test_a_swap_changes_the_middle_of_the_genuine_picture_and_nothing_else(made):
    for row in json.loads((made / "pairs.json").read_text()):
        if row["label"]:
            real, fake = (cv2.imread(str(made / name)) for name in (f"real/{row['target']}__real.jpg", row["file"]))
            assert real.shape == fake.shape == (317, 317, 3)
            difference = np.abs(real.astype(int) - fake).mean(2)
            assert difference[:24].max() <= 6  # JPEG
            assert difference[150:260, 90:230].mean() > 1


def test_the_same_set_is_refused_resumed_or_made_anew(people, made, capsys):
    arguments = [str(people[0]), "--out", str(made), "--landmarks", str(people[1]), "--regions", "face,mouth"]
    before = {path: path.read_bytes() for path in made.rglob("*.jpg")}
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    stamps = {path: path.stat().st_mtime_ns for path in before}
    assert main([*arguments, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == stamps
    assert main([*arguments, "--overwrite"]) == 0
    assert {path: path.read_bytes() for path in made.rglob("*.jpg")} == before


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_made(people, tmp_path, capsys):
    root, landmarks = people
    copy = tmp_path / "people"
    for path in root.rglob("*.png"):
        target = copy / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    broken = next(copy.rglob("3.png"))
    broken.write_bytes(broken.read_bytes()[:200])
    arguments = [str(copy), "--out", str(tmp_path / "out"), "--landmarks", str(landmarks), "--swaps", "1"]
    assert main(arguments) == 2
    assert "3.png" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out/real.json").read_text())) == 5


@pytest.mark.parametrize(
    ("regions", "swaps", "message"), [(["nose"], 1, "got nose"), (["face"], 3, "--swaps takes 1 to 2"), ([], 1, "none")]
)
def test_wishes_that_cannot_be_met_are_refused(people, regions, swaps, message):
    source = open_identities(people[0], landmark_file(people[1]))
    with pytest.raises(UserError, match=message):
        SwapSet(source, regions, swaps, 0)


def test_a_part_of_the_face_needs_68_points(people, tmp_path):
    root, landmarks = people
    five = {name: np.array(p)[[37, 44, 30, 48, 54]].tolist() for name, p in json.loads(landmarks.read_text()).items()}
    (tmp_path / "five.json").write_text(json.dumps(five))
    source = open_identities(root, landmark_file(tmp_path / "five.json"))
    with pytest.raises(UserError, match="takes 68 landmarks, there are five"):
        SwapSet(source, ["eyes"], 1, 0).find()
    whole = SwapSet(source, ["face"], 1, 0)
    whole.find()
    assert len(whole.people) == 6


@pytest.mark.skipif(not CELEBRITIES.is_dir(), reason="the shared photographs are not here")
def test_without_landmarks_faces_are_found_and_a_picture_without_one_is_named(tmp_path, capsys):
    for person in ("id00", "id03"):
        target = tmp_path / "people" / person / "1.jpg"
        target.parent.mkdir(parents=True)
        source = next((CELEBRITIES / person).glob("*.jpg"))
        target.write_bytes(source.read_bytes())
    cv2.imwrite(str(tmp_path / "people/id00/2.png"), np.full((80, 80, 3), 128, np.uint8))
    assert main([str(tmp_path / "people"), "--out", str(tmp_path / "out"), "--swaps", "1"]) == 2
    assert "id00__0001: no face was found" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out/fake.json").read_text())) == 2


def test_the_script_in_the_projects_folder_answers_a_wrong_path_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, str(PROJECT / "make_swaps.py"), str(tmp_path / "nobody"), "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nobody not found" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
