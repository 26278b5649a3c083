"""Frames in and out."""

import functools
import http.server
import threading

import av
import cv2
import numpy as np
import pytest

from mot_occlusion.io import video
from shared_utils import UserError

SIZE = (48, 64)


def picture(number):
    """A frame whose grey level tells its number."""
    return np.full((*SIZE, 3), 10 * number, np.uint8)


def make_video(path, frames=12, rate=10.0, size=SIZE):
    writer = video.VideoWriter(path, size, rate)
    for number in range(frames):
        writer.write(np.full((*size, 3), 10 * number % 250, np.uint8))
    writer.close()
    return path


def numbers(source):
    return [None if image is None else round(float(image.mean()) / 10) for image in source.frames()]


def test_a_video_comes_back_as_it_was_written(tmp_path):
    source = video.open_source(make_video(tmp_path / "a.mp4"))
    assert (source.name, source.size, source.frame_rate, source.live) == ("a", SIZE, 10.0, False)
    assert numbers(source) == list(range(12))
    assert numbers(source) == list(range(12))  # it can be read again


def test_odd_sides_and_odd_rates(tmp_path):
    source = video.open_source(make_video(tmp_path / "a.mp4", size=(47, 63), rate=29.97))
    assert source.size == (46, 62) and source.frame_rate == pytest.approx(29.97, abs=0.01)


def test_a_video_is_there_when_it_is_whole(tmp_path):
    writer = video.VideoWriter(tmp_path / "a.mp4", SIZE, 10)
    for number in range(30):
        writer.write(picture(number % 20))
    assert [path.name for path in tmp_path.iterdir()] == [".a.mp4.tmp"]
    with av.open(str(tmp_path / ".a.mp4.tmp")) as container:  # what a kill would leave plays
        assert sum(1 for _ in container.decode(video=0)) >= 10
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_images_in_natural_order_with_any_names(tmp_path):
    for number in (1, 2, 10, 11):
        cv2.imwrite(str(tmp_path / f"frame {number}.png"), picture(number))
    (tmp_path / "notes.txt").write_text("no image")
    source = video.open_source(tmp_path, frame_rate=7)
    assert numbers(source) == [1, 2, 10, 11] and (source.length, source.frame_rate) == (4, 7)


def test_images_are_rgb(tmp_path):
    image = np.zeros((*SIZE, 3), np.uint8)
    image[..., 0] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    assert next(video.open_source(tmp_path).frames()).reshape(-1, 3).mean(0).tolist() == [255, 0, 0]


def test_an_unreadable_image_is_a_frame_without_picture(tmp_path):
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture(number))
    (tmp_path / "2.png").write_bytes(b"broken")
    (tmp_path / "4.png").write_bytes(b"")
    assert numbers(video.open_source(tmp_path)) == [1, None, 3, None]


def test_a_sequence_tells_its_rate_and_length(tmp_path):
    folder = tmp_path / "MOT17-99"
    (folder / "img1").mkdir(parents=True)
    for number in (1, 2):
        cv2.imwrite(str(folder / "img1" / f"{number:06d}.jpg"), picture(number))
    info = "[Sequence]\nname=MOT17-99\nframeRate=14\nseqLength={}\nimWidth=64\nimHeight=48\n"
    (folder / "seqinfo.ini").write_text(info.format(2))
    source = video.open_source(folder)
    assert (source.name, source.frame_rate, source.length) == ("MOT17-99", 14, 2)
    (folder / "seqinfo.ini").write_text(info.format(5))
    with pytest.raises(UserError, match="says 5 frames, but .* has 2 images: mend seqLength or the folder"):
        video.open_source(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "none.mp4", "none.mp4 not found: give a video"),
        (lambda path: path, "no images in"),
        (lambda path: (path / "a.mp4").write_bytes(b"no video") and path / "a.mp4", "a.mp4 cannot be read as a video"),
        (lambda path: (path / "a.jpg").write_bytes(b"no") and path, "none of the 1 images in"),
    ],
)
def test_sources_that_are_none_are_named(tmp_path, make, message):
    with pytest.raises(UserError) as error:
        video.open_source(make(tmp_path))
    assert message in str(error.value)


def test_a_truncated_video_is_read_as_far_as_it_goes(tmp_path):
    path = make_video(tmp_path / "a.mp4", frames=100)
    path.write_bytes(path.read_bytes()[:-1000])
    read = [image for image in video.open_source(path).frames() if image is not None]
    assert 10 <= len(read) <= 100


@pytest.fixture
def server(tmp_path):
    """Serves a folder over HTTP; the list it returns counts the requests, and can make the server refuse."""
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
    with av.open(str(tmp_path / "live.ts"), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg4", 10)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(12):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())
    source = video.open_source(f"{address}/live.ts", reconnect=2, pause=0.01)
    assert source.live and source.size == SIZE and source.length is None
    seen = numbers(source)
    # Sent once, sent again after the first stop, then refused: it ends, and does not raise.
    assert len(seen) == 24 and seen[:12] == seen[12:] and len(requests) >= 3


def test_a_stream_that_is_not_there_is_named_without_its_password():
    with pytest.raises(UserError) as error:
        video.open_source("http://user:secret@127.0.0.1:9/none", reconnect=0)
    assert "cannot be opened" in str(error.value) and "secret" not in str(error.value)


def test_a_camera_that_is_not_there_is_named():
    with pytest.raises(UserError, match="camera 97 cannot be opened"):
        video.open_source("97")
