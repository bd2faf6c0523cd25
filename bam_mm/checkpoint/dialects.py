"""Names of other libraries for the tensors of timm's models, and the tensors that they split."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor

from bam_mm.checkpoint.architectures import KEYMAPS
from bam_mm.checkpoint.names import KeyMap

Change = Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], str]]
"""A change to tensors by name. It returns the new tensors and a description, ``""`` for none."""

_QKV = ("query", "key", "value")
_SPLIT = re.compile(r"(.*\battention\.attention\.)query\.(weight|bias)")
_CHUNKED = re.compile(r"blocks\.\d+\.(\d+\..*)")


@dataclass(frozen=True)
class Dialect:
    """The names of another library.

    Args:
        name: Name of the dialect in messages.
        mark: Regular expression of the names by which it is recognised.
        table: Pairs of timm's and the other name.
        before: Change to the tensors under their own names.
        after: Change to the tensors under timm's names.
    """

    name: str
    mark: str
    table: KeyMap
    before: Change | None = None
    after: Change | None = None

    def to_timm(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
        """Return the tensors under timm's names, and a description of what was changed.

        Names that no rule covers are kept.
        """
        joined, first = self.before(tensors) if self.before else (dict(tensors), "")
        renamed: dict[str, Tensor] = {}
        for key, tensor in joined.items():
            name = self.table.to_timm(key) or key
            # If two names have the same translation, the second one is left over.
            renamed[key if name in renamed or (name != key and name in joined) else name] = tensor
        result, second = self.after(renamed) if self.after else (renamed, "")
        return result, "; ".join(filter(None, (first, second)))

    def in_file(self, name: str) -> str:
        """Return the name in the file of a tensor with timm's name."""
        theirs = self.table.to_mmpretrain(name) or name
        return theirs.replace(
            ".attention.attention.qkv.", ".attention.attention.{query,key,value}."
        )


