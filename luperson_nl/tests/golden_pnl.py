"""Adapters of the cases of pre-training: losses, a whole step, the encoder, LARS."""

import re

import torch
from torch.nn.functional import normalize

from luperson_nl.optimisation import LARS, lars_groups
from luperson_nl.pnl import PNL, Stage
from luperson_nl.pnl.contrast import guided_positives, queue_logits
from luperson_nl.pnl.objective import Objective
from luperson_nl.published import import_pretraining, import_published
from luperson_nl.published.trunks import trunk_name
from shared_utils.checkpoint import import_state_dict


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


def encoder(case):
    """One encoder of a pre-training file; in training with its heads."""
    state, images = case.state_dict(), _tensor(case.inputs()["images"])
    prefix = case.config["prefix"]
    if case.spec["mode"] == "eval":
        # Under any prefix: of encoder_q, encoder_k, or the bare names.
        network = import_published({"state_dict": state}, encoder="k" if "encoder_k" in prefix else "q").network
        with torch.no_grad():
            return {"feature": normalize(network(images).mean(dim=(2, 3)))}
    named = {name.removeprefix(prefix): value for name, value in state.items()}
    trunk = trunk_name(named)
    config = case.config
    network = PNL(
        trunk,
        config["cls_num"],
        dim=config["embed_dim"],
        cls_dim=config["cls_dim"],
        queue_size=1,
        hidden=named["fc1.weight"].shape[0],
    )
    import_state_dict(network.encoder_q, named, rules=[(r"^(?=conv1|bn1|layer)", "trunk.")])
    network.train()
    features = network.encoder_q.features(images)
    out, embedding = network.encoder_q.classify(features), network.encoder_q.project(features)
    buffers = {name.removeprefix("trunk."): value for name, value in network.encoder_q.named_buffers()}
    return {"logits": out, "embedding": embedding, **buffers}


def pnl_step(case):
    """A whole step from a training file, with the published optimiser."""
    config, given, state = case.config, case.inputs(), case.state_dict()
    state["module.queue"] = normalize(state["module.queue"], dim=0)
    state["module.prototypes"] = normalize(state["module.prototypes"], dim=1)
    state["module.queue_id"] = _labels(given["queue_id"]).view(-1, 1)
    state["module.queue_ptr"] = torch.tensor([config["queue_ptr"]])
    network, _ = import_pretraining(
        {"state_dict": state},
        temperature=config["temperature"],
        key_momentum=config["m_encoder"],
        prototype_momentum=config["m_prototype"],
        alpha=config["alpha"],
        threshold=config["threshold"],
        instance_weight=config.get("w_inst", 1.0),
        prototype_weight=config.get("w_proto", 1.0),
    )
    network.train()
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=config["lr"],
        momentum=config.get("momentum", 0.9),
        weight_decay=config.get("weight_decay", 1e-4),
    )
    stage = Stage(True, config.get("is_proto", True), config.get("is_clean", True), config.get("is_supcont", True))
    result = network.step(
        _tensor(given["images_weak"]), _tensor(given["images_strong"]), _labels(given["labels"]), stage
    )
    optimizer.zero_grad()
    result.loss.backward()
    optimizer.step()
    watched = {name.replace(".trunk.", "."): value for name, value in network.state_dict().items()}
    return {
        "loss": result.loss,
        "loss_cls": result.terms["cls"],
        "loss_inst": result.terms["inst"],
        "loss_proto": result.terms.get("proto", torch.zeros(())),
        "cls_logits": result.out,
        "target": result.corrected,
        "queue": network.objective.queue.keys,
        "queue_id": network.objective.queue.ids,
        "queue_ptr": network.objective.queue.pointer,
        "prototypes": network.objective.prototypes.rows,
        **watched,
    }


def lars(case):
    """Steps of LARS on parameters filled from their names, under given gradients."""
    config, given = case.config, case.inputs()
    net = _Named({name: torch.nn.Parameter(value) for name, value in case.state_dict().items()})
    published = config.get("published", True)
    decay = config.get("weight_decay", config.get("wd", 1e-4))
    optimizer = LARS(
        lars_groups(net, decay, published),
        lr=config["lr"],
        momentum=config.get("momentum", 0.9),
        trust_coefficient=config.get("trust_coefficient", 0.001),
        eps=config.get("eps", 1e-8),
        published=published,
    )
    for step in range(config.get("steps", 1)):
        for name, parameter in net.named_parameters():
            parameter.grad = _gradient(given, name, list(net.parameters_by_name), step)
        optimizer.step()
    return {output: net.parameters_by_name[_owner(output, net.parameters_by_name)] for output in case.spec["outputs"]}


class _Named(torch.nn.Module):
    """Parameters under names with dots."""

    def __init__(self, parameters):
        super().__init__()
        self.parameters_by_name = parameters

    def named_parameters(self, *_, **__):
        return iter(self.parameters_by_name.items())


def _owner(key, names):
    """The parameter that an input or output is called after, whatever stands around its name."""
    return max((name for name in names if name in key), key=len, default=None)


def _gradient(given, name, names, step):
    """The gradient of a parameter at a step; a single one is used at every step."""
    places = [key for key in given if _owner(key, names) == name]
    assert places, f"the case gives no gradient of {name}; it gives {', '.join(given)}"
    numbered = [key for key in places if re.search(rf"(?<!\d){step}(?!\d)", key.replace(name, ""))]
    return _tensor(given[(numbered or places)[0]]).clone()


ADAPTERS = {
    "encoder": encoder,
    "pnl_step": pnl_step,
    "pnl_losses": pnl_losses,
    "lars": lars,
    "PNL/libs/encoder.py MoCoEncoder": encoder,
    "PNL/libs/pnl_builder.py PNL + one SGD step of lup_pnl.py": pnl_step,
    "PNL/libs/pnl_builder.py PNL.forward + the loss lines of lup_pnl.py": pnl_losses,
    "PNL/libs/lars.py": lars,
}
