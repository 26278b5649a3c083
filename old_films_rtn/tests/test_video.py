"""Films in and out: nothing is lost on the way."""

import logging
from fractions import Fraction
from itertools import islice

import av
import cv2
import films
import numpy as np
import pytest

from old_films_rtn.video.frame import Frame, to_unit
from old_films_rtn.video.images import read_image, write_image
from old_films_rtn.video.io import open_film, open_output
from shared_utils import UserError


def copy(source, target, **options):
    film = open_film(source)
    with open_output(target, film, **options) as writer:
        for frame in film.frames():
            writer.write(frame.with_luma(frame.luma))
    return film


def same_pictures(a, b):
    for one, other in zip(open_film(a).frames(), open_film(b).frames(), strict=True):
        if isinstance(one.image, np.ndarray):
            assert np.array_equal(one.image, other.image)
        else:
            assert np.array_equal(one.image.to_ndarray(), other.image.to_ndarray())


def test_a_copy_of_an_mp4_keeps_time_stamps_aspect_rotation_tags_and_sound(tmp_path):
    stamps = [1000 * i + 400 * (i % 3) for i in range(12)]
    source = films.write_video(tmp_path / "a.mp4", films.moving(12), stamps=stamps, rotation=90)
    copy(source, tmp_path / "b.mp4")
    before, after = films.describe(source), films.describe(tmp_path / "b.mp4")
    assert before == after
    assert after["rotation"] == 90 and after["aspect"] == Fraction(4, 3) and after["tags"] == (1, 6, 6, 6)
    assert films.sound(source) == films.sound(tmp_path / "b.mp4")
    assert films.sound(source)[0] > 20


@pytest.mark.parametrize("pix_fmt", ["yuv422p10le", "gray", "gray16le", "yuv444p16le", "bgr0", "gbrp16le"])
def test_a_lossless_copy_is_exact_in_every_depth(tmp_path, pix_fmt):
    source = films.write_video(tmp_path / "a.mkv", films.moving(4), pix_fmt, "ffv1")
    copy(source, tmp_path / "b.mkv", codec="ffv1")
    same_pictures(source, tmp_path / "b.mkv")
    assert films.describe(source)["depth"] == films.describe(tmp_path / "b.mkv")["depth"]


def test_ten_bits_stay_ten_bits_in_h264(tmp_path):
    source = films.write_video(tmp_path / "a.mkv", films.moving(4), "yuv422p10le", "ffv1")
    copy(source, tmp_path / "b.mp4")
    assert films.describe(tmp_path / "b.mp4")["depth"] == 10


def test_colour_tags_of_the_file_are_kept_where_frames_have_none(tmp_path):
    source = films.write_video(tmp_path / "a.mov", films.moving(3), "yuv422p10le", "prores_ks")
    copy(source, tmp_path / "b.mov", codec="prores_ks")
    assert films.describe(tmp_path / "b.mov")["tags"] == (1, 6, 6, 6)


def test_the_same_frames_give_the_same_file(tmp_path):
    source = films.write_video(tmp_path / "a.mkv", films.moving(5))
    copy(source, tmp_path / "b.mkv")
    copy(source, tmp_path / "c.mkv")
    assert (tmp_path / "b.mkv").read_bytes() == (tmp_path / "c.mkv").read_bytes()


def test_a_part_of_a_film_begins_at_its_beginning_with_its_own_sound(tmp_path):
    source = films.write_video(tmp_path / "a.mp4", films.moving(24))
    film = open_film(source)
    with open_output(tmp_path / "b.mp4", film, part=True) as writer:
        for frame in film.frames():
            if 8 <= frame.index < 20:
                writer.write(frame)
    assert films.describe(tmp_path / "b.mp4")["moments"] == pytest.approx([i / 24 for i in range(12)])
    whole, part = films.sound(source)[0], films.sound(tmp_path / "b.mp4")[0]
    assert abs(part - whole / 2) <= 2


