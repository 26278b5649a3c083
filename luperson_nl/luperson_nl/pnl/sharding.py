"""Where the classes are: all of them on every process, or split over processes (``partial_fc``).

Split, each process holds some rows of the classifier and of the prototypes. The softmax stays that of all classes, exactly:
every process takes the embeddings of all, computes the logits of its own classes, and only maxima and sums of exponentials
are exchanged. Loss and gradients are those of one process.

Memory of a process, with C classes, W processes, a batch of N over all of them, in float32: rows of ``cls_dim`` + 1 numbers
for C / W classes three times (weight, gradient, momentum) and of ``dim`` once, where otherwise it is C classes. At C = 434,000
and the published widths that is 1.56 GB on every process without, 0.20 GB with 8 processes. The two maps of logits are
N x C / W in place of N / W x C: as large as before. Making the model, and writing or reading a checkpoint, holds all rows once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from luperson_nl.pnl.correction import Correction, correct
from shared_utils import UserError
from shared_utils.distributed import gather, rank, sum_over_ranks, world_size

SHARDINGS = ("none", "partial_fc")


class AllClasses:
    """Every process holds all classes, and computes the logits of its own samples."""

    def samples(self, local: Tensor) -> Tensor:
        """Embeddings or labels, (n, ...), of the samples whose logits this process computes."""
        return local

    def local(self, used: Correction) -> Correction:
        """The part of those samples that came to this process."""
        return used

    def over_all(self, labels: Tensor) -> Tensor:
        """Labels of those samples -> of the samples of all processes."""
        return gather(labels)

    def logits(self, classifier: nn.Linear, features: Tensor) -> Tensor:
        """Of the samples, for the classes that are here."""
        return classifier(features)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the samples."""
        return functional.cross_entropy(logits, labels)

    def correct(self, logits: Tensor, similarity: Tensor, labels: Tensor, alpha: float, threshold: float) -> Correction:
        """``correction.correct``."""
        return correct(logits, similarity, labels, alpha, threshold)

    def held(self, queries: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The samples whose class is here, and its row."""
        return queries, labels

    def join(self, rows: Tensor) -> Tensor:
        """Rows of the classes that are here -> (C, ...); every process has to call it."""
        return rows

    def cut(self, whole: Tensor) -> Tensor:
        """The inverse of ``join``."""
        return whole

    def total(self, count: Tensor) -> Tensor:
        """A count over the classes that are here -> over all; every process has to call it."""
        return count


@dataclass(frozen=True)
class Shard(AllClasses):
    """This process holds the classes ``start`` to ``stop`` of ``number``, and computes their logits of everybody's samples.

    With DDP, every process sees the loss of all samples; see ``AllClasses`` for the methods.
    """

    number: int
    start: int
    stop: int

    @classmethod
    def of_this_process(cls, number: int) -> Shard:
        """An equal share.

        Raises:
            UserError: there are fewer classes than processes.
        """
        if number < world_size():
            raise UserError(
                f"{number} identities cannot be split over {world_size()} processes: set classifier_sharding to none"
            )
        return cls(number, *(number * place // world_size() for place in (rank(), rank() + 1)))

    def samples(self, local: Tensor) -> Tensor:
        rows = gather(local)
        if rows.requires_grad:
            # What comes back is of the classes that are here; gather sums it over processes, DDP divides by their number.
            factor = world_size()
            rows.register_hook(lambda gradient: gradient * factor)
        return rows

    def local(self, used: Correction) -> Correction:
        count = len(used.labels) // world_size()
        mine = slice(rank() * count, (rank() + 1) * count)
        return Correction(used.labels[mine], used.max_p[mine], used.entropy[mine])

    def over_all(self, labels: Tensor) -> Tensor:
        return labels

    def logits(self, classifier: nn.Linear, features: Tensor) -> Tensor:
        # Not in half precision: a gradient that overflows on one process alone would let it alone skip the step.
        with torch.autocast(features.device.type, enabled=False):
            features = self.samples(features).to(classifier.weight.dtype)
            return functional.linear(features, classifier.weight, classifier.bias)

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        inside = (labels - self.start).clamp(0, logits.shape[1] - 1)
        own = torch.where(self._holds(labels), logits.gather(1, inside[:, None])[:, 0], 0.0)
        return (_log_normaliser(logits) - _summed(own)).mean()

    @torch.no_grad()
    def correct(self, logits: Tensor, similarity: Tensor, labels: Tensor, alpha: float, threshold: float) -> Correction:
        first, second = ((each - _log_normaliser(each)[:, None]).exp_() for each in (logits, similarity))
        p = first.mul_(alpha).add_(second, alpha=1 - alpha)
        largest, best = p.max(dim=1)
        # The first of equal ones wins, as on one process.
        max_p, place = gather(largest[None]).max(dim=0)
        best = gather(best[None] + self.start).gather(0, place[None])[0]
        entropy = sum_over_ranks(torch.special.entr(p).sum(1))
        return Correction(torch.where(max_p > threshold, best, labels), max_p, entropy)

    def held(self, queries: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        own = self._holds(labels)
        return queries[own], labels[own] - self.start

    def join(self, rows: Tensor) -> Tensor:
        whole = gather(rows.detach())
        if len(whole) != self.number:
            raise RuntimeError("the processes that hold the other classes have ended: save while they are there")
        return whole

    def cut(self, whole: Tensor) -> Tensor:
        return whole[self.start : self.stop].clone()

    def total(self, count: Tensor) -> Tensor:
        return sum_over_ranks(count)

    def _holds(self, labels: Tensor) -> Tensor:
        return (labels >= self.start) & (labels < self.stop)


def _log_normaliser(logits: Tensor) -> Tensor:
    """log of the sum of exponentials over the classes of all processes, (N,)."""
    largest = logits.detach().amax(1)
    if world_size() > 1:
        dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest + _summed((logits - largest[:, None]).exp().sum(1)).log()


def _summed(own: Tensor) -> Tensor:
    """The sum over processes, with the gradient of this one's part."""
    return own + (sum_over_ranks(own) - own.detach())


def split_rows(module: nn.Module, names: Sequence[str], shard: Shard, device: torch.device | str) -> None:
    """Keep this process's rows of the named tensors, as the first process has them.

    The module's ``state_dict`` stays whole, both ways, so that a checkpoint doesn't depend on the number of processes. It is
    put together of all processes, which have to call ``state_dict`` together, as Lightning does.

    Args:
        module: the tensors' own.
        names: of parameters or buffers (C, ...).
        shard: the rows.
        device: where processes can exchange tensors.
    """
    for name in names:
        tensor = getattr(module, name)
        whole = tensor.detach().to(device)
        if world_size() > 1:
            dist.broadcast(whole, src=0)
        tensor.data = shard.cut(whole).to(tensor.device)
    module.register_state_dict_post_hook(partial(_join, names=names, shard=shard))
    module.register_load_state_dict_pre_hook(partial(_cut, names=names, shard=shard))


def _join(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any, names: Sequence[str], shard: Shard) -> None:
    for name in names:
        state[prefix + name] = shard.join(state[prefix + name])


def _cut(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any, names: Sequence[str], shard: Shard) -> None:
    for name in names:
        if (whole := state.get(prefix + name)) is not None and len(whole) == shard.number:
            state[prefix + name] = shard.cut(whole)


def map_momenta(state: dict[str, Any], places: Sequence[int], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """The state of an optimiser with ``change`` (``join`` or ``cut``) applied to the momenta of the parameters at ``places``."""

    def changed(own: dict[str, Any]) -> dict[str, Any]:
        return {
            name: change(value) if isinstance(value, Tensor) and value.ndim else value for name, value in own.items()
        }

    kept = {place: changed(own) if place in places else own for place, own in state["state"].items()}
    return state | {"state": kept}
