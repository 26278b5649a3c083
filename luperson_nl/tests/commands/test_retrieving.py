"""evaluate, extract and search, and what they say of data that do not fit."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import stores_on_disk
from pictures_on_disk import embedder, market, picture

from luperson_nl.commands.evaluate import main as evaluate
from luperson_nl.commands.extract import main as extract
from luperson_nl.commands.search import main as search


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with a model, a data set and its features."""
    folder = tmp_path_factory.mktemp("source")
    embedder(folder / "mini")
    market(folder / "data")
    assert extract([str(folder / "data"), "--ckpt", str(folder / "mini"), "--out", str(folder / "f.npz")]) == 0
    return folder


IN_TURN = """
import runpy, sys
for arguments in map(str.split, sys.argv[1:]):
    sys.argv = arguments
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        assert not end.code, end.code
"""


def test_extract_and_search_run_as_scripts(source, scratch):
    root = Path(__file__).parents[2]
    query, ckpt = source / "data/query", f"--ckpt {source / 'mini'}"
    commands = [
        f"{root / 'extract.py'} {query} --out f.npz {ckpt} --limit 4",
        f"{root / 'search.py'} {query / '0002_c1s1_000000_00.jpg'} --gallery f.npz --top 2 {ckpt}",
    ]
    done = subprocess.run([sys.executable, "-c", IN_TURN, *commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "wrote f.npz" in done.stdout and "0002_c2s1" in done.stdout


def refused(command, arguments, words, capsys):
    """One line on standard error with these words, status 2, and nothing on standard output."""
    capsys.readouterr()
    assert command([str(argument) for argument in arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1 and re.search(words, printed.err), printed.err


def test_a_model_is_evaluated_and_its_features_give_the_same(source, scratch, capsys):
    given = ["--ckpt", source / "mini", "--data", source / "data", "--rerank", "--aqe", "--roc", "--out", "model"]
    assert evaluate(list(map(str, given))) == 0
    shown = capsys.readouterr().out
    assert "re-ranked, with query expansion" in shown and "TPR@FPR=1e-04" in shown and "wrote model" in shown
    assert evaluate(["--features", str(source / "f.npz"), "--out", "stored"]) == 0
    model, stored = (json.loads(Path(name, "metrics.json").read_text())["scores"] for name in ("model", "stored"))
    assert [row["ranked by"] for row in model] == [
        "features",
        "with query expansion",
        "re-ranked, with query expansion",
    ]
    assert model[0]["mAP"] == pytest.approx(stored[0]["mAP"], abs=1e-3) and stored[0]["valid queries"] == 10
    assert model[0]["mAP"] > 60  # colours tell these people apart, whatever the weights
    assert {path.name for path in Path("model").iterdir()} >= {"table.csv", "table.md", "queries.csv", "cmc.png"}
    assert len(Path("model/queries.csv").read_text().splitlines()) == 11


def test_the_page_holds_every_picture_and_shows_the_worst_first(source, scratch):
    assert evaluate(["--features", str(source / "f.npz"), "--out", "run", "--worst", "4"]) == 0
    page = Path("run/ranking.html").read_text()
    assert page.count("<section>") == 4 and page.count('src="data:image/jpeg;base64,') == page.count("<img") == 44
    assert not re.search(r"(src|href)=\"(?!data:)", page) and "http" not in page
    scores = [float(value) for value in re.findall(r"AP ([\d.]+),", page)]
    assert scores == sorted(scores)
    assert 'class="right cross"' in page and 'class="wrong"' in page and "other camera" in page


def test_reassociation_takes_frames_from_names(source, scratch, capsys):
    assert evaluate(["--features", str(source / "f.npz"), "--out", "run", "--reassociation", "--gap", "40"]) == 0
    assert "after 40 frames" in capsys.readouterr().out and not Path("run/ranking.html").exists()
    assert json.loads(Path("run/metrics.json").read_text())["scores"][0]["valid queries"] == 30


def test_tracks_of_a_store_are_found_again(source, scratch, capsys):
    stores_on_disk.build("store")
    given = ["--data", "store", "--ckpt", source / "mini", "--reassociation", "--gap", "20"]
    assert evaluate(list(map(str, given))) == 0
    assert json.loads(Path("runs/evaluation/metrics.json").read_text())["scores"][0]["valid queries"] == 12
    refused(evaluate, ["--data", "store"], "share the query's camera", capsys)  # a video is a camera


def test_search_finds_the_person_and_escapes_names(source, scratch, capsys):
    picture("<b>&'.jpg", 3, 77)
    assert search(["<b>&'.jpg", "--gallery", str(source / "f.npz"), "--ckpt", str(source / "mini"), "--top", "3",
                   "--out", "page.html"]) == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert shown.splitlines()[2].split()[0] == "1" and "0003_c" in shown.splitlines()[2]
    page = Path("page.html").read_text()
    assert "&lt;b&gt;&amp;&#x27;.jpg" in page and "<b>" not in page and page.count("<img") == 4
    query = source / "data/query/0002_c1s1_000000_00.jpg"
    assert search([str(query), "--gallery", str(source / "data/query"), "--ckpt", str(source / "mini")]) == 0
    assert str(query) not in capsys.readouterr().out.splitlines()[2:]  # the same file is not found by itself


def test_what_exists_is_replaced_only_on_request(source, scratch, capsys):
    given = ["--features", source / "f.npz", "--out", "run", "--worst", "0"]
    assert evaluate(list(map(str, given))) == 0
    refused(evaluate, given, "--overwrite", capsys)
    assert evaluate([*map(str, given), "--resume"]) == 0
    refused(evaluate, [*given, "--resume", "--roc"], "another job .roc false, now true", capsys)
    refused(extract, [source / "data", "--out", source / "f.npz"], "f.npz exists: .*--overwrite", capsys)
    Path("page.html").touch()
    query = source / "data/query/0002_c1s1_000000_00.jpg"
    refused(search, [query, "--gallery", source / "f.npz", "--out", "page.html"], "page.html exists", capsys)


def test_data_of_one_camera_gives_one_line_with_the_way_out(source, scratch, capsys):
    market("one", cameras=(1,))
    words = r"none of 5 queries can be scored: all matches of the 5 .* share the query's camera: .* --same_camera keep"
    given = ["--ckpt", source / "mini", "--data", "one"]
    refused(evaluate, given, words, capsys)
    assert not Path("runs").exists()
    assert evaluate([*map(str, given), "--same_camera", "keep"]) == 0


def stored(file, **arrays):
    draw = np.random.default_rng(0)
    whole = {"features": draw.standard_normal((6, 4)).astype(np.float32), "pid": np.array([1, 1, 2, 2, 3, 3])}
    whole |= {"camera": np.array([1, 2] * 3), "query": np.array([True, False] * 3)}
    np.savez(file, **{name: value for name, value in (whole | arrays).items() if value is not None})


def test_features_that_do_not_fit_are_named(source, scratch, capsys):
    given = ["--features", "f.npz", "--out", "run"]
    values = np.ones((6, 4), np.float32)
    values[4, 1] = np.nan
    for arrays, words in (
        ({"features": values}, "1 of 6 features hold NaN or infinite values .the first is row 4"),
        ({"features": None}, "f.npz has no array 'features'"),
        ({"pid": np.arange(5)}, r"f.npz: 'pid' has the shape \(5,\)"),
        ({"camera": None}, "6 of 6 pictures have no camera in their names .the first is row 0.*--same_camera keep"),
        ({"pid": None}, "have no person"),
        ({"pid": np.arange(6)}, "no picture of the gallery has the person of any query"),
        ({"query": np.ones(6, bool)}, "no picture in the gallery"),
    ):
        stored("f.npz", **arrays)
        refused(evaluate, given, words, capsys)
    stored("f.npz")
    refused(evaluate, [*given, "--reassociation"], "needs the frame of every picture", capsys)
    refused(evaluate, [*given, "--ckpt", "x"], "leave out --ckpt and --data", capsys)
    refused(evaluate, [*given, "--max_rank", "0"], "at least 1", capsys)
    refused(search, [source / "data/query", "--gallery", "f.npz"], "no array 'path'", capsys)
    stored("f.npz", path=np.array(list("abcdef")), model=np.array("other"))
    query = ["--ckpt", source / "mini", "--gallery", "f.npz"]
    refused(search, [source / "data/query", *query], "features are of another model", capsys)
    assert evaluate(given) == 0  # a gallery of three, and no pictures at its paths
    assert len(json.loads(Path("run/metrics.json").read_text())["scores"][0]["cmc"]) == 50


@pytest.mark.parametrize("name", ["query/0009.jpg", "query/0009_x1.jpg"])
def test_a_query_without_a_camera_in_its_name_is_named(source, scratch, capsys, name):
    market("data", persons=1)
    picture(f"data/{name}", 1)
    refused(evaluate, ["--data", "data"], f"{Path(name).name} has no person and camera in its name", capsys)


def test_own_folders_are_evaluated_where_cameras_are_known(source, scratch, capsys):
    for person in ("anna", "bert"):
        for camera in (1, 2):
            for number in range(2):
                picture(f"own/{person}/{number}_c{camera}.jpg", len(person) + camera)
    picture("own/once/1_c1.jpg", 3)
    given = ["--data", "own", "--ckpt", source / "mini"]
    assert evaluate([*map(str, given), "--out", "a"]) == 0
    assert json.loads(Path("a/metrics.json").read_text())["scores"][0]["valid queries"] == 4
    picture("own/anna/loose.jpg", 1)
    refused(evaluate, [*given, "--out", "b"], "1 of 10 pictures have no camera .*loose.jpg", capsys)
    picture("text.jpg", 1)
    Path("own/anna/loose.jpg").write_text("text")
    words = "loose.jpg cannot be read as a picture"
    refused(evaluate, [*given, "--out", "b", "--same_camera", "keep"], words, capsys)
    Path("own/anna/loose.jpg").write_bytes(b"")
    refused(evaluate, [*given, "--out", "c", "--same_camera", "keep"], "loose.jpg is empty", capsys)


def test_what_is_not_there_is_named(source, scratch, capsys):
    Path("empty").mkdir()
    for command, arguments, words in (
        (evaluate, ["--data", "absent"], "absent not found"),
        (evaluate, ["--data", "empty"], "empty holds no data set: expected bounding_box_train"),
        (extract, ["empty"], "empty holds no picture"),
        (extract, ["absent"], "absent not found"),
        (extract, [source / "data", "--limit", "0"], "--limit must be at least 1"),
        (search, ["absent.jpg", "--gallery", source / "data"], "absent.jpg not found"),
        (search, [source / "data/query", "--gallery", "empty"], "empty holds no picture"),
        (search, [source / "data/query", "--gallery", source / "data", "--top", "0"], "--top must be at least 1"),
    ):
        refused(command, arguments, words, capsys)
