"""The neck of re-identification networks: pool, reduce, normalise; the losses see it from both sides."""

from __future__ import annotations

from torch import Tensor, nn

from luperson_nl.models.heads import CLASSIFIERS, POOLS


class EmbeddingHead(nn.Module):
    """Pool -> optional 1x1 convolution -> batch norm with its bias at 0 -> classifier (Luo et al., 2019).

    Entries are called as in fast-reid: ``pool_layer.p``, ``bottleneck.{0[,1]}.*``, ``classifier.weight``.

    Args:
        features: channels of the map.
        num_classes: of the classifier.
        embedding_dim: E of the convolution; 0: there is none.
        pool: of ``heads.POOLS``.
        classifier: of ``heads.CLASSIFIERS``.
        neck_feature: the vector that metric losses see, ``before`` or ``after`` the neck.
    """

    def __init__(
        self,
        features: int,
        num_classes: int,
        embedding_dim: int = 0,
        pool: str = "mean",
        classifier: str = "linear",
        neck_feature: str = "before",
    ) -> None:
        super().__init__()
        self.pool_layer = POOLS[pool]()
        layers: list[nn.Module] = []
        if embedding_dim:
            convolution = nn.Conv2d(features, embedding_dim, 1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            layers.append(convolution)
        self.num_features = embedding_dim or features
        norm = nn.BatchNorm2d(self.num_features)
        nn.init.normal_(norm.weight, 1.0, 0.02)
        norm.bias.requires_grad_(False)
        self.bottleneck = nn.Sequential(*layers, norm)
        self.classifier = CLASSIFIERS[classifier](self.num_features, num_classes)
        self.neck_feature = neck_feature

    def feature(self, maps: Tensor) -> Tensor:
        """The vector behind the neck, (n, num_features), not normalised."""
        return self.bottleneck(self.pool_layer(maps)).flatten(1)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """What the losses need.

        Returns:
            ``feature`` (n, E) for metric losses, and the classifier's ``logits`` or ``cosines`` (n, C).
        """
        pooled = self.pool_layer(maps)
        neck = self.bottleneck(pooled).flatten(1)
        feature = pooled.flatten(1) if self.neck_feature == "before" else neck
        return {"feature": feature, self.classifier.scores: self.classifier(neck)}
