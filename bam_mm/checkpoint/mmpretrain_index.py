"""Backbones of the models in mmpretrain's index, as networks that return features."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from mmengine.config import Config

from bam_mm.errors import InputError
from bam_mm.registry import registered_class

PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "BEiTPretrainViT": ("BEiTViT", {}),
    "CAEPretrainViT": (
        "BEiTViT",
        dict(use_abs_pos_emb=True, use_rel_pos_bias=False, final_norm=True, out_type="raw"),
    ),
    "MAEViT": ("VisionTransformer", {}),
    "MaskFeatViT": ("VisionTransformer", {}),
    "MILANViT": ("VisionTransformer", {}),
    "MixMIMPretrainTransformer": ("MixMIMTransformer", {}),
    "SimMIMSwinTransformer": ("SwinTransformer", {}),
    "SparseResNet": ("ResNet", {}),
}
"""Class with the same network and names for each class of a pretraining that hides patches."""

_DEFAULTS: dict[str, dict[str, Any]] = {
    # BEiTViT's own defaults are those of fine-tuning, with a norm after the average.
    "BEiTPretrainViT": dict(final_norm=True, out_type="raw"),
}
"""Defaults of a class of a pretraining that its tensors depend on, where the other's differ."""

MASKED = ("MFFViT", "SparseConvNeXt", "iTPNHiViT")
"""Classes of such pretrainings that no other class equals."""


def index_backbone(name: str, known: Sequence[str], spec: str) -> dict[str, Any]:
    """Return the config of the backbone of a model in mmpretrain's index.

    A backbone of a pretraining that hides patches, such as MAE's, becomes the class that computes
    the features of whole images with the same tensors. A backbone that has a classifier inside,
    such as VGG, is built without it.

    Args:
        name: Name in the index.
        known: All names in the index.
        spec: Short name, for messages.

    Raises:
        InputError: If mmpretrain cannot read its config, or the model has no backbone that computes
            features of whole images.
    """
    from mmpretrain.apis.model import ModelHub  # Slow to import.

    try:
        model = ModelHub.get(name).config.model
    except (KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"backbone {spec!r}: mmpretrain cannot read its own config of {name} ({reason}); "
            "choose another model"
        ) from error
    config = dict(Config(dict(model=model)).to_dict()["model"].get("backbone") or {})
    if not config:
        raise InputError(f"backbone {spec!r}: the model {name} has no backbone; choose another")
    config.pop("init_cfg", None)
    if "." not in config["type"]:
        config["type"] = f"mmpretrain.{config['type']}"
    kind = config["type"].rpartition(".")[2]
    if kind in MASKED:
        method = name.partition("_")[0]
        tuned = [other for other in known if f"{method}-" in other.partition("_")[2]]
        raise InputError(
            f"backbone {spec!r}: {kind} only sees images with hidden patches, in its pretraining; "
            f"choose a model that was fine-tuned after it ({', '.join(tuned) or 'of another name'})"
        )
    if kind in PLAIN:
        return whole_image_backbone(config)
    # With this default, a number of classes adds a classifier, whose logits are no features.
    classes = signature(registered_class(config["type"])).parameters.get("num_classes")
    if classes is not None and classes.default == -1:
        config.pop("num_classes", None)
    return config


def whole_image_backbone(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config of the class that computes features of whole images with the same tensors.

    Args:
        config: Config of a backbone with a scope in its type. It is returned as it is unless its
            class is one of mmpretrain's that hide patches (:data:`PLAIN`).
    """
    scope, _, pretraining = config["type"].rpartition(".")
    if scope != "mmpretrain" or pretraining not in PLAIN:
        return config
    kind, settings = PLAIN[pretraining]
    takes = signature(registered_class(f"mmpretrain.{kind}")).parameters
    kept = {k: v for k, v in config.items() if k in takes and k != "out_indices"}
    if kept.pop("use_shared_rel_pos_bias", False):
        # Loading copies the shared bias to each block, as fine-tuning does.
        kept["use_rel_pos_bias"] = True
    defaults = _DEFAULTS.get(pretraining, {})
    return {**defaults, **kept, **settings, "type": f"mmpretrain.{kind}"}
