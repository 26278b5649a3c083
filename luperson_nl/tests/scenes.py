"""Small videos as folders of frames: people are boxes of one colour that walk to the right."""

import cv2
import numpy as np

COLOURS = ((220, 30, 30), (30, 200, 30), (40, 40, 230), (220, 200, 30))
SIZE = (160, 96)  # width, height
PERSON = (16, 40)


def box(person, frame):
    """x, y, width, height of a person in a frame (from 1)."""
    return 4 + 34 * person + 2 * frame, 20 + 4 * person, *PERSON


def picture(frame, persons):
    image = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
    for person in range(persons):
        x, y, width, height = box(person, frame)
        image[y : y + height, x : x + width] = COLOURS[person]
    return image


def scene(folder, frames=12, persons=2, ending=".png", first=1):
    """A folder of frames numbered from ``first``; the folder."""
    folder.mkdir(parents=True)
    for frame in range(1, frames + 1):
        cv2.imwrite(str(folder / f"{frame + first - 1:06d}{ending.lower()}"), picture(frame, persons)[..., ::-1])
    if ending != ending.lower():
        for path in list(folder.iterdir()):
            path.rename(path.with_suffix(ending))
    return folder


def lines(frames=12, persons=2, ids=False, scale=1.0):
    """MOTChallenge text of the people."""
    rows = []
    for frame in range(1, frames + 1):
        for person in range(persons):
            x, y, width, height = (value * scale for value in box(person, frame))
            rows.append(f"{frame},{person + 1 if ids else -1},{x},{y},{width},{height},0.9,-1,-1,-1\n")
    return "".join(rows)


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def colour_of(image):
    """Which person a crop shows, by its middle."""
    middle = image[image.shape[0] // 2, image.shape[1] // 2].astype(int)
    return int(np.abs(np.array(COLOURS) - middle).sum(1).argmin())
