"""Frames and sound in, frames out. All videos are made here."""

import functools
import http.server
import itertools
import logging
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from shared_utils import UserError
from shared_utils.video import Writer, compressed, decoding, natural_order, open_source, read_sound

SIZE = (48, 64)
UPRIGHT = (1, 0, 0, 1)
PORTRAIT = (0, 1, -1, 0)  # a phone held upright: its picture is turned by 90 degrees clockwise


def picture(number, size=SIZE):
    """A frame whose grey level is its number."""
    return np.full((*size, 3), 10 * number % 250, np.uint8)


def written(path, frames=12, rate=10.0, size=SIZE):
    with Writer(path, size, rate) as writer:
        for number in range(frames):
            writer.write(picture(number, size))
    return path


def encoded(
    path, frames=12, codec="libx264", kind=None, matrix=UPRIGHT, images=None, sound=None, shift=0.0, options=None
):
    """A video by PyAV alone, as another program would write it; ``sound`` (samples at 48 kHz) begins at ``shift``."""
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, 10, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        if matrix != UPRIGHT:
            a, b, c, d = (65536 * value for value in matrix)
            stream.set_display_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
        if sound is not None:
            track = container.add_stream("aac", 48000, layout="stereo")
        for number in range(frames):
            image = picture(number) if images is None else images[number]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(np.stack([sound, sound]).astype(np.float32), "fltp", "stereo")
            frame.sample_rate, frame.pts = 48000, round(48000 * shift)
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return path


def numbers(source):
    return [None if frame.image is None else round(float(frame.image.mean()) / 10) for frame in source.frames()]


def times(source):
    return [round(frame.time, 3) for frame in source.frames()]


