"""One step of PNL after the encoders, in the published order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from luperson_nl.pnl.contrast import full_precision, guided_positives, info_nce, multi_positive, queue_logits
from luperson_nl.pnl.correction import uncorrected
from luperson_nl.pnl.prototypes import Prototypes
from luperson_nl.pnl.queue import Queue
from luperson_nl.pnl.stages import Stage
from shared_utils import UserError
from shared_utils.distributed import gather

GUIDED_LABELS = ("raw", "corrected")


@dataclass(frozen=True)
class StepResult:
    """What a step gives.

    loss: to go backward from. terms: its parts before their weights (``cls``, ``inst``, ``proto``), detached.
    corrected: (n,) the labels that were used. max_p, entropy: (n,) of the mixed probabilities, NaN without correction.
    out: (n, C) logits of the classifier, detached, as ``Encoder.classify`` gives them; None without one.
    """

    loss: Tensor
    terms: dict[str, Tensor]
    corrected: Tensor
    max_p: Tensor
    entropy: Tensor
    out: Tensor | None


class Objective(nn.Module):
    """Queue, prototypes and the losses between them.

    Args:
        num_classes, dim: of the classifier's logits and of the embeddings.
        queue_size: K, over all ranks.
        temperature: tau.
        prototype_momentum: m2.
        alpha, threshold: of the correction.
        guided_label: the labels whose entries in the (corrected) queue are positives: ``raw`` as published in code, or
            ``corrected`` as the paper describes.
        instance_weight, prototype_weight: of the losses; the classification has none.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int = 128,
        queue_size: int = 65536,
        temperature: float = 0.07,
        prototype_momentum: float = 0.999,
        alpha: float = 0.5,
        threshold: float = 0.8,
        guided_label: str = "raw",
        instance_weight: float = 1.0,
        prototype_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if guided_label not in GUIDED_LABELS:
            raise UserError(f"guided_label {guided_label!r} is not known: use {' or '.join(GUIDED_LABELS)}")
        self.queue = Queue(queue_size, dim)
        self.prototypes = Prototypes(num_classes, dim, prototype_momentum)
        self.temperature, self.alpha, self.threshold = temperature, alpha, threshold
        self.guided_label = guided_label
        self.instance_weight, self.prototype_weight = instance_weight, prototype_weight

    def forward(self, out: Tensor, queries: Tensor, keys: Tensor, labels: Tensor, stage: Stage) -> StepResult:
        """Losses of a batch; then the queue and the prototypes take it in.

        Args:
            out: (n, C) logits of the classifier, as ``Encoder.classify`` gives them.
            queries, keys: (n, dim) unit embeddings of the weak and the strong view.
            labels: (n,) noisy labels; left as they are.
            stage: what is on.
        """
        with torch.autocast(queries.device.type, enabled=False):
            out, queries, keys = (full_precision(tensor) for tensor in (out, queries, keys.detach()))
            terms: dict[str, Tensor] = {}
            classes = self.prototypes.classes
            compared, known = classes.samples(queries), classes.samples(labels)
            similarity = self.prototypes.similarity(compared) / self.temperature if stage.prototypes else None
            if stage.correction and similarity is not None:
                used = classes.correct(out, similarity, known, self.alpha, self.threshold)
            else:
                used = uncorrected(known)
            corrected = classes.local(used)
            if stage.instance:
                logits = queue_logits(queries, keys, self.queue.keys, self.temperature)
                if stage.guided:
                    guide = labels if self.guided_label == "raw" else corrected.labels
                    terms["inst"] = multi_positive(logits, guided_positives(guide, self.queue.ids))
                else:
                    terms["inst"] = info_nce(logits)
            if similarity is not None:
                terms["proto"] = classes.cross_entropy(similarity, used.labels)
            terms["cls"] = classes.cross_entropy(out, used.labels)
            all_labels = classes.over_all(used.labels)
            self.queue.enqueue(gather(keys), all_labels)
            self.prototypes.update(gather(queries.detach()), all_labels)
        weights = {"inst": self.instance_weight, "proto": self.prototype_weight, "cls": 1.0}
        loss = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        parts = {name: term.detach() for name, term in terms.items()}
        return StepResult(loss, parts, corrected.labels, corrected.max_p, corrected.entropy, out.detach())
