import csv

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

from shared_utils import UserError, logging

ROWS = [{"attack": "ifgm", "l2": 0.53104, "n": 30, "x": None}, {"attack": "si|q", "l2": 1.2e-4, "n": 5, "x": 2.0}]


def drawn(colour="red"):
    figure = Figure(figsize=(2, 1))
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0], color=colour, label="line")
    axes.legend()
    return figure


def test_table_aligns_and_rounds():
    assert logging.table(ROWS).splitlines() == [
        "attack         l2   n       x",
        "ifgm       0.5310  30       -",
        "si|q    1.200e-04   5  2.0000",
    ]


def test_a_table_has_the_columns_of_all_rows_and_rounds_numbers_of_numpy():
    rows = [{"a": np.float32(1.23456789)}, {"a": np.int64(3), "b": True}]
    assert logging.table(rows, "T").splitlines() == ["T", "     a     b", "1.2346     -", "     3  True"]
    assert logging.table([]) == ""


def test_a_table_is_written_with_every_digit_and_as_markdown(tmp_path):
    paths = logging.write_table(ROWS, tmp_path / "new" / "scores.v1")
    assert [path.name for path in paths] == ["scores.v1.csv", "scores.v1.md"]
    with paths[0].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"attack": "ifgm", "l2": "0.53104", "n": "30", "x": ""} and float(rows[1]["l2"]) == 1.2e-4
    assert paths[1].read_text().splitlines() == [
        "| attack | l2 | n | x |",
        "| --- | ---: | ---: | ---: |",
        "| ifgm | 0.5310 | 30 |  |",
        r"| si\|q | 1.200e-04 | 5 | 2.0000 |",
    ]


def test_metrics_of_a_run(tmp_path):
    assert logging.read_metrics(tmp_path) == []
    (tmp_path / "metrics.csv").write_text("loss,step,val\n1.0,0,\n,0,0.5\n0.")
    rows = [{"loss": "1.0", "step": "0", "val": ""}, {"loss": "", "step": "0", "val": "0.5"}]
    assert logging.read_metrics(tmp_path) == rows == logging.read_metrics(tmp_path / "metrics.csv")


@pytest.mark.parametrize(
    ("ending", "start"),
    [("png", b"\x89PNG"), ("jpg", b"\xff\xd8"), ("JPEG", b"\xff\xd8"), ("pdf", b"%PDF"), ("svg", b"<?xml")],
)
def test_a_figure_is_saved_by_its_ending_and_always_as_the_same_bytes(tmp_path, ending, start):
    one, two = (logging.save_figure(drawn(), tmp_path / "new" / f"{name}.{ending}") for name in "ab")
    assert one.read_bytes().startswith(start) and one.read_bytes() == two.read_bytes()
    assert sorted(path.name for path in one.parent.iterdir()) == [one.name, two.name]


def test_the_resolution_and_the_colours_of_a_picture(tmp_path):
    with Image.open(logging.save_figure(drawn(), tmp_path / "a.png")) as image:
        assert image.size == (300, 150) and image.mode == "RGB" and round(image.info["dpi"][0]) == 150
    with Image.open(logging.save_figure(drawn(), tmp_path / "a.png", dpi=200, colours=16)) as image:
        assert image.size == (400, 200) and image.mode == "P"
    with Image.open(logging.save_figure(drawn("0.5"), tmp_path / "a.png")) as image:
        assert image.mode == "L"


def test_a_figure_of_pyplot_is_closed(tmp_path):
    figure = pyplot.figure()
    logging.save_figure(figure, tmp_path / "a.png")
    assert not pyplot.fignum_exists(figure.number)


def test_another_ending_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"a\.gif: a figure is saved as \.png, \.jpg, \.jpeg, \.pdf, \.svg"):
        logging.save_figure(drawn(), tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_a_figure_that_cannot_be_drawn_leaves_the_old_one(tmp_path):
    path = logging.save_figure(drawn(), tmp_path / "a.png")
    before = path.read_bytes()
    broken = drawn()
    broken.suptitle("$\\nosuchcommand$")
    with pytest.raises(ValueError):
        logging.save_figure(broken, path)
    assert path.read_bytes() == before
