"""Gaps that are filled afterwards, and the verb."""

import numpy as np

from mot_occlusion.commands import interpolate as command
from mot_occlusion.data.interpolation import fill_gaps
from mot_occlusion.data.mot_format import read_results, result_line


def text(*rows):
    return "".join(result_line(frame, identity, (x, 10, 20, 40), score, 3) for frame, identity, x, score in rows)


ROWS = ((1, 1, 0, 0.9), (1, 2, 100, 0.8), (5, 1, 40, 0.5), (6, 1, 50, 0.5), (30, 1, 0, 0.9))


def test_a_gap_is_a_straight_line_and_a_long_one_stays(tmp_path):
    (tmp_path / "a.txt").write_text(text(*ROWS))
    rows, filled = fill_gaps(read_results(tmp_path / "a.txt"), max_gap=3)
    assert (
        rows.frames.tolist() == [1, 1, 2, 3, 4, 5, 6, 30] and filled.tolist() == [False] * 2 + [True] * 3 + [False] * 3
    )
    np.testing.assert_allclose(rows.boxes[filled, 0], [10, 20, 30])
    np.testing.assert_allclose(rows.scores[filled], [0.8, 0.7, 0.6])
    assert (rows.ids[filled] == 1).all() and (rows.classes == 3).all()
    assert not fill_gaps(read_results(tmp_path / "a.txt"), max_gap=2)[1].any()


def test_nothing_to_fill(tmp_path):
    (tmp_path / "a.txt").write_text("")
    rows, filled = fill_gaps(read_results(tmp_path / "a.txt"))
    assert len(rows.frames) == len(filled) == 0


def test_the_verb_writes_whole_files_beside_and_refuses_what_is_nothing(scratch, capsys):
    (scratch / "in").mkdir()
    (scratch / "in" / "a.txt").write_text(text(*ROWS))
    assert command.main(["in", "--out", "out", "--max_gap", "3"]) == 0
    assert "a.txt: 8 boxes, 3 of them filled in" in capsys.readouterr().out
    assert len((scratch / "out" / "a.txt").read_text().splitlines()) == 8
    for arguments, message in (
        (["in", "--out", "out"], "out"),
        (["in", "--out", "b", "--max_gap", "0"], "--max_gap 0: gaps have one missing frame or more"),
        (["out2", "--out", "b"], "no <sequence>.txt in out2"),
    ):
        assert command.main(arguments) == 2 and message in capsys.readouterr().err