def test_the_first_part_of_a_film_has_the_first_packets_of_its_sound(tmp_path):
    source = films.write_video(tmp_path / "a.mp4", films.moving(24))
    film = open_film(source)
    with open_output(tmp_path / "b.mp4", film, part=True) as writer:
        for frame in islice(film.frames(), 12):
            writer.write(frame)
    packets = films.sound_packets(tmp_path / "b.mp4")
    assert len(packets) > 10 and packets == films.sound_packets(source)[: len(packets)]


def test_luma_alone_is_changed(tmp_path):
    colour = [np.random.default_rng(i).integers(0, 256, (32, 48, 3), dtype=np.uint8) for i in range(2)]
    source = films.write_video(tmp_path / "a.mkv", colour, "yuv420p", "ffv1")
    frame = next(open_film(source).frames())
    planes = [bytes(plane) for plane in frame.image.planes]
    changed = frame.with_luma(255 - frame.luma)
    assert [bytes(plane) for plane in changed.image.planes][1:] == planes[1:]
    assert bytes(changed.image.planes[0]) != planes[0]


def test_luma_of_limited_range_is_black_at_16_and_of_full_range_at_0(tmp_path):
    black = [np.zeros((32, 32), np.uint8)] * 2
    limited = next(open_film(films.write_video(tmp_path / "a.mkv", black, "yuv420p", "ffv1")).frames())
    full = next(open_film(films.write_video(tmp_path / "b.mkv", black, "gray", "ffv1")).frames())
    assert limited.black_white == (16, 235) and full.black_white == (0, 255)
    assert to_unit(limited.luma, limited.black_white).max() == -1 == to_unit(full.luma, full.black_white).max()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(97, 131), (20, 30, 3), (20, 30, 4)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_images_are_read_as_they_were_written(tmp_path, dtype, shape, suffix):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)
    write_image(image, tmp_path / f"a{suffix}")
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), image)


def test_a_tint_and_an_alpha_channel_survive_a_change_of_luma():
    image = np.full((4, 4, 4), (100, 80, 60, 7), np.uint8)
    frame = Frame(0, image, 0)
    changed = frame.with_luma(frame.luma + 10)
    assert np.array_equal(changed.image, np.full((4, 4, 4), (110, 90, 70, 7)))


def test_folders_are_read_in_natural_order_and_other_files_are_skipped(tmp_path):
    folder = films.write_folder(tmp_path / "scans", films.moving(11))
    (folder / "notes.txt").write_text("reel 2")
    (folder / "output.avi").write_bytes(b"left behind")
    assert [frame.name for frame in open_film(folder).frames()] == [f"{i}.png" for i in range(1, 12)]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_folder_keeps_the_names_of_its_frames(tmp_path, suffix):
    source = films.write_folder(tmp_path / "in", films.moving(3), suffix)
    copy(source, tmp_path / "out")
    lossless = ".png" if suffix == ".jpg" else suffix
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [f"{i}{lossless}" for i in (1, 2, 3)]
    same_pictures(source, tmp_path / "out")


def test_what_else_is_in_an_output_folder_stays(tmp_path):
    source = films.write_folder(tmp_path / "in", films.moving(2))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    copy(source, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "diary.txt").read_text() == "mine"
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_of_a_truncated_video_the_frames_that_decode_are_read(tmp_path, suffix):
    path = films.write_video(tmp_path / f"a{suffix}", films.moving(120), sound=False)
    if suffix == ".mp4":  # with the index in front, as cameras and players have it
        film = open_film(path)
        with open_output(tmp_path / "front.mp4", film) as writer:
            for frame in film.frames():
                writer.write(frame)
        path = tmp_path / "front.mp4"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    film = open_film(path)
    count = sum(1 for _ in film.frames())
    assert 20 < count < 110
    assert film.damage


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.mp4", b"", "empty"),
        ("b.mp4", b"not a video at all, whatever its name says", "not a video"),
        ("c.png", b"", "empty"),
    ],
)
def test_files_that_are_no_films_are_named(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}.*{said}"):
        list(open_film(tmp_path / name).frames())


