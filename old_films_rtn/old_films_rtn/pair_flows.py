"""The flows between neighbouring frames, each computed once, and tensors that wait on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from old_films_rtn.flow import AT_ONCE, FlowSource, pair_flows
from shared_utils import checkpoint


class Frames(Protocol):
    """Frames (1, c, h, w) in order, made when they are asked for; a list of tensors is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


class Spill:
    """Tensors on disk by name. What a killed run has put there is found again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, name: str) -> bool:
        return (self.folder / f"{name}.pt").is_file()

    def put(self, name: str, value: Any) -> None:
        checkpoint.save(value, self.folder / f"{name}.pt")

    def get(self, name: str, device: torch.device) -> Any:
        return checkpoint.load_tensors(self.folder / f"{name}.pt", device)

    def drop(self, name: str) -> None:
        (self.folder / f"{name}.pt").unlink(missing_ok=True)


class PairFlows:
    """Both flows between frames i and i + 1, each frame encoded once as long as pairs are asked for in order.

    With a spill, ``write`` puts the flows of a chunk there, and ``pair`` reads them back a chunk at a time.
    """

    def __init__(self, source: FlowSource, frames: Frames, spill: Spill | None = None, chunk: int = 1) -> None:
        self.source, self.frames, self.spill, self.chunk = source, frames, spill, chunk
        self._features: dict[int, Any] = {}
        self._flows: dict[int, tuple[Tensor, Tensor]] = {}

    def pair(self, i: int) -> tuple[Tensor, Tensor]:
        """(forward, backward), (1, 2, h, w): where the pixels of frame i + 1 are in frame i, and the other way."""
        if i not in self._flows and self.spill is not None:
            start = i // self.chunk * self.chunk
            if f"flows_{start:06d}" in self.spill:
                stored = self.spill.get(f"flows_{start:06d}", self.frames[i].device)
                self._flows |= {start + at: (both[:1], both[1:]) for at, both in enumerate(stored)}
        if i not in self._flows:
            # Recurrences ask for what is missing backwards, so the pairs before are the next ones.
            missing = [at for at in range(i, max(-1, i - AT_ONCE), -1) if at not in self._flows]
            wanted = {at: self._encoded(at) for at in range(min(missing), i + 2)}
            found = pair_flows(self.source, [(wanted[at], wanted[at + 1]) for at in missing])
            self._flows |= dict(zip(missing, found, strict=True))
            self._features = wanted
        return self._flows[i]

    def write(self, start: int) -> None:
        """Move the flows of the chunk that begins at ``start`` from memory to the spill; without one they are made again."""
        end = min(start + self.chunk, len(self.frames) - 1)
        if self.spill is not None and start < end:
            self.spill.put(f"flows_{start:06d}", torch.stack([torch.cat(self.pair(i)) for i in range(start, end)]))
        self._flows = {i: flows for i, flows in self._flows.items() if i < start}

    def forget(self, before: int) -> None:
        """Drop the flows of the pairs before ``before``, in memory and in the spill."""
        self._flows = {i: flows for i, flows in self._flows.items() if i >= before}
        if self.spill is not None:
            for path in self.spill.folder.glob("flows_*.pt"):
                if int(path.stem[6:]) + self.chunk <= before:
                    path.unlink()

    def _encoded(self, i: int) -> Any:
        return self._features[i] if i in self._features else self.source.features(self.frames[i])
