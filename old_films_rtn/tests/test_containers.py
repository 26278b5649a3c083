"""What the kinds of files ask for: refused before the work where they cannot hold a film, written as players expect them."""

import logging
from fractions import Fraction

import av
import films
import numpy as np
import pytest

from old_films_rtn.commands import restore
from old_films_rtn.inference import outlook, pipeline
from old_films_rtn.inference.kept import KeptFilm
from old_films_rtn.video import io
from old_films_rtn.video.io import open_film, open_output
from old_films_rtn.video.shots import Shots
from shared_utils import UserError


def first(path):
    return next(open_film(path).frames())


def copy(source, target, **options):
    film = open_film(source)
    with open_output(target, film, **options) as writer:
        for frame in film.frames():
            writer.write(frame)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return films.write_video(tmp_path_factory.mktemp("source") / "a.mp4", films.moving(6))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("b.mp4", {"codec": "h265x"}, "no encoder of that name"),
        ("b.mp4", {"codec": "prores_ks"}, "prores_ks does not fit into b.mp4: write a .mkv"),
        ("b.mkv", {"codec": "png"}, "png does not fit into b.mkv: write a .mov"),
        ("b.ts", {"codec": "ffv1"}, "ffv1 does not fit into b.ts"),
        ("b.webm", {}, "sound of the kind aac does not fit into b.webm"),
        ("b.mp4", {"codec": "mpeg2video"}, "b.mp4 cannot be written with mpeg2video"),
        ("file/b.mp4", {}, "file is a file where a folder is needed"),
        ("file/b", {}, "file is a file where a folder is needed"),
    ],
)
def test_what_cannot_be_written_is_refused_by_one_frame_and_leaves_nothing(tmp_path, source, name, options, said):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=said):
        io.rehearse(tmp_path / name, open_film(source), first(source), **options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["b.mp4", "b.mov", "b.mkv", "b.ts", "b.avi", "b"])
