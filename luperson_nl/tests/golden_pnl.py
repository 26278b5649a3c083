"""Adapters of the cases of pre-training: losses, a whole step, the encoder, LARS."""

import torch
from torch.nn.functional import normalize

from luperson_nl.pnl import Stage
from luperson_nl.pnl.contrast import guided_positives, queue_logits
from luperson_nl.pnl.objective import Objective


def _tensor(value):
    return torch.from_numpy(value)


def _labels(value):
    return torch.from_numpy(value).long()


def pnl_losses(case):
    """The objective alone, on given logits and embeddings."""
    config = case.config
    given = case.inputs()
    objective = Objective(
        config["num_classes"],
        config["dim"],
        config["K"],
        config["temperature"],
        config["m_prototype"],
        config["alpha"],
        config["threshold"],
        config.get("guided_label", "raw"),
        config.get("w_inst", 1.0),
        config.get("w_proto", 1.0),
    )
    objective.queue.keys.copy_(normalize(_tensor(given["queue"]), dim=0))
    objective.queue.ids.copy_(_labels(given["queue_id"]).view(-1))
    objective.queue.pointer.fill_(config["queue_ptr"] % config["K"])
    objective.prototypes.rows.copy_(normalize(_tensor(given["prototypes"]), dim=1))
    if "unseen" in given:
        objective.prototypes.rows[_labels(given["unseen"])] = 0
    stage = Stage(True, config["is_proto"], config["is_clean"], config["is_supcont"])
    cls_logits = _tensor(given["cls_logits"]).requires_grad_()
    query = _tensor(given["query"]).requires_grad_()
    labels, key = _labels(given["labels"]), normalize(_tensor(given["key"]))
    logits = queue_logits(normalize(query).detach(), key, objective.queue.keys, config["temperature"])
    positives = guided_positives(labels, objective.queue.ids)
    if not stage.guided:
        positives[:, 1:] = False
    similarity = objective.prototypes.similarity(normalize(query)).detach() / config["temperature"]
    result = objective(cls_logits, normalize(query), key, labels, stage)
    result.loss.backward()
    return {
        "loss": result.loss,
        "loss_cls": result.terms["cls"],
        "loss_inst": result.terms["inst"],
        "loss_proto": result.terms.get("proto", torch.zeros(())),
        "target": result.corrected,
        "inst_acc1": _accuracy(logits, positives, 1),
        "inst_acc5": _accuracy(logits, positives, 5),
        "grad_cls_logits": cls_logits.grad,
        "grad_query": query.grad,
        "queue": objective.queue.keys,
        "queue_id": objective.queue.ids,
        "queue_ptr": objective.queue.pointer,
        "prototypes": objective.prototypes.rows,
        "logits_proto": similarity,
    }


def _accuracy(logits, positives, k):
    """Share (in %) of the rows with a positive among the k largest logits."""
    best = logits.topk(k, dim=1).indices
    return 100 * positives.gather(1, best).any(1).float().mean()


ADAPTERS = {
    "PNL/libs/pnl_builder.py PNL.forward + the loss lines of lup_pnl.py": pnl_losses,
}
