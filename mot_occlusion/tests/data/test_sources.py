"""Sources of frames: the sequences of MOTChallenge beside what shared_utils.video reads."""

import cv2
import numpy as np
import pytest

from mot_occlusion.data.sources import frames_of, list_sources, num_bytes, open_source
from shared_utils import UserError, video

SIZE = (48, 64)


def picture(number):
    """A frame whose grey level tells its number."""
    return np.full((*SIZE, 3), 10 * number, np.uint8)


def numbers(source):
    return [None if frame.image is None else round(float(frame.image.mean()) / 10) for frame in source.frames()]


@pytest.fixture
def sequence(tmp_path):
    folder = tmp_path / "data" / "MOT17-99"
    (folder / "img1").mkdir(parents=True)
    for number in (1, 2):
        cv2.imwrite(str(folder / "img1" / f"{number:06d}.jpg"), picture(number))
    describe(folder, 2)
    return folder


def describe(folder, length):
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname=MOT17-99\nframeRate=14\nseqLength={length}\nimWidth=64\nimHeight=48\n"
    )


def test_a_sequence_knows_its_name_rate_and_length(sequence):
    source = open_source(sequence)
    assert (source.name, source.frame_rate, source.length, source.size) == ("MOT17-99", 14, 2, SIZE)
    assert numbers(source) == [1, 2] and open_source(sequence, frame_rate=7).frame_rate == 7


def test_a_sequence_of_another_length_is_named(sequence):
    describe(sequence, 5)
    with pytest.raises(UserError, match="says 5 frames, but .* has 2 images: fix seqLength or the folder"):
        open_source(sequence)


def test_a_sequence_without_its_description_has_the_name_of_its_folder(sequence):
    (sequence / "seqinfo.ini").unlink()
    source = open_source(sequence)
    assert (source.name, source.frame_rate, source.length) == ("MOT17-99", 25, 2)


def test_an_unreadable_image_is_a_frame_without_picture(sequence):
    (sequence / "img1" / "000002.jpg").write_bytes(b"broken")
    source = open_source(sequence)
    assert numbers(source) == [1, None] and source.unreadable == 1


def test_a_folder_of_sequences_is_all_of_them(sequence):
    assert list_sources(str(sequence.parent)) == [str(sequence)] == list_sources(str(sequence))
    assert list_sources(str(sequence / "img1")) == [str(sequence / "img1")] and list_sources("3") == ["3"]


def test_a_video_and_a_folder_of_images(tmp_path, sequence):
    with video.Writer(tmp_path / "a.mp4", SIZE, 10) as writer:
        for number in range(5):
            writer.write(picture(number))
    assert numbers(open_source(tmp_path / "a.mp4")) == [0, 1, 2, 3, 4]
    assert numbers(open_source(sequence / "img1")) == [1, 2]


def test_frames_are_counted_from_one(sequence):
    first, second = frames_of(str(sequence), 1, 2)
    assert first.mean() < second.mean()
    with pytest.raises(UserError, match="has no readable frame 3: choose another with --frame"):
        frames_of(str(sequence), 3)


def test_the_size_of_a_source_tells_it_from_another_one(sequence):
    before = num_bytes(str(sequence))
    cv2.imwrite(str(sequence / "img1" / "000003.jpg"), picture(3))
    assert num_bytes(str(sequence)) > before and num_bytes("rtsp://door/1") is None


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="none.mp4 not found: give a video"):
        open_source(tmp_path / "none.mp4")
