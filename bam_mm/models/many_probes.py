"""Linear probes with many settings in one training: features x learning rates x weight decays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from bam_mm.errors import InputError, listing
from bam_mm.models.linear_probe import FrozenBackboneClassifier
from bam_mm.models.probe_features import ProbeFeature, several_features
from bam_mm.precision import computing_in
from bam_mm.registry import MODELS


@dataclass(frozen=True)
class ProbeSetting:
    """Setting of one of many linear probes.

    Attributes:
        feature: Feature of the backbone.
        learning_rate: Learning rate at the start of the schedule.
        weight_decay: Weight decay.
    """

    feature: ProbeFeature
    learning_rate: float
    weight_decay: float

    def facts(self) -> dict[str, Any]:
        """Return the setting as plain values by name."""
        rates = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        return {"feature": str(self.feature), **rates}

    def __str__(self) -> str:
        rate, decay = f"{self.learning_rate:g}", f"{self.weight_decay:g}"
        return f"{self.feature}, learning rate {rate}, weight decay {decay}"


class ProbeHeads(nn.Module):
    """Linear heads on several features.

    Args:
        head: Config of a head of mmpretrain, without ``in_channels``.
        neck: Config of ``ClsBatchNormNeck`` without affine parameters and ``input_features``, or
            None. The heads of a feature share it, since it depends on the feature alone.
        features: Features.
        settings: Setting of each head.
        in_channels: Width of a token.

    Raises:
        InputError: If the neck has parameters, which heads would share.
    """

    def __init__(
        self,
        head: Mapping[str, Any],
        neck: Mapping[str, Any] | None,
        features: Sequence[ProbeFeature],
        settings: Sequence[ProbeSetting],
        in_channels: int,
    ) -> None:
        super().__init__()
        self.widths = [in_channels * feature.parts for feature in features]
        self.place = [features.index(setting.feature) for setting in settings]
        self.necks = nn.ModuleList(
            nn.Identity() if neck is None else MODELS.build({**neck, "input_features": width})
            for width in self.widths
        )
        if list(self.necks.parameters()):
            raise InputError(
                "model.neck has parameters that all heads of a feature would share: use "
                "dict(type='ClsBatchNormNeck', affine=False), or remove it"
            )
        self.probes = nn.ModuleList(
            MODELS.build({**head, "in_channels": self.widths[place]}) for place in self.place
        )

    @property
    def num_classes(self) -> int:
        """Number of classes, the same for all heads."""
        probe: Any = self.probes[0]
        return probe.num_classes

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Compute the logits of every head.

        Args:
            features: (N, D) features in the order of the settings' features.

        Returns:
            (N, C) logits of each head.
        """
        normed = [neck((x,)) for neck, x in zip(self.necks, features, strict=True)]
        inputs = [x if isinstance(x, tuple) else (x,) for x in normed]
        return [probe(inputs[place]) for probe, place in zip(self.probes, self.place, strict=True)]


