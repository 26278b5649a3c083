"""``RestorationModule``: how the recurrent network is trained. Wiring only."""

from __future__ import annotations

import math
from typing import Any, Literal, cast

import numpy as np
import torch
from pytorch_lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from old_films_rtn import metrics, pretrained
from old_films_rtn.baselines import single_frames
from old_films_rtn.defect_map import composited
from old_films_rtn.detection import clip_logits, filled_clip, restored_clip
from old_films_rtn.flow import clip_flows
from old_films_rtn.losses import Adversarial, detection_loss, discriminator_loss, generator_loss
from old_films_rtn.models.detector import probabilities
from old_films_rtn.models.discriminator import TemporalPatchDiscriminator
from old_films_rtn.models.rtn import RTN
from old_films_rtn.pretrained import flow_source, perceptual_loss
from shared_utils import UserError


class RestorationModule(LightningModule):
    """The generator ``rtn``, its discriminator, losses and schedules, in manual optimisation.

    channels, width, depths, num_heads, tanh_residual: see ``RTN``. single_frame: feed every frame by itself, which is
    the same network without recurrence. flow: ``known`` (of made clips), ``dis``, ``raft:FILE`` or ``none``; the flow of
    training and validation is estimated on the degraded clip.
    learning_rate, betas: of Adam, for both networks. warmup_steps: of linear increase. schedule: ``constant``;
    ``cosine`` to nothing; ``published``: constant for 12 epochs, then a tenth of the rate less after each.
    gradient_clip: largest norm of the generator's gradient; null for none. ema: decay of the running average of the weights,
    which validation and checkpoints use; 0 for none. checkpointing: recompute the transformers backwards.
    perceptual: VGG19's file; null trains without the term. perceptual_normalise: see ``PerceptualLoss``.
    adversarial: null trains without discriminator. The weights are of the generator's terms.
    defect_weight: how much more than others a pixel of a true defect counts in the pixel term; so the mask of made clips
    takes part in training. passes: 2 trains on every second batch as it is after a first pass, composited inside its defect
    map, with the flow made again from that; validation goes through all passes.
    detector: train a ``DefectDetector``, too, on the true mask; the rest is then trained on clips whose defects, as far as it
    finds them at that step, are filled in, with the flow of that. crop: side of the square that the rest sees of a clip, at
    random; null: all of it. rest: false trains the detector alone. start: the network to start from, as ``pretrained.load``
    takes it; null: from the beginning.

    Logged: ``train_loss`` and its terms; ``val_psnr``, ``val_psnr_inside`` and ``val_psnr_outside`` of true defects, and
    ``val_mask_auroc`` and ``val_mask_precision``, the average one, of the defect map: the detector's, or the gates'.
    """

    def __init__(
        self,
        channels: int = 16,
        width: int = 64,
        depths: tuple[int, ...] = (2, 2, 2),
        num_heads: int = 4,
        tanh_residual: bool = False,
        single_frame: bool = False,
        flow: str = "known",
        learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        warmup_steps: int = 0,
        schedule: Literal["constant", "cosine", "published"] = "constant",
        gradient_clip: float | None = None,
        ema: float = 0.0,
        checkpointing: bool = False,
        perceptual: str | None = None,
        perceptual_normalise: bool = False,
        adversarial: Adversarial | None = None,
        discriminator_version: Literal[1, 2] = 2,
        defect_weight: float = 0.0,
        passes: int = 1,
        detector: bool = False,
        crop: int | None = None,
        rest: bool = True,
        start: str | None = None,
        pixel_weight: float = 1.0,
        perceptual_weight: float = 1.0,
        adversarial_weight: float = 0.01,
    ) -> None:
        super().__init__()
        if passes < 1 or defect_weight < 0:
            raise UserError(f"model.passes {passes} must be at least 1, model.defect_weight {defect_weight} at least 0")
        if detector and passes > 1:
            raise UserError(
                "model.passes is for networks without a detector, which fills in defects before: leave it at 1"
            )
        if crop is not None and (crop < 16 or crop % 16):
            raise UserError(f"model.crop {crop} must be a multiple of 16, or null for the whole clip")
        if not rest and not detector:
            raise UserError("model.rest is false and there is no detector: nothing would be trained")
        self.save_hyperparameters()
        self.automatic_optimization = False
        options = {
            "channels": channels,
            "width": width,
            "depths": tuple(depths),
            "num_heads": num_heads,
            "tanh_residual": tanh_residual,
            "detector": detector,
        }
        self.rtn = RTN(**options)
        self.rtn.checkpointing = checkpointing
        if start is not None:
            begun = pretrained.load(start).rtn
            if begun.options != self.rtn.options:
                raise UserError(
                    f"model.start {start} is a network of {begun.options}, and model says {self.rtn.options}"
                )
            self.rtn.load_state_dict(begun.state_dict())
        self.rtn.to(memory_format=torch.channels_last)
        self.average = None
        if ema:
            self.average = RTN(**options).requires_grad_(False)
            self.average.load_state_dict(self.rtn.state_dict())
        self.discriminator = TemporalPatchDiscriminator(version=discriminator_version) if adversarial else None
        # Held in a list: neither is part of the checkpoint, and neither is trained.
        self._perceptual = [perceptual_loss(perceptual, perceptual_normalise)] if perceptual else []
        self._flow = [None if flow == "known" else flow_source(flow)]

    def on_fit_start(self) -> None:
        for module in (*self._perceptual, *self._flow):
            if isinstance(module, torch.nn.Module):
                module.to(self.device)

    # Training --------------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        options: Any = self.hparams
        parts = [[p for name, p in self.rtn.named_parameters() if not name.startswith("detector.")]]
        parts += [list(part.parameters()) for part in (self.discriminator, self.rtn.detector) if part is not None]
        if not options.rest:
            parts = parts[-1:]  # the detector comes last
        optimizers = [torch.optim.Adam(part, options.learning_rate, options.betas) for part in parts]
        batches = max(1, int(self.trainer.estimated_stepping_batches))
        per_epoch = max(1, int(self.trainer.num_training_batches)) if math.isfinite(batches) else 1

        def factor(batch: int) -> float:
            rising = min(1.0, (batch + 1) / (options.warmup_steps + 1))
            if options.schedule == "cosine":
                return rising * 0.5 * (1 + math.cos(math.pi * min(1.0, batch / batches)))
            if options.schedule == "published":
                return rising * max(0.0, 1 - 0.1 * max(0, batch // per_epoch - 11))
            return rising

        return optimizers, [torch.optim.lr_scheduler.LambdaLR(optimizer, factor) for optimizer in optimizers]

    def flows_of(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The forward and backward flow of a batch's degraded clips, from where ``flow`` says."""
        source = self._flow[0]
        if source is not None and "cropped" not in batch:
            return clip_flows(source, batch["lq"])
        if "forward_flow" not in batch:
            raise UserError("flow is known for made clips only: set model.flow to dis or raft:FILE")
        return batch["forward_flow"], batch["backward_flow"]

    def restore(self, rtn: RTN, batch: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """(restored clip, mask): the larger mask of both directions (n, t, 1, h, w); none for single frames."""
        clip = batch["lq"]
        if self.hparams["single_frame"]:
            return single_frames(rtn)(clip), None
        restored, forward_mask, backward_mask = rtn(clip, *self.flows_of(batch))
        return restored, torch.maximum(forward_mask, backward_mask)

    @torch.no_grad()
    def passed(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch after a pass: its clips composited inside their defect map."""
        restored, _ = self.restore(self.best, batch)
        return {**batch, "lq": composited(restored.float(), batch["lq"])}

    def cropped(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A square of ``crop`` of the batch, at random, with the flow of the whole."""
        side, (height, width) = self.hparams["crop"], batch["lq"].shape[-2:]
        flows = dict(zip(("forward_flow", "backward_flow"), self.flows_of(batch), strict=True))
        top, left = (int(torch.randint(0, max(1, length - side + 1), ())) for length in (height, width))
        parts = {name: batch[name] for name in ("lq", "gt", "mask")} | flows
        return {name: part[..., top : top + side, left : left + side] for name, part in parts.items()} | {
            "cropped": True
        }

    def training_step(self, batch: dict[str, Any] | None, batch_index: int) -> None:
        if batch is None:
            return  # every sample was corrupt; each has been named
        options: Any = self.hparams
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        logged = {}
        if self.rtn.detector is not None:
            logits = clip_logits(self.rtn, batch["lq"], *self.flows_of(batch))
            loss = detection_loss(logits, batch["mask"] > metrics.DEFECT)
            self._step(optimizers[-1], loss)
            logged["train_detection"] = loss
            if options.rest:
                batch = {**batch, "lq": filled_clip(batch["lq"], probabilities(logits))}
        if options.rest:
            logged |= self._train_rest(batch, batch_index, optimizers)
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            cast(LRScheduler, scheduler).step()
        if self.average is not None:
            with torch.no_grad():
                for mean, new in zip(self.average.parameters(), self.rtn.parameters(), strict=True):
                    mean.lerp_(new, 1 - options.ema)
        self.log_dict({name: value.detach() for name, value in logged.items()}, batch_size=len(batch["gt"]))

    def _train_rest(self, batch: dict[str, Any], batch_index: int, optimizers: list[Any]) -> dict[str, Tensor]:
        """A step of all but the detector; what to log of it."""
        options: Any = self.hparams
        logged = {}
        for _ in range(batch_index % options.passes):
            batch = self.passed(batch)
        if options.crop is not None:
            batch = self.cropped(batch)
        target = batch["gt"]
        restored, _ = self.restore(self.rtn, batch)
        if self.discriminator is not None:
            self.discriminator.requires_grad_(True)
            loss = (
                discriminator_loss(self.discriminator(target), True, options.adversarial)
                + discriminator_loss(self.discriminator(restored.detach()), False, options.adversarial)
            ) / 2
            optimizers[1].zero_grad()
            self.manual_backward(loss)
            optimizers[1].step()
            logged["train_discriminator"] = loss
            # The generator's step goes through the discriminator, and leaves it alone.
            self.discriminator.requires_grad_(False)
        weight = 1 + options.defect_weight * (batch["mask"] > metrics.DEFECT) if options.defect_weight else 1
        terms = {"pixel": options.pixel_weight * (weight * (restored.float() - target).abs()).mean()}
        for perceptual in self._perceptual:
            value = perceptual(restored.flatten(0, 1), target.flatten(0, 1))
            terms["perceptual"] = options.perceptual_weight * value
        if self.discriminator is not None:
            value = generator_loss(self.discriminator(restored), options.adversarial)
            terms["adversarial"] = options.adversarial_weight * value
        loss = torch.stack(list(terms.values())).sum()
        self._step(optimizers[0], loss)
        return logged | {"train_loss": loss, **{f"train_{name}": value for name, value in terms.items()}}

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        if clip := self.hparams["gradient_clip"]:
            self.clip_gradients(cast(Optimizer, optimizer), clip, "norm")
        optimizer.step()

    # Validation ------------------------------------------------------------------------------------------------------

    @property
    def best(self) -> RTN:
        """The weights that are validated and exported: the running average where there is one."""
        return self.rtn if self.average is None else self.average

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        if self.best.detector is not None:
            restored, *_, mask = restored_clip(self.best, batch["lq"], self.flows_of(batch), self._flow[0])
        else:
            for _ in range(self.hparams["passes"] - 1):
                batch = self.passed(batch)
            restored, mask = self.restore(self.best, batch)
        true = batch["mask"] > metrics.DEFECT
        logged = {}
        for name, where in (("", torch.ones_like(true)), ("_inside", true), ("_outside", ~true)):
            if where.any():
                error = metrics.mean_squared(restored.float(), batch["gt"], where)
                logged[f"val_psnr{name}"] = -10 * torch.log10(error.clamp(min=1e-10))
        if mask is not None and mask.shape[1] > 2:
            inner = slice(1, -1)
            scores = metrics.mask_scores(mask[:, inner].float().cpu().numpy(), true[:, inner].cpu().numpy())
            if np.isfinite(scores.auroc):
                logged["val_mask_auroc"] = torch.tensor(scores.auroc, device=self.device)
                logged["val_mask_precision"] = torch.tensor(scores.average_precision, device=self.device)
        self.log_dict(logged, on_epoch=True, batch_size=len(true), sync_dist=True)