def test_what_can_be_written_is_rehearsed_without_a_trace(tmp_path, source, name):
    io.rehearse(tmp_path / name, open_film(source), first(source))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "b.mp4", "--codec", "h265x"], "no encoder"),
        (["--out", "b.webm"], "aac does not fit"),
        (["--out", "b.mp4", "--masks", "file/m.mkv"], "file is a file"),
        (["--out", "b.mp4", "--side-by-side", "file/s"], "file is a file"),
        (["--out", "b.mp4", "--report", "file/r.csv"], "file is a file"),
    ],
)
def test_the_verb_refuses_before_a_frame_is_looked_at(tmp_path, source, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(pipeline, "KeptFilm", None)  # the first thing that reads the film
    assert restore.main([str(source), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_transport_stream_keeps_sound_and_picture_together(tmp_path, source):
    copy(source, tmp_path / "b.ts")
    before, after = films.describe(source), films.describe(tmp_path / "b.ts")
    assert after["frames"] == 6 and after["tags"] == before["tags"]
    shift = after["moments"][0] - before["moments"][0]
    assert np.allclose(np.subtract(after["moments"], before["moments"]), shift, atol=1e-3)
    with av.open(str(source)) as one, av.open(str(tmp_path / "b.ts")) as other:
        sounds = [
            [float(p.pts * p.time_base) for p in each.demux(audio=0) if p.pts is not None] for each in (one, other)
        ]
    assert len(sounds[0]) == len(sounds[1]) and abs(sounds[1][0] - sounds[0][0] - shift) < 2e-3


@pytest.mark.parametrize(("name", "tag"), [("b.mp4", "hvc1"), ("b.mov", "hvc1"), ("b.mkv", None)])
def test_hevc_has_the_name_that_players_open_and_its_encoder_keeps_silent(tmp_path, source, name, tag, capfd):
    copy(source, tmp_path / name, codec="libx265")
    with av.open(str(tmp_path / name)) as container:
        found = container.streams.video[0].codec_context
        assert found.name == "hevc" and (tag is None or found.codec_tag == tag)
    assert not capfd.readouterr().err


def write_interlaced(path, count=8):
    """A texture that moves two pixels a field, upper field first."""
    base = films.texture(0, 48, 64 + 4 * count)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "interlaced=1:tff=1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(count):
            picture = base[:, 4 * index : 4 * index + 64].copy()
            picture[1::2] = base[1::2, 4 * index + 2 : 4 * index + 66]
            frame = av.VideoFrame.from_ndarray(picture, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def combing(pictures):
    lines = np.stack(list(pictures)).astype(float)
    return np.abs(lines[:, 1:-1] - (lines[:, :-2] + lines[:, 2:]) / 2).mean()


def test_interlaced_pictures_are_deinterlaced_and_the_copy_says_that_it_is_not(tmp_path, caplog):
    path = write_interlaced(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        raw = [(picture.pts, picture.to_ndarray(format="gray")) for picture in container.decode(video=0)]
    film = open_film(path)
    with caplog.at_level(logging.WARNING):
        frames = list(film.frames())
    assert film.interlaced and caplog.text.count("is interlaced") == 1
    assert [frame.pts for frame in frames] == [pts for pts, _ in raw]
    assert combing(frame.luma for frame in frames) < 0.4 * combing(picture for _, picture in raw)
    copy(path, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert not any(picture.interlaced_frame for picture in container.decode(video=0))
    plain = open_film(tmp_path / "b.mp4")
    assert len(list(plain.frames())) == 8 and not plain.interlaced


def test_room_on_the_disk_is_reckoned_before_the_work(tmp_path, source, monkeypatch, capsys):
    shots = Shots(length=1000, starts=[0, 100], repeats=list(range(1000)))
    size, chunk = (720, 1280), 40
    pixels = size[0] * size[1]
    streamed = outlook.disk_bytes(shots, size, 1, chunk, 10, 2)
    assert 1000 * pixels < streamed < 4000 * pixels
    assert (
        outlook.disk_bytes(shots, size, 1, chunk, None, 2) - streamed > 900 * 16 * pixels
    )  # flows of the longest shot
    again = outlook.disk_bytes(shots, size, 1, chunk, None, 2, flows_kept=False) - streamed
    assert 0 < again < 30 * 64 * pixels  # the states at the beginnings of 23 chunks
    assert outlook.disk_bytes(shots, size, 2, chunk, 10, 2) == pytest.approx(2 * streamed)
    monkeypatch.setattr(outlook.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2_000_000_000}))
    with pytest.raises(UserError, match=r"2 GB free.*up to 3 GB.*--lookahead 40.*1 GB"):
        outlook.check_disk(tmp_path, 3_000_000_000, 1_000_000_000)
    outlook.check_disk(tmp_path, 1_900_000_000, 1)
    # The verb stops after the shots are known, and keeps nothing but what it has found.
    monkeypatch.setattr(outlook.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    monkeypatch.setattr(KeptFilm, "process", None)
    assert restore.main([str(source), "--out", str(tmp_path / "b.mp4")]) == 2
    assert "make room" in capsys.readouterr().err


def test_the_time_of_a_long_film_is_estimated_before_the_work_and_changes_nothing(tmp_path, monkeypatch, capsys):
    model = films.write_model(tmp_path / "rtn.safetensors")
    films.write_folder(tmp_path / "in", [*films.moving(5), *films.moving(3, 9)])
    options = [str(tmp_path / "in"), "--ckpt", str(model)]
    assert restore.main([*options, "--out", str(tmp_path / "short")]) == 0
    assert "of work, as" not in capsys.readouterr().err
    monkeypatch.setattr(pipeline, "LONG", 8)
    assert restore.main([*options, "--out", str(tmp_path / "long")]) == 0
    assert "about 1 min of work, as 3 frames say" in capsys.readouterr().err
    for one, other in zip(open_film(tmp_path / "short").frames(), open_film(tmp_path / "long").frames(), strict=True):
        assert np.array_equal(one.luma, other.luma)


def test_a_preview_is_one_picture_of_before_after_and_the_map(tmp_path, capsys):
    model = films.write_model(tmp_path / "rtn.safetensors")
    source = films.write_folder(tmp_path / "in", [*films.moving(4), *films.moving(3, 9)])
    options = [str(source), "--ckpt", str(model)]
    assert restore.main([*options, "--preview", "5", "--out", str(tmp_path / "p.png")]) == 0
    assert restore.main([*options, "--out", str(tmp_path / "out"), "--masks", str(tmp_path / "masks")]) == 0
    shown = first(tmp_path / "p.png").luma
    assert shown.shape == (48, 3 * 64 + 8)
    for column, name in ((0, "in"), (68, "out"), (136, "masks")):
        expected = first(tmp_path / name / "6.png").luma
        assert np.abs(shown[:, column : column + 64].astype(int) - expected).max() <= 1  # its shot alone was looked at
    for arguments, said in (
        (["--preview", "7", "--out", str(tmp_path / "q.png")], "no frame 7"),
        (["--preview", "1", "--out", str(tmp_path / "p.png")], "exists"),
        (["--preview", "1", "--out", str(tmp_path / "q.mp4")], "one image"),
        (["--preview", "-1"], "at least 0"),
    ):
        capsys.readouterr()
        assert restore.main([*options, *arguments]) == 2
        assert said in capsys.readouterr().err
    assert restore.main([*options, "--preview", "1"]) == 0 and (tmp_path / "in_preview_1.png").is_file()