def damage(path, *which, kind="video"):
    """Overwrite the content of these packets, counted as they are shown, and nothing of the container."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(**{kind: 0}) if packet.size]
        packets = [bytes(packet) for packet in sorted(packets, key=lambda packet: packet.pts)]
    content = path.read_bytes()
    for number, packet in enumerate(packets):
        if number in which:
            found = content.index(packet)
            content = content[:found] + b"\xff" * len(packet) + content[found + len(packet) :]
    path.write_bytes(content)
    return path


# Files ---------------------------------------------------------------------------------------------------------------


def test_a_video_comes_back_as_it_was_written(tmp_path):
    source = open_source(written(tmp_path / "a.mp4"))
    assert (source.name, source.size, source.frame_rate, source.live) == ("a", SIZE, 10.0, False)
    assert numbers(source) == list(range(12))
    assert numbers(source) == list(range(12))  # it can be read again
    assert times(source) == [round(number / 10, 3) for number in range(12)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx"), ("b.webm", "libvpx-vp9"), ("a.avi", "mpeg4")],
)
def test_frames_come_in_the_order_in_which_they_are_shown(tmp_path, name, codec):
    source = open_source(encoded(tmp_path / name, frames=24, codec=codec))
    assert numbers(source) == list(range(24)) and source.unreadable == 0
    assert times(source) == sorted(times(source))


def test_a_hidden_reference_picture_of_vp8_is_no_frame():
    vp8 = SimpleNamespace(codec_context=SimpleNamespace(name="vp8"))
    # The fifth bit of a VP8 frame is show_frame (RFC 6386, section 9.1).
    assert decoding._is_shown(b"\x10\x02\x00", vp8) and not decoding._is_shown(b"\x01\x02\x00", vp8)


def test_the_frame_rate_may_be_given_and_then_makes_the_times(tmp_path):
    source = open_source(written(tmp_path / "a.mp4"), frame_rate=5, start=1.0)
    assert source.frame_rate == 5 and times(source)[:2] == [1.0, 1.2]


def test_a_varying_frame_rate_keeps_its_times(tmp_path):
    given = [0.0, 0.1, 0.15, 0.9, 2.5, 2.5001]
    with Writer(tmp_path / "a.mp4", SIZE, 29.97) as writer:
        for number, at in enumerate(given):
            writer.write(picture(number), at)
    source = open_source(tmp_path / "a.mp4")
    assert [frame.time for frame in source.frames()] == pytest.approx(given, abs=1e-4)
    assert numbers(source) == list(range(6))


@pytest.mark.parametrize("matrix", [UPRIGHT, PORTRAIT, (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (0, 1, 1, 0)])
def test_a_picture_comes_upright(tmp_path, matrix):
    a, b, c, d = matrix
    stored = np.zeros((*SIZE, 3), np.uint8)
    stored[:24, :32], stored[:24, 32:], stored[24:, :32] = 80, 160, 240  # each quarter has its grey
    path = encoded(tmp_path / "a.mp4", 3, matrix=matrix, images=[stored] * 3, options={"crf": "1"})
    source = open_source(path)
    image = next(source.frames()).image
    assert image.shape[:2] == source.size == (SIZE if a else SIZE[::-1])
    # The matrix by its definition: a pixel (x, y), counted from the centre, is shown at (a x + c y, b x + d y).
    for x, y in itertools.product((-16, 16), (-12, 12)):
        shown = image[b * x + d * y + image.shape[0] // 2, a * x + c * y + image.shape[1] // 2, 0]
        assert abs(int(shown) - int(stored[y + 24, x + 32, 0])) < 20


def test_a_portrait_video_of_a_phone_is_turned_clockwise(tmp_path):
    stored = np.zeros((*SIZE, 3), np.uint8)
    stored[:, :32] = 200  # the left of the sensor is the top of the picture
    source = open_source(encoded(tmp_path / "a.mov", 2, matrix=PORTRAIT, images=[stored] * 2))
    image = next(source.frames()).image
    assert source.rotation == 90 and source.size == (64, 48)
    assert image[:24].mean() > 180 and image[40:].mean() < 20


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize("bad", [(30,), (97,), (20, 21, 60)])
def test_frames_that_cannot_be_decoded_keep_the_numbers_of_the_others(tmp_path, kind, bad, caplog):
    # Key frames only: what is damaged is damaged alone. Near the end, too, where decoders hold frames back.
    images = list(np.random.default_rng(0).integers(0, 255, (99, *SIZE, 3), np.uint8))
    clean = encoded(tmp_path / f"clean.{kind}", 99, images=images, options={"g": "1", "tune": "zerolatency"})
    path = tmp_path / f"a.{kind}"
    path.write_bytes(clean.read_bytes())
    source = open_source(damage(path, *bad))
    frames = list(source.frames())
    assert len(frames) == 99 and source.unreadable == len(bad)
    for frame, good in zip(frames, open_source(clean).frames(), strict=True):
        assert (frame.index, frame.time) == (good.index, good.time)
        assert frame.image is None if frame.index in bad else np.array_equal(frame.image, good.image)
    assert f"frame {bad[0]} " in caplog.text and "cannot be decoded" in caplog.text


def test_a_damaged_key_frame_costs_the_frames_that_need_it_and_no_number(tmp_path):
    path = damage(encoded(tmp_path / "a.mp4", 60, options={"g": "20", "bf": "2"}), 20)
    source = open_source(path)
    frames = list(source.frames())
    assert [frame.index for frame in frames] == list(range(60)) and 1 <= source.unreadable <= 20
    assert [round(frame.time, 3) for frame in frames] == [number / 10 for number in range(60)]
    for frame in frames[:18] + frames[40:]:
        assert round(float(frame.image.mean()) / 10) == frame.index % 25


def test_a_truncated_video_is_read_as_far_as_it_goes(tmp_path, caplog):
    path = written(tmp_path / "a.mp4", frames=100)
    path.write_bytes(path.read_bytes()[:-1000])
    read = [frame.image for frame in open_source(path).frames() if frame.image is not None]
    assert 10 <= len(read) <= 100


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
@pytest.mark.parametrize("start", [0.05, 1.0, 3.7, 5.85])
def test_a_part_of_a_video(tmp_path, name, start):
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = encoded(tmp_path / name, 60, codec, options={"g": "25", "bf": "2" if codec == "libx264" else "0"})
    whole = [(frame.time, frame.image) for frame in open_source(path).frames()]
    stop = start + 1.2
    source = open_source(path, start=start, stop=stop)
    part = list(source.frames())
    expected = [(at, image) for at, image in whole if start - 1e-3 <= at < stop - 1e-3]
    assert [frame.index for frame in part] == list(range(len(expected))) and source.length is None
    assert [frame.time for frame in part] == pytest.approx([at for at, _ in expected], abs=1e-6)
    for frame, (_, image) in zip(part, expected, strict=True):
        assert np.array_equal(frame.image, image)


def test_a_part_after_the_end_is_empty(tmp_path):
    assert list(open_source(written(tmp_path / "a.mp4"), start=50).frames()) == []


def test_memory_does_not_grow_with_the_length(tmp_path):
    path = written(tmp_path / "a.mp4", frames=250, size=(480, 640))  # 230 MB of frames
    list(itertools.islice(open_source(path).frames(), 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in open_source(path).frames()) == 250
    unit = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit < 100e6


# Folders -------------------------------------------------------------------------------------------------------------


def save(path, image):
    Image.fromarray(image).save(path)


def test_images_in_natural_order_with_any_names(tmp_path):
    for number in (1, 2, 10, 11):
        save(tmp_path / f"frame {number}.png", picture(number))
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(tmp_path, frame_rate=7)
    assert numbers(source) == [1, 2, 10, 11] and (source.length, source.frame_rate) == (4, 7)
    assert [frame.time for frame in source.frames()] == [number / 7 for number in range(4)]
    assert sorted([Path("b10"), Path("B2"), Path("a")], key=natural_order) == [Path("a"), Path("B2"), Path("b10")]


def test_images_are_rgb_and_upright(tmp_path):
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    source = open_source(tmp_path)
    shown = next(source.frames()).image
    assert shown.shape[:2] == source.size == (64, 48) and shown.reshape(-1, 3).mean(0).tolist() == [255, 0, 0]


def test_grey_images_of_16_bits(tmp_path):
    Image.fromarray(np.full(SIZE, 200 * 256 + 7, np.uint16)).save(tmp_path / "a.png")
    save(tmp_path / "b.png", np.full(SIZE, 77, np.uint8))
    assert [frame.image.mean() for frame in open_source(tmp_path).frames()] == [200, 77]


def test_an_unreadable_image_is_a_frame_without_picture(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path / f"{number}.png", picture(number))
    (tmp_path / "2.png").write_bytes(b"broken")
    (tmp_path / "4.png").write_bytes(b"")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "5.png").write_bytes(whole[: len(whole) // 2])
    source = open_source(tmp_path)
    assert numbers(source) == [1, None, 3, None, None] and source.unreadable == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "none.mp4", "none.mp4 not found: give a video"),
        (lambda path: path, "no images in"),
        (lambda path: (path / "a.mp4").write_bytes(b"no video") and path / "a.mp4", "a.mp4 cannot be read as a video"),
        (lambda path: (path / "a.jpg").write_bytes(b"no") and path, "none of the 1 images in"),
        (lambda path: damage(encoded(path / "a.mkv", 3, options={"g": "1"}), 0, 1, 2), "none of its frames can be"),
    ],
)
def test_sources_that_are_none_are_named(tmp_path, make, message):
    with pytest.raises(UserError) as error:
        open_source(make(tmp_path))
    assert message in str(error.value)


@pytest.mark.parametrize("arguments", [{"frame_rate": 0}, {"start": -1}, {"start": 2, "stop": 2}])
def test_impossible_rates_and_times_are_refused(tmp_path, arguments):
    save(tmp_path / "a.png", picture(1))
    with pytest.raises(UserError):
        open_source(tmp_path, **arguments)


# Streams and cameras -------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """Serves a folder over HTTP; the list it returns counts the requests, and the third and later ones are refused."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            if len(requests) > 2:
                self.send_error(503)
            else:
                super().do_GET()

        def log_message(self, *arguments):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_address[1]}", requests
    made.shutdown()


