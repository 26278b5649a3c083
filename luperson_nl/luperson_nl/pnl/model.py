"""PNL and its baselines as one module: encoder pair, queue, prototypes, and a training step on plain tensors."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from luperson_nl.models.trunks import build_trunk
from luperson_nl.pnl.contrast import full_precision, info_nce, queue_logits, supcon
from luperson_nl.pnl.correction import uncorrected
from luperson_nl.pnl.encoder import Encoder
from luperson_nl.pnl.objective import Objective, StepResult
from luperson_nl.pnl.queue import Queue
from luperson_nl.pnl.sharding import SHARDINGS, Shard, split_rows
from luperson_nl.pnl.stages import Stage
from shared_utils import UserError
from shared_utils.distributed import gather, shuffle, unshuffle, world_size

#: Names of the tensors that ``PNL.split_classes`` splits.
SPLIT = ("encoder_q.classifier.weight", "encoder_q.classifier.bias", "objective.prototypes.rows")
#: What can be trained: the paper's method and what it is compared with.
METHODS = ("pnl", "supervised", "moco", "simclr", "supcon")
_WITH_KEYS = ("pnl", "moco")
_WITH_CLASSES = ("pnl", "supervised")


class PNL(nn.Module):
    """Pre-training on noisy labels (Fu et al., CVPR 2022), on any trunk.

    Args:
        trunk: a name of ``models.trunks.build_trunk``, or a module with ``num_features`` that makes maps of images.
        num_classes: of the noisy labels, which run from 0.
        method: ``pnl``; ``supervised`` (cross entropy on the labels as they are); ``moco`` (InfoNCE alone); ``simclr``
            and ``supcon`` (both views through one encoder, contrast within the batch).
        dim: of the embedding.
        cls_dim: width before the classifier; None: it stands on the pooled map.
        queue_size: keys kept, at least the batch over all ranks.
        temperature: tau; the launch script's 0.07, where class and parser of the published code have 0.1.
        key_momentum: m1, of the key encoder.
        prototype_momentum: m2.
        alpha: weight of the classifier in the correction.
        threshold: T of the correction.
        guided_label: ``raw`` (as the published code) or ``corrected`` (as the paper describes).
        instance_weight, prototype_weight: of the two contrastive losses.
        hidden: width of the projection's middle; 2048 as published, whatever the trunk.
        classifier_sharding: ``none``, or ``partial_fc``: ``split_classes`` splits classifier and prototypes over processes.
    """

    def __init__(
        self,
        trunk: str | nn.Module,
        num_classes: int,
        method: str = "pnl",
        dim: int = 128,
        cls_dim: int | None = 256,
        queue_size: int = 65536,
        temperature: float = 0.07,
        key_momentum: float = 0.999,
        prototype_momentum: float = 0.999,
        alpha: float = 0.5,
        threshold: float = 0.8,
        guided_label: str = "raw",
        instance_weight: float = 1.0,
        prototype_weight: float = 1.0,
        hidden: int = 2048,
        classifier_sharding: str = "none",
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise UserError(f"method {method!r} is not known: use {', '.join(METHODS)}")
        if classifier_sharding not in SHARDINGS:
            raise UserError(f"classifier_sharding {classifier_sharding!r} is not known: use {' or '.join(SHARDINGS)}")
        if classifier_sharding != "none" and method not in _WITH_CLASSES:
            raise UserError(f"method {method} has no classifier to split: set classifier_sharding to none")
        if num_classes < 1:
            raise UserError(f"num_classes is {num_classes}: a data set with at least one identity is needed")
        self.method, self.temperature, self.key_momentum = method, temperature, key_momentum
        self.classifier_sharding = classifier_sharding
        trunk = build_trunk(trunk) if isinstance(trunk, str) else trunk
        classes = num_classes if method in _WITH_CLASSES else None
        width = None if method == "supervised" else dim
        self.encoder_q = Encoder(trunk, classes, width, cls_dim, hidden, method in ("simclr", "supcon"))
        self.encoder_k: Encoder | None = None
        self.objective: Objective | None = None
        self.queue: Queue | None = None
        if method in _WITH_KEYS:
            # The published key encoder also carries a classifier that nothing reads.
            self.encoder_k = Encoder(copy.deepcopy(trunk), None, dim, hidden=hidden)
            self.encoder_k.load_state_dict(self.encoder_q.state_dict(), strict=False)
            self.encoder_k.requires_grad_(False)
        if method == "pnl":
            self.objective = Objective(
                num_classes,
                dim,
                queue_size,
                temperature,
                prototype_momentum,
                alpha,
                threshold,
                guided_label,
                instance_weight,
                prototype_weight,
            )
        elif method == "moco":
            self.queue = Queue(queue_size, dim)
        # Seeds the shuffled batch norm alike on every rank, and goes on where it was after a resume.
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.long))

    def split_classes(self, device: torch.device | str = "cpu") -> Shard | None:
        """Keep this process's share of the classes, where ``classifier_sharding`` says so and there are several processes.

        For once the group of processes is there, before DDP and the optimiser see the parameters; a second call does nothing.
        DDP has to leave ``SPLIT`` alone.

        Args:
            device: where processes can exchange tensors.

        Returns:
            What this process holds; None where nothing is split.
        """
        classifier = self.encoder_q.classifier
        if self.classifier_sharding == "none" or world_size() == 1 or classifier is None:
            return None
        if isinstance(held := self.encoder_q.classes, Shard):
            return held
        shard = Shard.of_this_process(classifier.out_features)
        split_rows(classifier, ("weight", "bias"), shard, device)
        self.encoder_q.classes = shard
        if self.objective is not None:
            split_rows(self.objective.prototypes, ("rows",), shard, device)
            self.objective.prototypes.classes = shard
        return shard

    def embedding_net(self) -> nn.Module:
        """The trunk that pre-training was for."""
        return self.encoder_q.trunk

    def check_batch(self, batch: int) -> None:
        """Raise UserError where a batch, counted over all ranks, is larger than the queue."""
        queue = self.objective.queue if self.objective is not None else self.queue
        if queue is not None:
            queue.check(batch)

    def forward(self, images: Tensor) -> Tensor:
        """The feature that evaluation uses, (n, num_features), unit length."""
        return self.encoder_q(images)

    def step(self, im_q: Tensor, im_k: Tensor, labels: Tensor, stage: Stage | None = None) -> StepResult:
        """One training step up to the loss; queue, prototypes and key encoder move with it.

        Args:
            im_q, im_k: (n, 3, h, w) weak and strong views of the same images; n is the same on every rank.
            labels: (n,) int64 noisy labels; left as they are.
            stage: what is on (``pnl`` alone); None: everything.

        Raises:
            UserError: the batch over all ranks is larger than the queue.
        """
        self.check_batch(len(im_q) * world_size())
        if self.method == "pnl":
            assert self.objective is not None
            features = self.encoder_q.features(im_q)
            out, queries = self.encoder_q.classify(features), self.encoder_q.project(features)
            result = self.objective(out, queries, self._keys(im_k), labels, stage or Stage(True, True, True, True))
        elif self.method == "supervised":
            out = full_precision(self.encoder_q.classify(self.encoder_q.features(im_q)))
            classes = self.encoder_q.classes
            result = _plain(classes.cross_entropy(out, classes.samples(labels)), "cls", labels, out)
        elif self.method == "moco":
            assert self.queue is not None
            queries = self.encoder_q.project(self.encoder_q.features(im_q))
            keys = self._keys(im_k)
            with torch.autocast(queries.device.type, enabled=False):
                loss = info_nce(queue_logits(queries, keys, self.queue.keys, self.temperature))
            keys = gather(keys)
            self.queue.enqueue(keys, torch.full((len(keys),), -1, device=keys.device))
            result = _plain(loss, "inst", labels)
        else:
            first, second = self.encoder_q.project(self.encoder_q.features(torch.cat([im_q, im_k]))).chunk(2)
            known = gather(labels) if self.method == "supcon" else None
            # SimCLR's is plain cross entropy: without the factor tau / base.
            base = self.temperature if self.method == "simclr" else 0.07
            with torch.autocast(first.device.type, enabled=False):
                loss = supcon(gather(first), gather(second), known, self.temperature, base)
            result = _plain(loss, "inst", labels)
        return result

    @torch.no_grad()
    def _keys(self, images: Tensor) -> Tensor:
        """Move the key encoder, then encode with batches shuffled over the ranks: (n, dim) of this rank's images."""
        assert self.encoder_k is not None
        leading = dict(self.encoder_q.named_parameters())
        for name, moving in self.encoder_k.named_parameters():
            moving.mul_(self.key_momentum).add_(leading[name], alpha=1 - self.key_momentum)
        self.num_steps += 1
        if world_size() == 1:
            return self.encoder_k.project(self.encoder_k.features(images))
        mixed, order = shuffle(images, torch.Generator().manual_seed(int(self.num_steps)))
        return unshuffle(self.encoder_k.project(self.encoder_k.features(mixed)), order)


def _plain(loss: Tensor, name: str, labels: Tensor, out: Tensor | None = None) -> StepResult:
    """The result of a method that corrects nothing."""
    kept = uncorrected(labels)
    out = None if out is None else out.detach()
    return StepResult(loss, {name: loss.detach()}, kept.labels, kept.max_p, kept.entropy, out)
