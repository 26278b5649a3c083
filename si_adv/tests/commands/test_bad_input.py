"""Every mistake gives one line and status 2, and nothing is written."""

from pathlib import Path

import numpy as np
import pytest

from si_adv.commands import attack, defend, import_checkpoint, predict
from si_adv.data.writers import write_npz

pytestmark = pytest.mark.usefixtures("scratch")


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        (attack, ["--attack", "si_ifmg"], "unknown attack 'si_ifmg': choose from si_ifgm"),
        (attack, ["--ckpt", "absent.pth"], "absent.pth not found"),
        (attack, ["--ckpt", "page.pth"], "page.pth is a web page"),
        (attack, ["--ckpt", "empty"], "no good checkpoint in empty"),
        (attack, ["--data", "absent"], "absent"),
        (attack, ["--data", "empty"], "empty"),
        (attack, ["--data", "many.npz"], "knows 10 classes, the data has a cloud of class 11"),
        (attack, ["--num_points", "2048", "--data", "many.npz"], "2048"),
        (attack, ["--sweep", "epsilon:1,2"], "--sweep is eps:"),
        (attack, ["--seeds", "a"], "--seeds 'a': give whole numbers with commas between"),
        (attack, ["--target", "spaceship", "--limit", "2"], "unknown target class spaceship"),
        (attack, ["--defence", "shield"], "shield"),
        (attack, ["--options", "{cw: {}}"], "options are given for cw"),
        (attack, ["--options", "{si_ifgm: {stps: 3}}"], "no option 'stps'"),
        (attack, ["--noise", "0.1", "--data", "many.npz"], "noise is that of the embedded shapes"),
        (attack, ["--noise", "-1"], "noise is that of the embedded shapes"),
        (attack, ["--options", "{si_ifgm: {normal_neighbours: 12}}"], "would move along the normals"),
        (attack, ["--stps", "3"], "unknown argument stps: did you mean steps?"),
        (predict, ["absent.ply"], "absent.ply"),
        (predict, ["empty"], "empty holds no cloud"),
        (predict, ["short.txt"], "short.txt"),
        (predict, ["nan.txt"], "nan.txt, line 3"),
        (predict, ["flat.xyz"], "flat.xyz"),
        (predict, ["columns.txt"], "columns.txt, line 2"),
        (defend, ["--clouds", "many.npz"], "many.npz has no adv"),
        (import_checkpoint, ["page.pth", "--out", "x"], "page.pth is a web page"),
    ],
)
def test_bad_input_gives_one_line_and_status_2(command, arguments, message, capsys):
    Path("empty").mkdir()
    Path("page.pth").write_text("<html>quota</html>")
    rng = np.random.default_rng(0)
    points = rng.standard_normal((24, 1024, 3)).astype(np.float32)
    write_npz(
        "many.npz",
        test_points=points,
        test_label=np.arange(24) % 12,
        train_points=points,
        train_label=np.arange(24) % 12,
    )
    np.savetxt("short.txt", points[0, :100], delimiter=",")
    np.savetxt("flat.xyz", np.ones((1024, 3)))
    cloud = points[0].copy()
    np.savetxt("columns.txt", cloud)
    lines = Path("columns.txt").read_text().splitlines()
    Path("columns.txt").write_text("\n".join([lines[0], lines[1] + " 7 8", *lines[2:]]))
    cloud[2, 1] = np.nan
    np.savetxt("nan.txt", cloud)
    before = set(Path().rglob("*"))
    assert command.main(arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1 and message in errors[0], errors
    assert {
        path for path in set(Path().rglob("*")) - before if path.suffix in (".npz", ".csv", ".png", ".safetensors")
    } == set()