def test_a_stream_that_stops_is_opened_again_and_then_ends(tmp_path, server):
    address, requests = server
    encoded(tmp_path / "live.ts", 12, "mpeg4", kind="mpegts")
    source = open_source(f"{address}/live.ts", reconnect=2, pause=0.01)
    assert source.live and source.size == SIZE and source.length is None
    frames = list(source.frames())
    seen = [round(float(frame.image.mean()) / 10) for frame in frames]
    # Sent once, sent again after the first stop, then refused: it ends, and does not raise.
    assert len(seen) == 24 and seen[:12] == seen[12:] and len(requests) >= 3
    at = [frame.time for frame in frames]
    assert at[0] == 0 and at == sorted(at) and at[12] > at[11]


def test_a_stream_may_be_stopped(tmp_path, server):
    encoded(tmp_path / "live.ts", 12, "mpeg4", kind="mpegts")
    assert len(list(open_source(f"{server[0]}/live.ts", stop=0.5).frames())) == 5


def test_a_stream_that_is_not_there_is_named_without_its_password(caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError) as error:
        open_source("http://user:secret@127.0.0.1:9/none", reconnect=0)
    assert "cannot be opened" in str(error.value) and "secret" not in str(error.value) + caplog.text


def test_a_camera_that_is_not_there_is_named():
    with pytest.raises(UserError, match="camera 97 cannot be opened"):
        open_source("97")