@MODELS.register_module()
class ManyLinearProbes(FrozenBackboneClassifier):
    """Linear probes with many settings, trained side by side on one forward pass of the backbone.

    There is a head for each combination of feature, learning rate and weight decay, as in DINOv2::

        x[f]    = feature f of the frozen backbone   (N, D_f), all in one forward pass
        loss[s] = cross_entropy(head[s](x[f_s]), labels)       mean over the batch
        loss    = sum of loss[s]

    Heads compute in float32, also in mixed precision.

    A head gets the gradient of its own loss alone, so each one is trained as a
    :class:`~bam_mm.models.linear_probe.FrozenBackboneClassifier` with its setting would be.
    :class:`~bam_mm.optim.many_probes.ManyLinearProbesConstructor` sets the learning rates and
    weight decays. A head also starts from the same weights: :meth:`init_weights` builds that
    classifier once for each feature from the seed of the process, and copies its head.

    :class:`~bam_mm.protocols.many_probes.ManyLinearProbesLoop` chooses a head on validation images.
    ``predict`` writes the classes that all heads predict into ``probe_labels`` of a sample, and
    the scores of the chosen head, if there is one, into ``pred_score``.

    Args:
        backbone: Config of the backbone.
        head: Config of a head without ``in_channels``, such as ``LinearClsHead``.
        features: Names of the features, see :meth:`ProbeFeature.of`.
        learning_rates: Learning rates at the start of the schedule, multiplied by that of the
            optimizer, which is usually 1.
        weight_decays: Weight decays.
        in_channels: Width C of a token of the backbone. A feature is C times its parts wide.
        neck: Config of ``ClsBatchNormNeck`` without affine parameters, or None.
        precision: Precision in which the backbone computes, see
            :class:`~bam_mm.models.linear_probe.FrozenBackboneClassifier`.
        **kwargs: Arguments of mmpretrain's ``ImageClassifier``.

    Attributes:
        settings: Setting of each head: features outside, weight decays inside.
        chosen: Number of the head that ``predict`` scores, None for none.

    Raises:
        InputError: If a list is empty or has a wrong or repeated entry, or the neck has parameters.
    """

    def __init__(
        self,
        backbone: Mapping[str, Any],
        head: Mapping[str, Any],
        features: Sequence[str],
        learning_rates: Sequence[float],
        weight_decays: Sequence[float] = (0.0,),
        in_channels: int = 768,
        neck: Mapping[str, Any] | None = None,
        precision: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._check_list("features", features, "cls,mean,cls4")
        self._check_list("learning_rates", learning_rates, "0.01,0.1,1", positive=True)
        self._check_list("weight_decays", weight_decays, "0,1e-4", positive=False)
        if neck is not None and not isinstance(neck, Mapping):
            raise InputError(
                f"model.neck={neck!r} must be a dict: set model.neck.type=ClsBatchNormNeck and "
                "model.neck.affine=False, or None"
            )
        kinds = [ProbeFeature.of(name) for name in features]
        self._check_list("features", list(map(str, kinds)), "cls,mean,cls4")
        combined = product(kinds, map(float, learning_rates), map(float, weight_decays))
        settings = [ProbeSetting(*values) for values in combined]
        heads = ProbeHeads(head, neck, kinds, settings, in_channels)
        blocks = max(kind.blocks for kind in kinds)
        super().__init__(backbone, heads, kinds[0].feature, blocks, precision=precision, **kwargs)
        self.features, self.settings, self.in_channels = kinds, settings, in_channels
        self.chosen: int | None = None
        self._newest: Tensor | None = None
        self._single: dict[str, Any] = dict(backbone=backbone, head=head, neck=neck, **kwargs)

    @staticmethod
    def _check_list(name: str, values: Any, usual: str, positive: bool | None = None) -> None:
        problem = ""
        if not isinstance(values, (list, tuple)) or not values:
            problem = "must be a list with at least one entry"
        elif positive is not None and not all(_is_rate(value, positive) for value in values):
            problem = f"must be numbers {'above' if positive else 'of at least'} 0"
        elif any(value in values[:place] for place, value in enumerate(values)):
            problem = "names an entry twice"
        if problem:
            raise InputError(
                f'model.{name}={values!r} {problem}; set --cfg-options "model.{name}=[{usual}]"'
            )

    def init_weights(self) -> None:
        """Initialise every head as the single probe of its feature from the same seed.

        The random numbers that a head starts from depend on how many the backbone and the head took
        before, so the single probe is built and initialised for each feature. The backbone gets the
        random weights of the first one. The state of torch's generator does not change.
        """
        heads: Any = self.head
        for place, feature in enumerate(self.features):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch.initial_seed())
                single = self.single_probe(feature)
                single.init_weights()
            if not place:
                self.backbone.load_state_dict(single.backbone.state_dict())
            for probe, own in zip(heads.probes, heads.place, strict=True):
                if own == place:
                    probe.load_state_dict(single.head.state_dict())
        self._is_init = True

    def single_probe(self, feature: ProbeFeature) -> FrozenBackboneClassifier:
        """Build the classifier with one head that is trained in the same way.

        Args:
            feature: Feature of its head.
        """
        settings, width = dict(self._single), self.in_channels * feature.parts
        settings["head"] = {**settings["head"], "in_channels": width}
        if settings["neck"] is not None:
            settings["neck"] = {**settings["neck"], "input_features": width}
        single = FrozenBackboneClassifier(
            feature=feature.feature, blocks=feature.blocks, **settings
        )
        single._dump_init_info = lambda: None  # Four lines for each parameter.
        return single

    def groups(self) -> list[tuple[ProbeSetting, list[nn.Parameter]]]:
        """Return the setting and the parameters of each head."""
        heads: Any = self.head
        parameters = [list(probe.parameters()) for probe in heads.probes]
        return list(zip(self.settings, parameters, strict=True))

    def extract_feat(self, inputs: Tensor, stage: str = "neck") -> tuple[Tensor, ...]:
        """Compute the features of a batch in one forward pass.

        Args:
            inputs: (N, 3, H, W) normalised images.
            stage: Not used: the heads have their own BatchNorm.

        Returns:
            (N, D) features in float32, in the order of ``features``.

        Raises:
            InputError: If a feature has another width than its heads take.
        """
        with torch.no_grad(), computing_in(self.precision_used, inputs.device):
            found = several_features(self.backbone, inputs, self.features)
        heads: Any = self.head
        for feature, x, width in zip(self.features, found, heads.widths, strict=True):
            if x.shape[1] != width:
                raise InputError(
                    f"the feature {feature} of this backbone is {x.shape[1]} wide, its heads take "
                    f"{width}: set --cfg-options model.in_channels={x.shape[1] // feature.parts}"
                )
        return tuple(x.float() for x in found)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Compute the sum of the heads' losses.

        Args:
            inputs: (N, 3, H, W) normalised images.
            data_samples: N samples with labels, or with the scores of mixed images.

        Returns:
            ``loss``, the sum over the heads, whose gradient is that of the single probes, and for
            the log ``heads_mean`` and ``heads_least``, their mean and the smallest of them.
        """
        heads: Any = self.head
        # As mmpretrain's heads do, but once for all of them.
        if "gt_score" in data_samples[0]:
            target = torch.stack([sample.gt_score for sample in data_samples])
        else:
            target = torch.cat([sample.gt_label for sample in data_samples])
        with _float32(inputs):
            logits = heads(self.extract_feat(inputs))
            losses = torch.stack(
                [
                    probe.loss_module(scores, target, avg_factor=len(scores))
                    for probe, scores in zip(heads.probes, logits, strict=True)
                ]
            )
        self._newest = shown = losses.detach()
        return {"loss": losses.sum(), "heads_mean": shown.mean(), "heads_least": shown.min()}

    def remedy_if_not_finite(self) -> str | None:
        """Return what to do if the newest losses of some heads are not finite; None if all are.

        :class:`~bam_mm.hooks.check_finite.CheckFiniteHook` asks once the sum is not finite, since
        reading the losses waits for the device. A head that diverged before stays so.
        """
        if self._newest is None or self._newest.isfinite().all():
            return None
        bad = (~self._newest.isfinite()).nonzero().flatten().tolist()
        found = listing([f"({self.settings[number]})" for number in bad], 4)
        return (
            f"the loss of {len(bad)} of the {len(self.settings)} heads is not finite, {found}: "
            "remove these values from model.learning_rates, model.weight_decays or model.features, "
            "and train again"
        )

    def predict(
        self, inputs: Tensor, data_samples: list | None = None, **kwargs: Any
    ) -> list[DataSample]:
        """Predict the classes of images with every head.

        Args:
            inputs: (N, 3, H, W) normalised images.
            data_samples: N samples, to which the predictions are added; None for new ones.
            **kwargs: Not used.

        Returns:
            N samples with ``probe_labels`` (S,), the class that each of the S heads predicts, and
            with ``pred_score`` and ``pred_label`` of the chosen head, if there is one.
        """
        heads: Any = self.head
        with _float32(inputs):
            logits = heads(self.extract_feat(inputs))
        labels = torch.stack([scores.argmax(dim=1) for scores in logits], dim=1)
        samples = data_samples or [DataSample() for _ in labels]
        if self.chosen is not None:
            samples = heads.probes[self.chosen]._get_predictions(logits[self.chosen], samples)
        for sample, row in zip(samples, labels, strict=True):
            sample.set_field(row, "probe_labels")
        return samples


def _float32(inputs: Tensor) -> torch.autocast:
    """Context of the heads: without the caller's autocast, since an overflow would stop them all.

    The features are float32.
    """
    return torch.autocast(inputs.device.type, enabled=False)


def _is_rate(value: Any, positive: bool) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return False
    return value > 0 if positive else value >= 0
