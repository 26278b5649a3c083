"""Evaluation on parametric people and on sets on disk: exact numbers, what is missing, what is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ict_deepfake import evaluation, figures, metrics
from ict_deepfake.commands.evaluate import main
from ict_deepfake.data.test_sets import Clip
from ict_deepfake.evaluation import numbers
from ict_deepfake.evaluation.embedding import changes
from ict_deepfake.faces import Alignment
from ict_deepfake.models.ict import ICT
from ict_deepfake.pretrained import Detector, load
from ict_deepfake.procedural import Population
from ict_deepfake.references import hash_file
from shared_utils import UserError

NETWORK = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2, "stem": "conv"}


@pytest.fixture(scope="module", autouse=True)
def sheets():
    """Few draws; and the notes of every sheet that is drawn."""
    patch, drawn, draw = pytest.MonkeyPatch(), [], figures.sheet
    patch.setattr(numbers, "DRAWS", 20)
    patch.setattr(figures, "sheet", lambda path, rows, notes: (drawn.append(notes), draw(path, rows, notes)))
    yield drawn
    patch.undo()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained network in an exported folder."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "net"
    Detector(ICT(**NETWORK), Alignment().scaled(16)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def people():
    return Population(0, 16, validation=(3, 2), test=(4, 3), train=(3, 2), cache=None)


@pytest.fixture(scope="module")
def evaluated(model, people, tmp_path_factory):
    out, detector = tmp_path_factory.mktemp("evaluation") / "out", load(model)
    suspects = evaluation.PeopleSuspects(people, "test", detector.alignment)
    references = suspects.references(detector)
    options = evaluation.Options(degrade="blur,video", protocol="published", calibrate="logistic")
    return evaluation.evaluate(suspects, detector, references, options, out), out, suspects, detector, references


def test_every_kind_of_suspect_has_its_numbers(evaluated):
    results = evaluated[0]
    kinds = ["blend", "rerender", "self_blend", "reenact"]
    assert [(row["score"], row["fakes"]) for row in results["table"]] == [
        (s, k) for s in ("ICT", "ICT-Ref") for k in kinds
    ]
    for row in results["table"]:
        assert row["frames"] == 24 and row["videos"] == 8
        assert row["AUC interval"][0] <= row["AUC"] <= row["AUC interval"][1]
        assert {"video AUC", "EER", "AP", "TPR at FPR 1 %", "TPR at FPR 0.1 %", "published AUC"} <= set(row)
    assert [(row["degradation"], row["level"]) for row in results["grid"]][:10] == [
        (kind, level) for kind in ("blur", "video") for level in range(1, 6)
    ]


def test_controls_are_not_shown_among_the_fakes(evaluated, sheets):
    shown = {note.split("\n")[1] for title, notes in sheets[0].items() if title.startswith("fake") for note in notes}
    assert shown == {"blend", "rerender"}


def test_numbers_are_those_of_the_scores(evaluated):
    results, _, suspects, detector, _ = evaluated
    faces = suspects.people.test()

    def scores(part):
        return detector.score(suspects._crops(part, np.arange(len(part))))["consistency"]

    both = np.concatenate([scores(faces.genuine), scores(faces.fakes["rerender"])])
    expected = metrics.auc(both, np.repeat([0, 1], 12))
    (row,) = (row for row in results["table"] if (row["score"], row["fakes"]) == ("ICT", "rerender"))
    assert row["AUC"] == pytest.approx(expected)


def test_its_files_are_there(evaluated):
    out = evaluated[1]
    for name in ("metrics.json", "table.csv", "table.md", "grid.csv"):
        assert (out / name).stat().st_size > 0
    pictures = {path.name for path in (out / "figures").iterdir()}
    assert {"roc.png", "severity.png", "histograms_consistency.png", "extremes.png", "attention.png"} <= pictures


def test_the_calibrated_model_knows_its_validation_set(evaluated):
    calibrated = load(evaluated[1] / "calibrated")
    assert calibrated.calibration.dataset == "parametric people, test" and calibrated.calibration.score == "reference"


def test_a_finished_evaluation_is_continued_only_as_itself(evaluated):
    results, out, suspects, detector, references = evaluated
    same = evaluation.Options(degrade="blur,video", protocol="published")
    again = evaluation.evaluate(suspects, detector, references, same, out, resume=True)
    assert [row["AUC"] for row in again["table"]] == [row["AUC"] for row in results["table"]]
    with pytest.raises(UserError, match="changes"):
        evaluation.evaluate(suspects, detector, references, evaluation.Options(), out, resume=True)


def pictures(root, count=4, damaged=False):
    """Real and fake crops in folders, and our list of them."""
    rng = np.random.default_rng(0)
    rows = []
    for label, folder, ending in ((0, "real", "png"), (1, "fake", "jpg")):
        (root / folder).mkdir(parents=True)
        for number in range(count):
            name = f"{folder}/{number}.{ending}"
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(root / name)
            rows.append({"file": name, "label": label, "method": "tri"})
    if damaged:
        (root / "fake/1.jpg").write_bytes(b"nothing")
        rows.append({"file": "fake/gone.jpg", "label": 1})
    (root / "pairs.json").write_text(json.dumps(rows))
    return root / "pairs.json"


def test_a_set_on_disk_with_a_damaged_and_a_missing_file(model, scratch, capsys):
    listed = pictures(scratch / "set", damaged=True)
    status = main(["--ckpt", str(model), "--data", str(listed), "--aligned", "--out", "out"])
    said = capsys.readouterr()
    assert status == 2 and "2 files could not be used" in said.err
    assert "1.jpg" in said.err and "gone.jpg" in said.err
    results = json.loads((scratch / "out/metrics.json").read_text())
    assert results["seen"]["clips"] == 8 and results["table"][0]["frames"] == 7
    # PNG against JPEG: the files alone tell the classes apart.
    assert results["cues"]["type"] == 1.0 and "tri" in said.out


def test_test_pictures_among_the_references_are_refused(model, scratch, capsys):
    listed, detector = pictures(scratch / "set"), load(model)
    crop = np.asarray(Image.open(scratch / "set/real/0.png"))
    from ict_deepfake.references import ReferenceSet

    known = ReferenceSet(["ann", "bob"], *detector.embed([crop, crop]), model=detector.digest)
    known = known.remove("ann").add("ann", detector.embed([crop]), [hash_file(scratch / "set/real/0.png", crop)])
    known.save("ref.safetensors")
    arguments = [
        "--ckpt",
        str(model),
        "--data",
        str(listed),
        "--aligned",
        "--out",
        "out",
        "--reference",
        "ref.safetensors",
    ]
    assert main(arguments) == 2
    assert "real/0.png" in capsys.readouterr().err


def test_the_highest_track_of_a_clip_counts_for_both_classes(model):
    detector = load(model)
    rng = np.random.default_rng(1)
    rows = detector.embed([rng.integers(0, 255, (16, 16, 3), np.uint8) for _ in range(4)])
    part = {"tracks": np.array([0, 0, 1, 1]), "inner.clean": rows.inner.numpy(), "outer.clean": rows.outer.numpy()}
    scored = numbers.score({"a": part}, {"a": Clip("v", 1, "m")}, detector, None, "consistency")
    each = detector.score_embeddings(rows)["consistency"]
    assert scored.scores.tolist() == max(each[:2], each[2:], key=np.mean).tolist() and scored.videos == ["v", "v"]


def test_kinds_of_degradation():
    assert changes(None) == ["clean"] and len(changes("all")) == 1 + 5 * 8
    with pytest.raises(UserError, match="'fog' is not known"):
        changes("fog")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "train"], "validation or test"),
        (["--data", "nowhere"], "nowhere not found"),
        (["--real", "a.json"], "give both"),
        (["--data", "set/pairs.json", "--labels", "a=2"], "NAME=0"),
        (["--data", "set/pairs.json", "--aligned", "--landmarks", "a.json"], "no landmarks"),
        (["--data", "set/pairs.json", "--aligned", "--masks"], "has none"),
        (["--data", "one/pairs.json", "--aligned"], "no fake picture"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(arguments, message, model, scratch, capsys):
    pictures(scratch / "set")
    pictures(scratch / "one")
    rows = json.loads((scratch / "one/pairs.json").read_text())
    (scratch / "one/pairs.json").write_text(json.dumps([row for row in rows if row["label"] == 0]))
    assert main(["--ckpt", str(model), "--out", "out", *arguments]) == 2
    assert message in capsys.readouterr().err and not (scratch / "out").exists()