# Writing -------------------------------------------------------------------------------------------------------------


def test_odd_sides_and_odd_rates(tmp_path):
    source = open_source(written(tmp_path / "a.mp4", size=(47, 63), rate=29.97))
    assert source.size == (46, 62) and source.frame_rate == pytest.approx(29.97, abs=0.01)
    assert open_source(written(tmp_path / "b.mp4", rate=24000 / 1001)).frame_rate == pytest.approx(24000 / 1001)


def test_a_video_is_there_when_it_is_whole(tmp_path):
    with Writer(tmp_path / "new" / "a.mp4", SIZE, 10) as writer:
        for number in range(30):
            writer.write(picture(number))
        assert [path.suffix for path in (tmp_path / "new").iterdir()] == [".tmp"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.mp4"]


def test_an_error_leaves_the_old_video_and_nothing_else(tmp_path):
    path = written(tmp_path / "a.mp4")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), Writer(path, SIZE, 10) as writer:
        writer.write(picture(1))
        raise ZeroDivisionError
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_what_a_kill_leaves_can_be_played(tmp_path):
    code = f"""
import numpy as np
from shared_utils.video import Writer
writer = Writer({str(tmp_path / "a.mp4")!r}, {SIZE}, 10)
for number in range(35):
    writer.write(np.full(({SIZE[0]}, {SIZE[1]}, 3), number, np.uint8))
print("written", flush=True)
import time; time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGKILL)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.mp4.")
    assert len(list(open_source(left).frames())) >= 20
    written(tmp_path / "a.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_frames_that_do_not_fit_are_refused(tmp_path):
    with Writer(tmp_path / "a.mp4", SIZE, 10) as writer:
        writer.write(picture(0), 1.0)
        with pytest.raises(ValueError, match="a frame of"):
            writer.write(picture(0, (10, 10)))
        with pytest.raises(ValueError, match="does not come after"):
            writer.write(picture(0), 1.0)
        writer.write(picture(1))
    assert times(open_source(tmp_path / "a.mp4"))[-1] == pytest.approx(times(open_source(tmp_path / "a.mp4"))[0] + 0.1)
    with pytest.raises(ValueError, match="sides of 2 pixels"):
        Writer(tmp_path / "b.mp4", (1, 64), 10)


# Sound ---------------------------------------------------------------------------------------------------------------


def click(at, seconds=2.0):
    sound = np.zeros(round(48000 * seconds))
    sound[round(48000 * at) : round(48000 * at) + 10] = 0.9
    return sound


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize("rate", [None, 16000])
def test_a_click_in_the_sound_is_at_its_frame(tmp_path, name, rate):
    # Frame 5 is white and comes at 0.5 s, as the click does. A transport stream does not say how long the run-up of the
    # codec is, but its clock counts it: there, everything begins later.
    images = [np.full((*SIZE, 3), 255 * (number == 5), np.uint8) for number in range(20)]
    path = encoded(tmp_path / name, 20, images=images, sound=click(0.5))
    samples, found, begin = read_sound(path, rate)
    assert samples.dtype == np.float32 and samples.ndim == 1 and found == (rate or 48000)
    heard = begin + int(np.abs(samples).argmax()) / found
    seen = next(frame.time for frame in open_source(path).frames() if frame.image.mean() > 128)
    assert heard == pytest.approx(seen, abs=2e-3)


def test_sound_that_begins_later_than_the_picture_says_so(tmp_path):
    path = encoded(tmp_path / "a.mkv", 30, sound=click(0.5), shift=0.8)
    samples, rate, begin = read_sound(path)
    assert begin + int(np.abs(samples).argmax()) / rate == pytest.approx(1.3, abs=2e-3) and begin > 0.7


def test_channels_and_a_part_of_the_sound(tmp_path):
    path = encoded(tmp_path / "a.mp4", 20, sound=click(1.5))
    both, rate, _ = read_sound(path, mono=False)
    assert both.shape[1] == 2 and rate == 48000
    part, rate, begin = read_sound(path, rate=8000, start=1.2, stop=1.8)
    assert begin == pytest.approx(1.2, abs=1e-4) and len(part) == pytest.approx(0.6 * 8000, abs=1)
    assert begin + int(np.abs(part).argmax()) / rate == pytest.approx(1.5, abs=2e-3)


def test_sound_that_cannot_be_decoded_is_silence_and_moves_nothing(tmp_path, caplog):
    noise = 0.1 * np.random.default_rng(0).normal(size=96000)
    path = damage(encoded(tmp_path / "a.mkv", 20, sound=noise + click(1.5)), *range(20, 30), kind="audio")
    samples, rate, begin = read_sound(path)
    assert begin + int(np.abs(samples[30000:]).argmax() + 30000) / rate == pytest.approx(1.5, abs=2e-3)
    assert len(samples) / rate == pytest.approx(2.0, abs=0.03)
    assert np.abs(samples[22 * 1024 : 27 * 1024]).max() == 0
    assert "of the sound of" in caplog.text


def test_samples_of_whole_numbers_are_scaled(tmp_path):
    for codec, depth in (("pcm_s16le", np.int16), ("pcm_u8", np.uint8)):
        with av.open(str(tmp_path / "a.wav"), "w") as container:
            stream = container.add_stream(codec, 8000, layout="mono")
            values = np.array([[0, 16384, -16384] * 100], np.int16)
            if depth is np.uint8:
                values = (values // 256 + 128).astype(np.uint8)
            frame = av.AudioFrame.from_ndarray(values, "s16" if depth is np.int16 else "u8", "mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        samples, rate, begin = read_sound(tmp_path / "a.wav")
        assert (rate, begin) == (8000, 0) and samples[:3].tolist() == [0, 0.5, -0.5]


def test_files_without_sound_are_named(tmp_path):
    with pytest.raises(UserError, match="has no sound"):
        read_sound(written(tmp_path / "a.mp4"))
    with pytest.raises(UserError, match="not found"):
        read_sound(tmp_path / "none.wav")


def test_a_display_matrix_that_is_not_a_quarter_turn_goes_to_the_nearest():
    tilted = SimpleNamespace(side_data={"DISPLAYMATRIX": np.int32([60000, 20000, 0, -20000, 60000]).tobytes()})
    assert decoding.display_matrix(tilted) == UPRIGHT


def test_compressed_frames_are_as_many_of_the_same_size_and_worse_with_the_factor():
    y, x = np.mgrid[0:33, 0:47]
    frames = [
        np.stack([(5 * x + 3 * n) % 256, (7 * y) % 256, (x * y + n) % 256], -1).astype(np.uint8) for n in range(7)
    ]
    errors = []
    for factor in (10, 30, 45):
        made = list(compressed(iter(frames), factor, 25))
        assert len(made) == len(frames) and all(image.shape == (33, 47, 3) for image in made)
        errors.append(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, made, strict=True)]))
    nearest = [
        int(np.argmin([np.abs(image.astype(int) - f).mean() for f in frames])) for image in compressed(frames, 1, 25)
    ]
    assert nearest == list(range(7))
    assert errors == sorted(errors) and errors[0] < errors[2]
    assert list(compressed([], 30, 25)) == []


def test_the_same_frames_compress_to_the_same_bits_whatever_memory_holds():
    random = np.random.default_rng(0)
    frames = [np.kron(random.integers(0, 256, (10, 10, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(6)]
    streams = set()
    for _ in range(150):
        streams.add(np.stack(list(compressed(frames, 35, 25))).tobytes())
        dirt = [random.integers(0, 256, size, np.uint8) for size in random.integers(1000, 200_000, 30)]
        del dirt
    assert len(streams) == 1


def test_no_encoder_is_one_line(monkeypatch):
    monkeypatch.setattr("shared_utils.video.compression.av", SimpleNamespace(codecs_available=set()))
    with pytest.raises(UserError, match="no libx264"):
        compressed([], 30, 25)