def join_attention(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Join the weights and biases of query, key and value (D, D) to one of ``qkv`` (3 D, D)."""
    result, joined = dict(tensors), 0
    for key in tensors:
        match = _SPLIT.fullmatch(key)
        if not match:
            continue
        names = [f"{match[1]}{part}.{match[2]}" for part in _QKV]
        parts = [tensors[name] for name in names if name in tensors]
        if len(parts) < 3 or not parts[0].ndim or len({(p.dtype, p.shape) for p in parts}) > 1:
            continue
        for name in names:
            del result[name]
        result[f"{match[1]}qkv.{match[2]}"] = torch.cat(parts)
        joined += match[2] == "weight"
    return result, f"joined query, key and value of {joined} blocks" if joined else ""


def join_chunks(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Name the block ``blocks.1.7`` of DINOv2, which groups blocks for FSDP, ``blocks.7``."""
    names = [_CHUNKED.sub(r"blocks.\1", key) for key in tensors]
    # In other networks with stages, the numbers start again in each of them.
    unique = len(set(names)) == len(names) and "cls_token" in tensors
    return dict(zip(names if unique else tensors, tensors.values(), strict=True)), ""


def add_class_position(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Add the position embedding of the class token to the token, as timm does with registers.

    The registers have no position. Tensors: ``cls_token`` (1, 1, D) and ``pos_embed``
    (1, 1 + side^2, D), which becomes (1, side^2, D).
    """
    result = dict(tensors)
    token, places = result.get("cls_token"), result.get("pos_embed")
    if "reg_token" not in result or token is None or places is None or places.ndim != 3:
        return result, ""
    side = isqrt(max(places.shape[1] - 1, 0))
    first = places[:, :1]
    if not side or side**2 + 1 != places.shape[1] or token.shape != first.shape:
        return result, ""
    result.update(cls_token=token + first, pos_embed=places[:, 1:])
    return result, "added the class token's position to the token, since registers have none"


_LAYER = "encoder.layer.*."

_HUGGING_FACE = (
    ("cls_token", "embeddings.cls_token"),
    ("dist_token", "embeddings.distillation_token"),
    ("reg_token", "embeddings.register_tokens"),
    ("mask_token", "embeddings.mask_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("blocks.*.attn.qkv.", f"{_LAYER}attention.attention.qkv."),
    ("blocks.*.attn.proj.", f"{_LAYER}attention.output.dense."),
    ("norm.", "layernorm."),
)

_HUGGING_FACE_BLOCK = (
    ("blocks.*.norm1.", f"{_LAYER}layernorm_before."),
    ("blocks.*.norm2.", f"{_LAYER}layernorm_after."),
    ("blocks.*.mlp.fc1.", f"{_LAYER}intermediate.dense."),
    ("blocks.*.mlp.fc2.", f"{_LAYER}output.dense."),
)

_BIAS = "relative_position_bias.relative_position"


def _table(family: str, *rules: tuple[str, str]) -> KeyMap:
    return KeyMap(family=family, rules=rules, timm_mark="")


HUGGING_FACE_BEIT = Dialect(
    name="Hugging Face's BEiT",
    mark=r"encoder\.layer\.\d+\.(lambda_[12]$|attention\.attention\.relative_position_bias\.)",
    table=_table(
        "BEiT",
        *_HUGGING_FACE,
        *_HUGGING_FACE_BLOCK,
        ("blocks.*.attn.q_bias", f"{_LAYER}attention.attention.query.bias"),
        ("blocks.*.attn.v_bias", f"{_LAYER}attention.attention.value.bias"),
        ("blocks.*.gamma_1", f"{_LAYER}lambda_1"),
        ("blocks.*.gamma_2", f"{_LAYER}lambda_2"),
        *(
            (f"blocks.*.attn.relative_position_{end}", f"{_LAYER}attention.attention.{_BIAS}_{end}")
            for end in ("bias_table", "index")
        ),
        *(
            (f"rel_pos_bias.relative_position_{end}", f"encoder.{_BIAS}_{end}")
            for end in ("bias_table", "index")
        ),
        ("fc_norm.", "pooler.layernorm."),
    ),
    before=join_attention,
)

HUGGING_FACE_DINOV2 = Dialect(
    name="Hugging Face's DINOv2",
    mark=r"encoder\.layer\.\d+\.(norm1|layer_scale1|mlp)\.",
    table=_table(
        "ViT",
        *_HUGGING_FACE,
        ("blocks.*.norm1.", f"{_LAYER}norm1."),
        ("blocks.*.norm2.", f"{_LAYER}norm2."),
        ("blocks.*.ls1.gamma", f"{_LAYER}layer_scale1.lambda1"),
        ("blocks.*.ls2.gamma", f"{_LAYER}layer_scale2.lambda1"),
        ("blocks.*.mlp.fc1.", f"{_LAYER}mlp.fc1."),
        ("blocks.*.mlp.fc2.", f"{_LAYER}mlp.fc2."),
        ("blocks.*.mlp.fc1.", f"{_LAYER}mlp.weights_in."),
        ("blocks.*.mlp.fc2.", f"{_LAYER}mlp.weights_out."),
    ),
    before=join_attention,
    after=add_class_position,
)

HUGGING_FACE_VIT = Dialect(
    name="Hugging Face's ViT",
    mark=r"encoder\.layer\.\d+\.(layernorm_before|attention\.attention|intermediate)\.",
    table=_table("ViT", *_HUGGING_FACE, *_HUGGING_FACE_BLOCK),
    before=join_attention,
)

DINOV2 = Dialect(
    name="DINOv2's own names",
    mark=r"register_tokens$|blocks\.\d+\.(\d+\.(norm1|attn|mlp)|mlp\.w12)\.",
    table=_table(
        "ViT",
        ("reg_token", "register_tokens"),
        ("blocks.*.mlp.fc1.", "blocks.*.mlp.w12."),
        ("blocks.*.mlp.fc2.", "blocks.*.mlp.w3."),
    ),
    before=join_chunks,
    after=add_class_position,
)

DIALECTS = (HUGGING_FACE_BEIT, HUGGING_FACE_DINOV2, HUGGING_FACE_VIT, DINOV2)
"""All dialects. The first one with a matching mark is used."""

MARKS = tuple(
    mark
    for mark in (
        *(dialect.mark for dialect in DIALECTS),
        *(mark for keymap in KEYMAPS for mark in (keymap.timm_mark, keymap.mmpretrain_mark)),
    )
    if mark
)
"""Regular expressions of the names by which backbones are recognised, in any dialect."""


def dialect_of(keys: Iterable[str]) -> Dialect | None:
    """Return the dialect of a backbone's keys, which have no prefix; None if they have none."""
    keys = list(keys)
    for dialect in DIALECTS:
        if any(re.match(dialect.mark, key) for key in keys):
            return dialect
    return None
