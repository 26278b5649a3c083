"""``UnrolledModule``: how an unrolled network is trained. Wiring only."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from mrf_unroll.data.measure import Batch
from mrf_unroll.fitting import fit_decoder, fit_head
from mrf_unroll.losses import LossTerms, ProxNetLoss
from mrf_unroll.metrics import NAMES, slice_nrmse
from mrf_unroll.models import BlochDecoder, DictionaryEncoder, Iterates, MRFResNet
from mrf_unroll.models.consistency import ConsistencyName, StepRule
from mrf_unroll.operators import least_squares_scale
from mrf_unroll.pretrained import load
from mrf_unroll.protocol import Protocol
from mrf_unroll.reconstructor import Reconstructor, level, physical
from shared_utils import UserError
from shared_utils.checkpoint import import_state_dict

log = logging.getLogger(__name__)

# Of consistency: cg, in units of the operator's norm.
_FIRST_PENALTY = 0.005


class UnrolledModule(LightningModule):
    """An unrolled network, its losses and its schedule.

    Logged: the loss and its terms; ``alpha_t`` and ``step_t`` every epoch; ``val_error``, the mean NRMSE of T1 and T2
    inside the mask, by which the best checkpoint is chosen; at test the NRMSE of each map.

    Args:
        protocol, complex_valued: of the data.
        encoder, decoder_hidden, iterations, step_rule, positive, consistency, cg_iterations, symmetric: see
            ``Reconstructor``.
        initial_alpha: one number or T of them; None: the steps that minimise |A x - y|_W^2 along h on training data
            (least squares), so that training starts at a sensible step whatever the trajectory; penalties start at
            0.005 L.
        decoder_steps, decoder_rate: Adam steps with batches of 500 atoms and their cosine learning rate; the decoder
            is trained before, and frozen after.
        map_weights, tsmi_weight, measurement_weight, intermediate, masked: see ``ProxNetLoss``.
        head_steps: of the head of encoder ``dictionary``, on atoms, before the training (``fit_head``).
        train_head: whether the training changes that head. A head that stays as it is keeps what it knows of the
            dictionary, and makes the denoiser leave time series that the tissue has.
        learning_rate, weight_decay, alpha_rate: of Adam, for encoder and alpha.
        one_cycle: one-cycle schedule over the whole training (alpha too); else a tenth of the rates from each of
            ``milestones`` (epochs) on.
    """

    def __init__(
        self,
        protocol: Protocol,
        complex_valued: bool = False,
        encoder: dict[str, Any] = {"name": "resnet", "hidden": 64, "blocks": 2},  # noqa: B006 (never changed)
        decoder_hidden: int = 300,
        iterations: int = 3,
        step_rule: StepRule = "softplus",
        initial_alpha: float | Sequence[float] | None = None,
        positive: bool = False,
        consistency: ConsistencyName = "gradient",
        decoder_steps: int = 1200,
        decoder_rate: float = 1e-2,
        map_weights: Sequence[float] = (1.0, 20.0, 2.5),
        tsmi_weight: float = 0.01,
        measurement_weight: float = 0.0,
        intermediate: float = 0.1,
        masked: bool = False,
        head_steps: int = 3000,
        learning_rate: float = 2e-3,
        alpha_rate: float | None = None,
        weight_decay: float = 0.0,
        one_cycle: bool = True,
        milestones: Sequence[int] = (),
        initial_weights: str | None = None,
        cg_iterations: int = 5,
        train_head: bool = True,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        options = {key: value for key, value in locals().items() if key not in ("self", "__class__", "protocol")}
        self.options: dict[str, Any] = options
        if one_cycle and milestones:
            raise UserError("milestones are for one_cycle: false")
        if initial_alpha is None and step_rule != "softplus":
            initial_alpha = 2.0 if step_rule == "relu_plus_one" else math.log(math.expm1(_FIRST_PENALTY))
        self.protocol = protocol
        self.reconstructor = Reconstructor(
            encoder,
            protocol.options.rank,
            decoder_hidden,
            iterations,
            step_rule,
            complex_valued,
            not protocol.sequence.is_real,
            positive,
            consistency,
            len(protocol.sequence),
            protocol.sequence.as_config(),
            list(protocol.image_size),
            protocol.options.density,
            cg_iterations=cg_iterations,
            symmetric=symmetric,
        )
        if isinstance(self.reconstructor.network.encoder, DictionaryEncoder):
            self.reconstructor.network.encoder.head.requires_grad_(train_head)
        self.initial_alpha = initial_alpha
        if initial_alpha is not None:
            with torch.no_grad():
                values = torch.as_tensor(initial_alpha, dtype=torch.float32)
                if values.ndim and len(values) != iterations:
                    raise UserError(f"initial_alpha has {len(values)} values for {iterations} iterations")
                self.reconstructor.network.alpha.copy_(values.expand(iterations))
        self.loss = ProxNetLoss(tuple(map_weights), tsmi_weight, measurement_weight, intermediate, masked)
        self.decoder_steps, self.decoder_rate, self.head_steps = decoder_steps, decoder_rate, head_steps
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.alpha_rate = learning_rate if alpha_rate is None else alpha_rate
        self.one_cycle, self.milestones = one_cycle, tuple(milestones)
        if initial_weights is not None:
            given = load(initial_weights).network.encoder.state_dict()
            import_state_dict(self.reconstructor.network.encoder, given, source=initial_weights)
        self.prepared = False

    def forward(self, adjoint: Tensor) -> Tensor:
        """h (B, s, H, W) -> maps (B, 3, H, W) that a report can show."""
        return physical(self.iterate(adjoint).maps[-1])

    @property
    def lipschitz(self) -> float:
        """The norm of the protocol's normal operator on time series such as the network's."""
        complex_valued = self.reconstructor.network.complex_valued
        return self.protocol.norm(torch.complex64 if complex_valued else torch.float32)

    def iterate(self, adjoint: Tensor) -> Iterates:
        """All iterates on the protocol's own operator."""
        return self.reconstructor(adjoint, self.protocol.normal, self.lipschitz)

    @property
    def _data(self) -> Any:
        return getattr(self.trainer, "datamodule", None)

    def on_fit_start(self) -> None:
        if not self.prepared:
            self.prepare(self._data.training)

    def prepare(self, training: Batch, decoder: BlochDecoder | None = None) -> None:
        """Train the decoder on the protocol's atoms, or take one; take scales and the first steps from training slices."""
        protocol, reconstructor = self.protocol, self.reconstructor
        network = reconstructor.network
        reconstructor.basis.copy_(torch.as_tensor(protocol.dictionary.basis))
        atoms, relaxation = (
            torch.as_tensor(protocol.dictionary.atoms),
            torch.as_tensor(protocol.dictionary.lut_ms) / 1000,
        )
        if decoder is None:
            error = fit_decoder(network.decoder, atoms, relaxation.float(), self.decoder_steps, self.decoder_rate)
            log.info("Bloch decoder: %.2f %% of the norm of %d atoms is missed", 100 * error, len(atoms))
        else:
            network.decoder.load_state_dict(decoder.state_dict())
        if isinstance(network.encoder, MRFResNet):
            network.encoder.fit_normalisation(network.features(atoms[:, :, None, None].to(self.device)).flatten(1))
        if isinstance(network.encoder, DictionaryEncoder):
            error = fit_head(network, atoms, relaxation.float(), self.head_steps)
            log.info("head on the dictionary: T1 and T2 of its atoms to %.2f %%", 100 * error)
        protocol.to(self.device)
        some = Batch._make(None if value is None else value[:8].to(self.device) for value in training)
        with torch.no_grad():
            adjoint = protocol.normal(some.tsmi)
            # The step that minimises |A x - y|_W along h, and somewhat more: the encoder takes care of the artefacts.
            step = float(least_squares_scale(adjoint, protocol.normal).mean())
            if self.initial_alpha is None:
                network.alpha.fill_(math.log(math.expm1(1.31 * step * self.lipschitz)))
            typical = torch.stack([level(h[None], protocol.normal) for h in adjoint]).mean()
        self.prepared = True
        reconstructor.options |= {
            "trajectory_sha256": protocol.trajectory_hash,
            "operator_norm": self.lipschitz,
            "level": float(typical),
            "least_squares": step,
        }

    def training_loss(self, batch: Batch) -> LossTerms:
        """The loss of a measured batch (``FingerprintingDataModule.on_after_batch_transfer``)."""
        assert batch.adjoint is not None and batch.clean_adjoint is not None and batch.energy is not None
        return self.loss(
            self.iterate(batch.adjoint),
            batch.maps,
            batch.tsmi,
            self.protocol.normal,
            batch.clean_adjoint,
            batch.energy,
            self.protocol.num_samples,
            self.reconstructor.network.decoder.scale,
            batch.mask,
        )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        terms = self.training_loss(batch)
        logged = {f"train_{name}": value.detach() for name, value in terms._asdict().items()}
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=len(batch.maps), sync_dist=True)
        return terms.total

    def on_train_epoch_end(self) -> None:
        network = self.reconstructor.network
        values = {"alpha": network.alpha.detach(), "step": network.steps(self.lipschitz).detach()}
        self.log_dict({f"{name}_{t}": x for name, xs in values.items() for t, x in enumerate(xs)}, sync_dist=True)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        errors = slice_nrmse(self(batch.adjoint), batch.maps, batch.mask).mean(dim=0)
        logged = {"val_T1": errors[0], "val_T2": errors[1], "val_PD": errors[2], "val_error": errors[:2].mean()}
        self.log_dict(logged, on_epoch=True, batch_size=len(batch.maps), sync_dist=True)

    def test_step(self, batch: Batch, batch_index: int) -> None:
        errors = slice_nrmse(self(batch.adjoint), batch.maps, batch.mask).mean(dim=0)
        logged = {f"test_{name}": error for name, error in zip(NAMES, errors, strict=True)}
        self.log_dict(logged, on_epoch=True, batch_size=len(batch.maps), sync_dist=True)

    def configure_optimizers(self) -> Any:
        network = self.reconstructor.network
        groups = [
            {"params": list(network.encoder.parameters()), "lr": self.learning_rate, "weight_decay": self.weight_decay},
            {"params": [network.alpha], "lr": self.alpha_rate, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.Adam(groups, fused=True)
        if not self.one_cycle:
            return [optimizer], [torch.optim.lr_scheduler.MultiStepLR(optimizer, self.milestones)]
        steps = int(self.trainer.estimated_stepping_batches)
        rates = [group["lr"] for group in groups]
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    # A checkpoint is a reconstruction that can be used by itself: network, basis, schedule, scales.

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        data = getattr(self._data, "options", None)
        checkpoint["reconstructor"] = {**self.reconstructor.config(), "data": data}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.prepared = True
        stored = Reconstructor.from_training(checkpoint, "the checkpoint")
        stored.check_sequence(self.protocol.sequence, "data.protocol's scan")
        stored.check_basis(self.protocol.dictionary.basis, "data.protocol")
        trained_on = stored.options["trajectory_sha256"]
        if trained_on != self.protocol.trajectory_hash:
            raise UserError(
                "the checkpoint was trained with another trajectory than data.protocol has: use its run's config"
            )
        self.reconstructor.options = stored.options
