"""In which order the samples of a data set come: at random, or P identities of K images a batch.

An order follows from (seed, epoch) and is that of the batches of all processes together, of which each takes its own part: a run
on two processes sees the batches of a run on one. A sampler yields (index, epoch), so that what is drawn for a sample
can be made to depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from shared_utils import UserError, distributed
from shared_utils.loading import Count, Order


class BatchOrder(Order):
    """Whole batches of all processes, of which this one takes its rows; a subclass has the ``order``.

    Args:
        count: of samples.
        batch_size: of a step, all processes together.
        seed: of the order.

    Raises:
        UserError: there is no whole batch, or it cannot be shared out evenly.
    """

    def __init__(self, count: int, batch_size: int, seed: int = 0) -> None:
        ranks = distributed.world_size()
        if batch_size < 1 or batch_size % ranks:
            raise UserError(f"data.batch_size {batch_size} is not a multiple of the {ranks} processes it is shared by")
        if count < batch_size:
            raise UserError(f"{count} training images make no batch of {batch_size}: set data.batch_size lower")
        super().__init__(Count(count), ranks, distributed.rank(), seed=seed)
        self.count, self.batch_size = count, batch_size

    @property
    def num_batches(self) -> int:
        """Of an epoch."""
        return self.count // self.batch_size

    @property
    def share(self) -> int:
        """Samples of a batch that are this process's."""
        return self.batch_size // self.num_replicas

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """Indices of an epoch's batches, one after the other, (num_batches * batch_size,)."""
        return rng.permutation(self.count)[: self.num_batches * self.batch_size]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = self.order(np.random.default_rng((self.seed, self.epoch))).reshape(self.num_batches, self.batch_size)
        mine = order[self.start :, self.rank * self.share : (self.rank + 1) * self.share]
        for batch in mine:
            for index in batch.tolist():
                yield index, self.epoch

    def __len__(self) -> int:
        return self.num_batches * self.share


class IdentityOrder(BatchOrder):
    """P identities of K images a batch, drawn until fewer than P have K unseen images left; then all begin again.

    Images of an identity that has fewer than K are repeated. An epoch has as many batches as the images would make.

    Args:
        identities: (n,) of the images.
        batch_size: P x K, all processes together.
        instances: K.
        seed: of the order.

    Raises:
        UserError: as ``BatchOrder``; P x K is not the batch; there are fewer than P identities.
    """

    def __init__(self, identities: np.ndarray, batch_size: int, instances: int, seed: int = 0) -> None:
        if instances < 1 or batch_size % instances:
            raise UserError(f"data.batch_size {batch_size} is not a multiple of data.instances {instances}")
        wanted, there = batch_size // instances, len(np.unique(identities))
        if there < wanted:
            raise UserError(
                f"a batch of {batch_size} with {instances} images an identity needs {wanted} identities, the data has "
                f"{there}: set data.batch_size or data.instances lower"
            )
        super().__init__(len(identities), batch_size, seed)
        if self.share % instances:
            raise UserError(
                f"data.batch_size {batch_size} over {self.num_replicas} processes is not a multiple of data.instances "
                f"{instances}: set them so that each process has whole identities"
            )
        self.instances, self.wanted = instances, wanted
        by_identity = np.argsort(identities, kind="stable")
        self.members = np.split(by_identity, np.flatnonzero(np.diff(identities[by_identity])) + 1)

    def order(self, rng: np.random.Generator) -> np.ndarray:
        batches: list[np.ndarray] = []
        while len(batches) < self.num_batches:
            batches += self._round(rng)
        return np.concatenate(batches[: self.num_batches])

    def _round(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches until fewer than P identities have K images left."""
        k = self.instances
        groups = []
        for members in self.members:
            drawn = rng.permutation(members) if len(members) >= k else rng.choice(members, k)
            groups.append(drawn[: len(drawn) // k * k].reshape(-1, k))
        taken = np.zeros(len(groups), int)
        left = np.arange(len(groups))
        batches = []
        while len(left) >= self.wanted:
            chosen = rng.choice(left, self.wanted, replace=False)
            batches.append(np.concatenate([groups[each][taken[each]] for each in chosen]))
            taken[chosen] += 1
            left = np.array([each for each in left if taken[each] < len(groups[each])], int)
        return batches


class BalancedOrder(IdentityOrder):
    """P identities of K images a batch, all equally often: one image at random, the others of other cameras where it has any.

    Args:
        identities: (n,) of the images.
        cameras: (n,).
        batch_size: P x K, all processes together.
        instances: K.
        seed: of the order.
    """

    def __init__(
        self, identities: np.ndarray, cameras: np.ndarray, batch_size: int, instances: int, seed: int = 0
    ) -> None:
        super().__init__(identities, batch_size, instances, seed)
        self.cameras = np.asarray(cameras)

    def _round(self, rng: np.random.Generator) -> list[np.ndarray]:
        identities = rng.permutation(len(self.members))
        groups = [self._group(self.members[each], rng) for each in identities]
        whole = len(groups) // self.wanted * self.wanted
        return [np.concatenate(groups[first : first + self.wanted]) for first in range(0, whole, self.wanted)]

    def _group(self, members: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        first = rng.choice(members)
        others = members[self.cameras[members] != self.cameras[first]]
        if not len(others):
            others = members[members != first] if len(members) > 1 else members
        rest = self.instances - 1
        return np.r_[first, rng.choice(others, rest, replace=len(others) < rest)]
