"""How much a feature looks like an object's: the unary terms of LUDVIG, sections C.1.2 to C.1.4."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from render.errors import InputError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

MAX_ROWS = 20_000  # of each class that a logistic regression is fitted on
BLOCK = 1 << 16  # rows worked on at a time


@dataclass(frozen=True, eq=False)
class LogisticModel:
    """Logistic regression on l2-normalised (cosine) or plain features.

    Attributes:
        coefficients: ``[c]`` float32.
        intercept: Of the decision function.
        normalize: Whether features are l2-normalised first.
    """

    coefficients: Float[Tensor, " c"]
    intercept: float
    normalize: bool = True

    @staticmethod
    def fit(
        features: Float[Tensor, "n c"],
        positives: Bool[Tensor, " n"],
        negatives: Bool[Tensor, " n"] | None = None,
        *,
        C: float = 1.0,
        balanced: bool = False,
        normalize: bool = True,
        seed: int = 0,
        max_rows: int = MAX_ROWS,
    ) -> LogisticModel:
        """Fit with scikit-learn, on at most ``max_rows`` rows of each class, weighted as all of them.

        Args:
            features: One per Gaussian or pixel.
            positives: Rows of the object.
            negatives: Rows that are not; None = all others.
            C: Inverse strength of the l2 penalty.
            balanced: Whether both classes weigh the same.
            normalize: Whether to l2-normalise the features.
            seed: Of the choice of rows.
            max_rows: Of each class.

        Raises:
            InputError: a class is empty, or shapes do not fit.
        """
        from sklearn.linear_model import LogisticRegression

        if features.ndim != 2 or positives.shape != (len(features),):
            raise InputError(
                f"Expected features [n, c] and a label for each, found {list(features.shape)} and "
                f"{list(positives.shape)}."
            )
        other = ~positives if negatives is None else negatives
        random = np.random.default_rng(seed)
        rows, labels, weights = [], [], []
        for label, members in ((1, positives), (0, other)):
            every = np.flatnonzero(members.cpu().numpy())
            if not len(every):
                raise InputError(
                    f"A logistic regression needs rows of both classes, found none that are "
                    f"{'positive' if label else 'negative'}."
                )
            some = random.choice(every, min(len(every), max_rows), replace=False)
            rows.append(np.sort(some))
            labels.append(np.full(len(some), label))
            mass = (int(positives.sum()) + int(other.sum())) / 2 if balanced else len(every)
            weights.append(np.full(len(some), mass / len(some)))
        chosen = torch.from_numpy(np.concatenate(rows)).to(features.device)
        data = _prepared(features[chosen], normalize).cpu().numpy()
        model = LogisticRegression(C=C, max_iter=1000)
        model.fit(data, np.concatenate(labels), sample_weight=np.concatenate(weights))
        coefficients = torch.tensor(model.coef_[0], dtype=torch.float32, device=features.device)
        return LogisticModel(coefficients, float(model.intercept_[0]), normalize)

    def probability(self, features: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
        """The predicted probability of the object for each row.

        Raises:
            InputError: the number of channels is another.
        """
        if features.ndim != 2 or features.shape[1] != len(self.coefficients):
            raise InputError(
                f"The model was fitted on {len(self.coefficients)} channels, found features {list(features.shape)}."
            )
        blocks = [_prepared(block, self.normalize) @ self.coefficients for block in features.split(BLOCK)]
        return torch.sigmoid(torch.cat(blocks) + self.intercept)


def logistic_unary(
    features: Float[Tensor, "n c"],
    positives: Bool[Tensor, " n"],
    *,
    bandwidth: float,
    C: float = 1.0,
    balanced: bool = False,
    normalize: bool = True,
    seed: int = 0,
) -> Float[Tensor, " n"]:
    """``P(f_i) = L(f_i)^(1/b)`` with a logistic regression for the positives against all others.

    Raises:
        InputError: see :meth:`LogisticModel.fit`; or the bandwidth is not positive.
    """
    _positive(bandwidth)
    model = LogisticModel.fit(features, positives, C=C, balanced=balanced, normalize=normalize, seed=seed)
    return model.probability(features).pow(1 / bandwidth)


def mean_feature_unary(
    features: Float[Tensor, "n c"], anchors: Bool[Tensor, " n"], bandwidth: float, *, normalize: bool = True
) -> Float[Tensor, " n"]:
    """``P(f_i) = S_f(f_i, mean of the anchors)``, for scribbles (section C.1.3).

    The scale ``s_f`` is the median distance of all features from that mean.

    Raises:
        InputError: there are no anchors, shapes do not fit, or the bandwidth is not positive.
    """
    _positive(bandwidth)
    if features.ndim != 2 or anchors.shape != (len(features),) or not bool(anchors.any()):
        raise InputError(
            f"The unary term needs features [n, c] and at least one anchor among them, found {list(features.shape)} "
            f"and {int(anchors.sum())} anchors."
        )
    mean = _prepared(features[anchors], normalize).mean(0)
    distances = torch.cat([(_prepared(block, normalize) - mean).square().sum(1) for block in features.split(BLOCK)])
    middle = distances.median().clamp_min(1e-12)
    return torch.exp(-distances / (bandwidth * middle))


def _prepared(features: Tensor, normalize: bool) -> Tensor:
    features = features.to(torch.float32)
    return torch.nn.functional.normalize(features, dim=1) if normalize else features


def _positive(bandwidth: float) -> None:
    if not bandwidth > 0:
        raise InputError(f"A bandwidth must be greater than 0, found {bandwidth}.")
