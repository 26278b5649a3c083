"""simulate.py, through its command."""

import json

import numpy as np
from scenes import random_sequence, write_gt

from mot_occlusion.commands import simulate as simulate_command


def test_simulation_on_ground_truth(scratch, capsys):
    gt, _ = random_sequence(5, people=6)
    rng = np.random.default_rng(0)
    write_gt(scratch / "MOT17-90", gt._replace(visibility=rng.choice([0.2, 1.0], len(gt.ids))))
    arguments = ["--data", "MOT17-90", "--seeds", "0,1", "--windows", "1,5", "--out", "a"]
    assert simulate_command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "IoU only, fair" in printed and "+ occlusion, window 5" in printed
    rows = json.loads((scratch / "a" / "simulation.json").read_text())
    assert {row["seed"] for row in rows} == {0, 1} and len(rows) == 2 * 9
    assert {row["window"] for row in rows} == {None, 0, 1, 5}
    assert 0 < (scratch / "a" / "windows.png").stat().st_size < 500_000
    parts = {path: path.stat().st_mtime_ns for path in (scratch / "a" / "parts").iterdir()}
    assert simulate_command.main([*arguments, "--resume"]) == 0
    assert parts == {path: path.stat().st_mtime_ns for path in (scratch / "a" / "parts").iterdir()}


def test_simulation_continues_the_same_job_alone(scratch, capsys):
    gt, _ = random_sequence(5, people=3)
    write_gt(scratch / "MOT17-90", gt._replace(visibility=np.random.default_rng(0).choice([0.2, 1.0], len(gt.ids))))
    arguments = ["MOT17-90", "--windows", "1", "--out", "a"]
    arguments = ["--data", *arguments]
    assert simulate_command.main([*arguments, "--seeds", "0"]) == 0
    assert simulate_command.main([*arguments, "--seeds", "0"]) == 2
    assert "continue it with --resume" in capsys.readouterr().err
    assert simulate_command.main([*arguments, "--seeds", "1", "--resume"]) == 2
    assert "seeds [0], now [1]" in capsys.readouterr().err
    assert simulate_command.main([*arguments, "--seeds", "1", "--overwrite"]) == 0
    assert {row["seed"] for row in json.loads((scratch / "a" / "simulation.json").read_text())} == {1}


def test_simulation_needs_visibility_and_known_names(scratch, capsys):
    write_gt(scratch / "MOT15-1", random_sequence(5)[0], with_classes=False)
    assert simulate_command.main(["--data", "MOT15-1", "--out", "a"]) == 2
    assert "has no visibility (column 9)" in capsys.readouterr().err
    assert simulate_command.main(["--data", "MOT15-1", "--sequences", "other", "--out", "b"]) == 2
    assert "no sequence other in MOT15-1: there are MOT15-1" in capsys.readouterr().err
    assert simulate_command.main(["--data", "MOT15-1", "--seeds", "a", "--out", "a"]) == 2
    assert "give whole numbers with commas between" in capsys.readouterr().err


def test_real_trajectories_keep_their_order(real_data, scratch):
    """Section 5 of the paper in kind: re-ID helps identity, recovery finds who is hidden, on one real sequence."""
    sequence = real_data / "MOT17" / "train" / "MOT17-09-FRCNN"
    assert simulate_command.main(["--data", str(sequence), "--seeds", "0", "--windows", "1,30", "--out", "a"]) == 0
    rows = {row["arm"]: row for row in json.loads((scratch / "a" / "simulation.json").read_text())}
    assert rows["IoU only, published"]["HOTA"] < rows["IoU only, fair"]["HOTA"] < rows["+ re-ID"]["HOTA"]
    assert rows["+ occlusion, window 30"]["MOTA"] > rows["+ re-ID"]["MOTA"] + 0.04
    assert (
        rows["+ occlusion, window 30"]["CLR_FN"] < rows["+ occlusion, window 1"]["CLR_FN"] < rows["+ re-ID"]["CLR_FN"]
    )
