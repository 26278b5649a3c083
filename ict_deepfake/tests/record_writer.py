"""RecordIO files as mxnet writes them, of a few bytes."""

import struct

MAGIC = struct.pack("<I", 0xCED7230A)


def _part(flag, data):
    return MAGIC + struct.pack("<I", flag << 29 | len(data)) + data + bytes(-len(data) % 4)


def record(data):
    """A record; data that holds the magic at a multiple of 4 is split there, without those 4 bytes."""
    cuts = [place for place in range(0, len(data) - 3, 4) if data[place : place + 4] == MAGIC]
    if not cuts:
        return _part(0, data)
    parts, start = [], 0
    for cut in cuts:
        parts.append(data[start:cut])
        start = cut + 4
    parts.append(data[start:])
    flags = [1, *[2] * (len(parts) - 2), 3]
    return b"".join(_part(flag, part) for flag, part in zip(flags, parts, strict=True))


def packed(picture, *labels):
    """A picture (bytes, or none for a record of labels) behind its header; one label stands in the header itself."""
    if len(labels) == 1:
        return struct.pack("<IfQQ", 0, labels[0], 0, 0) + picture
    return struct.pack("<IfQQ", len(labels), 0.0, 0, 0) + struct.pack(f"<{len(labels)}f", *labels) + picture


def write(folder, entries, index=True):
    """entries: (key, data); the files train.rec and train.idx."""
    content, lines = b"", []
    for key, data in entries:
        lines.append(f"{key}\t{len(content)}\n")
        content += record(data)
    folder.mkdir(exist_ok=True)
    (folder / "train.rec").write_bytes(content)
    if index:
        (folder / "train.idx").write_text("".join(lines))
    return folder
