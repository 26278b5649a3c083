"""The encoder: a trunk, a classifier of identities and a projection onto the unit sphere."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import normalize, relu

from luperson_nl.models.trunks import pooled
from luperson_nl.pnl.contrast import full_precision
from luperson_nl.pnl.sharding import AllClasses


class Encoder(nn.Module):
    """``x = mean(trunk)``; logits = classifier(relu(embed_fc(x))); embedding = l2norm(fc2(relu(fc1(x)))).

    Args:
        trunk: with ``num_features``.
        num_classes: of the classifier; None: there is none.
        dim: of the embedding; None: there is no projection.
        cls_dim: width of ``embed_fc``; None: the classifier stands directly on x.
        hidden: width of the projection's middle.
        batch_norm: normalise the middle of the projection (SimCLR, SupCon).
    """

    def __init__(
        self,
        trunk: nn.Module,
        num_classes: int | None = None,
        dim: int | None = None,
        cls_dim: int | None = 256,
        hidden: int = 2048,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.classes = AllClasses()
        features = int(trunk.num_features)  # type: ignore[arg-type]
        self.embed_fc = self.classifier = self.fc1 = self.fc2 = None
        if num_classes is not None:
            if cls_dim:
                self.embed_fc = nn.Linear(features, cls_dim)
                nn.init.kaiming_normal_(self.embed_fc.weight, mode="fan_out")
                nn.init.zeros_(self.embed_fc.bias)
            self.classifier = nn.Linear(cls_dim or features, num_classes)
            nn.init.normal_(self.classifier.weight, std=0.001)
            nn.init.zeros_(self.classifier.bias)
        self.bn = nn.BatchNorm1d(hidden) if batch_norm else nn.Identity()
        if dim is not None:
            self.fc1, self.fc2 = nn.Linear(features, hidden), nn.Linear(hidden, dim)
            for layer in (self.fc1, self.fc2):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def features(self, images: Tensor) -> Tensor:
        """The pooled map, (n, num_features)."""
        return pooled(self.trunk, images)

    def classify(self, features: Tensor) -> Tensor:
        """(n, num_classes) logits of pooled features (n, num_features); of a ``Shard``, (N, its classes) of everybody's."""
        assert self.classifier is not None
        hidden = features if self.embed_fc is None else relu(self.embed_fc(features))
        return self.classes.logits(self.classifier, hidden)

    def project(self, features: Tensor) -> Tensor:
        """(n, dim) unit embeddings of pooled features."""
        assert self.fc1 is not None and self.fc2 is not None
        return normalize(full_precision(self.fc2(relu(self.bn(self.fc1(features))))))

    def forward(self, images: Tensor) -> Tensor:
        """What evaluation uses: the pooled map on the unit sphere, (n, num_features)."""
        return normalize(self.features(images))
