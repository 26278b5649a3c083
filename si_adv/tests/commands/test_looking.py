"""``predict``, ``evaluate`` and ``sensitivity`` on the bundled victim."""

from pathlib import Path

import pytest

from si_adv.commands import evaluate, predict, sensitivity
from si_adv.data.procedural import ProceduralShapes
from si_adv.data.writers import write_ply

pytestmark = pytest.mark.usefixtures("scratch")


def test_predict_evaluate_and_sensitivity(capsys):
    sample = ProceduralShapes("test", 20)[3]
    Path("folder").mkdir()
    write_ply("folder/a.ply", sample.points, sample.normals)
    assert predict.main(["folder"]) == 0
    assert capsys.readouterr().out.startswith("folder/a.ply  ")
    assert evaluate.main(["--limit", "30"]) == 0
    accuracy = float(capsys.readouterr().out.splitlines()[1].split()[2])
    assert 0.8 <= accuracy <= 1
    assert sensitivity.main(["--cloud", "folder/a.ply", "--out", "map.png"]) == 0
    assert Path("map.png").is_file() and Path("map.ply").is_file()


def test_a_map_is_not_overwritten_unless_asked(capsys):
    for name in ("map.png", "map.ply"):
        Path(name).write_text("mine")
        assert sensitivity.main(["--out", "map.png"]) == 2
        assert f"{name} exists: replace it with --overwrite" in capsys.readouterr().err
        Path(name).unlink()
    Path("map.pdf").write_text("mine")
    assert sensitivity.main(["--out", "map.pdf", "--num_points", "128", "--label", "chair", "--overwrite"]) == 0
    assert Path("map.pdf").read_bytes().startswith(b"%PDF")