def test_sound_without_a_picture_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        stream.layout = "mono"
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        samples.sample_rate = 44100
        container.mux(stream.encode(samples))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match="no picture"):
        open_film(tmp_path / "a.mp4")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    cv2.imwrite(str(tmp_path / f"7{suffix}"), films.texture(0, 200, 200, blur=0.5))
    data = (tmp_path / f"7{suffix}").read_bytes()
    (tmp_path / f"7{suffix}").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=f"7{suffix} is"):
        read_image(tmp_path / f"7{suffix}")


def test_frames_of_different_sizes_are_named(tmp_path):
    folder = films.write_folder(tmp_path / "in", [films.texture(0), films.texture(1, 48, 66)])
    with pytest.raises(UserError, match=r"1\.png is 64x48, 2\.png is 66x48"):
        list(open_film(folder).frames())


def test_frames_of_different_depths_are_named(tmp_path):
    folder = films.write_folder(tmp_path / "in", [films.texture(0), films.texture(1).astype(np.uint16) * 257])
    with pytest.raises(UserError, match=r"1\.png has 8 bits, 2\.png 16"):
        list(open_film(folder).frames())


def test_outputs_that_would_destroy_something_are_refused(tmp_path):
    source = films.write_folder(tmp_path / "in", films.moving(1))
    film = open_film(source)
    for place, said in (("in/out", "lies in the input"), ("in", "lies in the input"), ("a.xyz", "no known kind")):
        with pytest.raises(UserError, match=said):
            open_output(tmp_path / place, film)
    (tmp_path / "b.mp4").write_bytes(b"x")
    with pytest.raises(UserError, match="--overwrite"):
        open_output(tmp_path / "b.mp4", film)


def test_an_interrupted_writer_leaves_nothing_under_the_final_name(tmp_path):
    source = films.write_video(tmp_path / "a.mp4", films.moving(6))
    film = open_film(source)
    for place in ("b.mp4", "frames"):
        with pytest.raises(RuntimeError, match="power cut"), open_output(tmp_path / place, film) as writer:
            for frame in film.frames():
                writer.write(frame)
                if frame.index == 3:
                    raise RuntimeError("power cut")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_sound_that_does_not_fit_the_container_is_refused(tmp_path):
    source = films.write_video(tmp_path / "a.mkv", films.moving(3))
    with pytest.raises(UserError, match=r"aac.*b\.webm"):
        copy(source, tmp_path / "b.webm", codec="libvpx-vp9")
    with pytest.raises(UserError, match="no encoder"):
        copy(source, tmp_path / "b.mp4", codec="h265x")
    assert [file.name for file in tmp_path.iterdir()] == ["a.mkv"]


def test_odd_sizes_become_a_video(tmp_path):
    source = films.write_folder(tmp_path / "in", films.moving(3, height=97, width=131))
    copy(source, tmp_path / "b.mp4")
    assert films.describe(tmp_path / "b.mp4")["size"] == (131, 97)


def with_subtitles(video, target):
    """A copy of a video with a subtitle track added."""
    text = target.with_suffix(".srt")
    text.write_text("1\n00:00:00,100 --> 00:00:00,900\nThe end\n")
    with av.open(str(video)) as pictures, av.open(str(text)) as lines, av.open(str(target), "w") as container:
        copies = [(source, container.add_stream_from_template(source.streams[0])) for source in (pictures, lines)]
        for source, stream in copies:
            for packet in source.demux(source.streams[0]):
                if packet.size:
                    packet.stream = stream
                    container.mux(packet)
    text.unlink()
    return target


def subtitles(path):
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(subtitles=0) if packet.size]


def test_subtitles_are_copied_and_reported_where_they_do_not_fit(tmp_path, caplog):
    source = with_subtitles(films.write_video(tmp_path / "a.mkv", films.moving(24), sound=False), tmp_path / "s.mkv")
    copy(source, tmp_path / "b.mkv")
    assert subtitles(tmp_path / "b.mkv") == subtitles(source) == [b"The end"]
    with caplog.at_level(logging.WARNING):
        copy(source, tmp_path / "b.avi")
    assert "subtitle" in caplog.text
