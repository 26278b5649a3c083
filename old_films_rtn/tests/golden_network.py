"""Golden cases of the network and of its losses, each through the importer."""

import copy

import numpy as np
import torch

from old_films_rtn import losses, published
from old_films_rtn.flow import clip_flows
from old_films_rtn.models.rtn import warp
from old_films_rtn.models.swin import shift_mask
from shared_utils.testing import fill, make_input


def image_u8(entry, shape):
    cubed = make_input(entry["name"], shape).astype(np.float64) ** 3
    return np.round(127.5 + 127.5 * cubed).astype(np.uint8)


def rolling_clip(entry):
    n, t, c, h, w = shape = entry["shape"]
    dy, dx = entry["shift"]
    base = make_input(entry["name"], (n, c, h, w), entry.get("low", -1.0), entry.get("high", 1.0))
    clip = np.stack([np.roll(base, (i * dy, i * dx), axis=(-2, -1)) for i in range(t)], axis=1)
    noise = np.float32(entry.get("noise", 0.0)) * make_input(entry["name"] + ":noise", shape)
    return (clip + noise).astype(np.float32)


def smooth_u8(entry):
    h, w, *rest = entry["shape"]
    small = image_u8(entry, (-(-h // 8), -(-w // 8), *rest))
    return np.repeat(np.repeat(small, 8, 0), 8, 1)[:h, :w]


OPERATIONS = {
    "uniform": lambda e: make_input(e["name"], e["shape"], e.get("low", -1.0), e.get("high", 1.0)),
    "rolling_clip": rolling_clip,
    "image_u8": lambda e: image_u8(e, e["shape"]),
    "smooth_u8": smooth_u8,
}


def inputs(case):
    """The case's inputs; an entry's stream is its own name where it does not give one."""
    made = {}
    for name, entry in case.spec["inputs"].items():
        if entry["op"] == "npz":
            made[name] = case.stored["input:" + name]
        else:
            made[name] = OPERATIONS[entry["op"]]({"name": name, **entry})
    return made


def tensors(case):
    return {name: torch.from_numpy(np.asarray(value)) for name, value in inputs(case).items()}


def filled(shapes, gain=1.0):
    return {name: torch.from_numpy(fill(name, shape, gain)) for name, shape in shapes.items()}


def weights(case):
    """As a released file is laid out: wrapped, with the prefix of a parallel module and RAFT's second names."""
    state = case.state_dict()
    state |= {
        name.replace(".downsample.1.", ".norm3."): tensor for name, tensor in state.items() if ".downsample.1." in name
    }
    wrapped = {"netG": {f"module.{name}": tensor for name, tensor in state.items()}}
    return published.state_of(wrapped, case.name)


# The network ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def run_generator(case):
    given = tensors(case)
    (rtn, raft), _ = published.import_generator(weights(case), case.name)
    flows = {name: given[name] for name in ("forward_flow", "backward_flow") if name in given}
    if not flows:
        flows["forward_flow"], flows["backward_flow"] = clip_flows(raft, given["frames"])
    restored, forward_mask, backward_mask = rtn(given["frames"], **flows)
    return {"restored": restored, **flows, "forward_mask": forward_mask, "backward_mask": backward_mask}


@torch.no_grad()
def run_aggregation(case):
    given = tensors(case)
    model = published.import_aggregation(case.state_dict())
    fused, mask = model(given["hidden_state"], given["frame"], given["residual"])
    return {"fused": fused, "mask": mask, "first_frame": model.embedding(given["frame"])}


@torch.no_grad()
def run_transformer(case):
    return {"features": published.import_transformer(case.state_dict())(tensors(case)["features"])}


@torch.no_grad()
def run_swin_block(case):
    height, width = case.spec["x_size"]
    window, shift = case.config["window_size"], case.config["shift_size"]
    tokens = tensors(case)["tokens"]
    block = published.import_swin_block(case.state_dict(), shift)
    ours = {"tokens": block(tokens.unflatten(1, (height, width))).flatten(1, 2)}
    if shift:
        ours["attention_mask"] = shift_mask(height, width, window, shift, tokens.device, tokens.dtype)
    return ours


def run_warp(case):
    given = tensors(case)
    return {"warped": warp(given["features"], given["flow"])}


@torch.no_grad()
def run_raft(case):
    given = tensors(case)
    raft = published.import_raft(weights(case))
    first, second = (raft.features(2 * given[name] / 255 - 1) for name in ("frame1", "frame2"))
    ours = {}
    for iterations in case.spec["iters"]:
        ours[f"flow_low_{iterations}"] = raft.coarse(first, second, iterations)[0]
        ours[f"flow_{iterations}"] = raft.flow(first, second, iterations)
    return ours


# The discriminator and the losses ------------------------------------------------------------------------------------


def with_singular_vectors(state):
    """u and v as an endless power iteration leaves them."""
    for name in [name for name in state if name.endswith("weight_orig")]:
        u, _, v = torch.linalg.svd(state[name].flatten(1).double(), full_matrices=False)
        state[name.replace("_orig", "_u")], state[name.replace("_orig", "_v")] = u[:, 0].float(), v[0].float()
    return state


@torch.no_grad()
def run_discriminator(case):
    model = published.import_discriminator(with_singular_vectors(case.state_dict()))
    logits = model(tensors(case)["clip"])
    return {"logits": torch.sigmoid(logits) if case.config.get("use_sigmoid") else logits}


def run_gan_losses(case):
    given = tensors(case)
    ours = {}
    for kind in ("hinge", "lsgan", "nsgan"):
        real = losses.discriminator_loss(given["real_logits"], True, kind)
        fake = losses.discriminator_loss(given["fake_logits"], False, kind)
        ours |= {f"{kind}_d_real": real, f"{kind}_d_fake": fake, f"{kind}_d": (real + fake) / 2}
        ours[f"{kind}_g"] = losses.generator_loss(given["fake_logits"], kind)
    return ours


def perceptual_loss(case):
    state = filled(case.spec["vgg_shapes"], case.spec["vgg_gain"])
    return losses.PerceptualLoss(published.vgg19_features(state))


def run_perceptual(case):
    given = tensors(case)
    loss = perceptual_loss(case)
    predicted = given["predicted"].requires_grad_()
    value = loss(predicted, given["target"])
    value.backward()
    return {"loss": value, "layer_l1": loss.terms(predicted, given["target"]), "grad": predicted.grad}


def published_name(name):
    """Our name of a parameter of the generator that a case gives by its published name."""
    import re

    for pattern, replacement in published.GENERATOR_RULES:
        name = re.sub(pattern, replacement, name)
    return name


def run_train_step(case):
    """G forward; D step on real and made; G step against the updated D; and the losses once more."""
    given, share = tensors(case), case.spec["weights"]
    rtn = published.import_generator(weights(case))[0].rtn.train()
    state = filled(case.spec["d_shapes"])
    for name in state:
        if name.endswith(("weight_u", "weight_v")):
            state[name] = state[name] / state[name].norm()
    discriminator = published.import_discriminator(state).train()
    perceptual = perceptual_loss(case)
    optimiser = {
        module: torch.optim.Adam(module.parameters(), case.spec["lr"], betas=(0.9, 0.99))
        for module in (rtn, discriminator)
    }

    def generate():
        return rtn(given["frames"], given["forward_flow"], given["backward_flow"])[0]

    def discriminate(made):
        real = losses.discriminator_loss(discriminator(given["target"]), True)
        fake = losses.discriminator_loss(discriminator(made.detach()), False)
        return share["d_adv"] * (real + fake) / 2

    def judge(made):
        return {
            "loss_adv_g": share["g_adv"] * losses.generator_loss(discriminator(made)),
            "loss_pix": share["pix"] * (made - given["target"]).abs().mean(),
            "loss_perceptual": share["perceptual"] * perceptual(made.flatten(0, 1), given["target"].flatten(0, 1)),
        }

    made = generate()
    loss_d = discriminate(made)
    loss_d.backward()
    optimiser[discriminator].step()
    terms = judge(made)
    sum(terms.values()).backward()
    gradients = {name: parameter.grad for name, parameter in rtn.named_parameters()}
    total = torch.stack([gradient.norm() for gradient in gradients.values() if gradient is not None]).norm()
    ours = {"loss_adv_d": loss_d, **terms, "grad_norm_generator": total}
    ours |= {f"grad:{name}": gradients[published_name(name)].clone() for name in case.spec["grads"]}
    optimiser[rtn].step()
    made = generate()
    ours["after_loss_adv_d"] = discriminate(made)
    ours |= {f"after_{name}": value for name, value in judge(made).items()}
    return copy.deepcopy({name: value.detach() for name, value in ours.items()})


ADAPTERS = {
    "generator": run_generator,
    "guided_mask": run_generator,
    "gated_aggregation": run_aggregation,
    "restoration_transformer": run_transformer,
    "swin_block": run_swin_block,
    "warp": run_warp,
    "raft": run_raft,
    "discriminator": run_discriminator,
    "gan_losses": run_gan_losses,
    "perceptual": run_perceptual,
    "train_step": run_train_step,
}


def gradient_tolerances(case):
    """Of single gradients after a whole step, where the absolute values of the losses have their kinks.

    In double precision the exact gradient is 2.4 % of its largest value from the published one, and single precision
    changes by as much with the convolution library: rounding decides on which side of a kink some features lie. Losses
    and the norm of the gradient keep the case's tolerance; test_losses.py holds the gradient to finite differences.
    """
    return {name: max(case.spec["tolerance"], 0.03) for name in case.spec["outputs"] if name.startswith("grad:")}


TOLERANCES = {"train_step": gradient_tolerances}
