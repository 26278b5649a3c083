"""Pictures of data and models: written where asked, refused in one line."""

import numpy as np
import pytest

from luperson_nl import visualization
from luperson_nl.commands import visualize
from luperson_nl.data.street import Street


@pytest.fixture(autouse=True)
def small_street(monkeypatch):
    """The street of the commands, smaller."""

    def small(seed=0, **_):
        return Street(seed=seed, persons=6, size=(32, 16), cameras=3)

    monkeypatch.setattr(visualization, "Street", small)
    return small


@pytest.fixture
def labels_file(tmp_path, small_street):
    crops = small_street().train()
    corrected = crops.labels.copy()
    corrected[::7] = 0
    rows = np.arange(5, len(crops))  # the last batch is never full
    path = tmp_path / "labels_epoch01.npz"
    np.savez(path, key=rows, label=crops.labels[rows], corrected=corrected[rows], max_p=np.ones(len(rows)))
    return path


def test_tracks_of_the_street(tmp_path):
    out = tmp_path / "tracks.png"
    assert visualize.main(["tracks", "--out", str(out), "--limit", "2"]) == 0
    assert out.stat().st_size > 5000


def test_corrections_of_a_labels_file(tmp_path, labels_file):
    out = tmp_path / "corrections.png"
    assert visualize.main(["corrections", "--labels", str(labels_file), "--out", str(out), "--limit", "2"]) == 0
    assert out.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["corrections"], "--labels"),
        (["tracks", "--labels", "x.npz"], "does not take"),
        (["tracks", "--limit", "0"], "at least 1"),
        (["corrections", "--labels", "missing.npz"], "not found"),
        (["corrections", "--labels", "LABELS", "--seed", "1"], "other crops"),
    ],
)
def test_mistakes_get_one_line(arguments, word, labels_file, scratch, capsys):
    arguments = [str(labels_file) if argument == "LABELS" else argument for argument in arguments]
    assert visualize.main(arguments) == 2
    error = capsys.readouterr().err
    assert word in error and "Traceback" not in error


def test_an_existing_file_is_kept(tmp_path, capsys):
    out = tmp_path / "tracks.png"
    out.write_text("mine")
    assert visualize.main(["tracks", "--out", str(out)]) == 2
    assert out.read_text() == "mine" and "overwrite" in capsys.readouterr().err
