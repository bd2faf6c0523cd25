"""MAE and BEiT on a small vision transformer, patch by patch and head by head.

He et al., CVPR 2022, arXiv 2111.06377; Bao et al., ICLR 2022, arXiv 2106.08254. The weights are the
entries of a state dict with mmpretrain's names; autograd gives their gradient.
"""

import math

import torch

EPSILON = 1e-6


def slow_mae_loss(state, images, visible, *, patch, heads):
    """Compute MAE's loss: the error of the hidden patches' normalised pixels.

    Args:
        state: State dict of the model.
        images: (B, 3, H, W) normalised images.
        visible: For each image, the numbers of the visible patches, row by row from the top left.
        patch: Side of a patch.
        heads: Number of heads of encoder and decoder.

    Returns:
        Scalar, the mean over the hidden patches of all images.
    """
    errors = []
    for image, seen in zip(images, visible, strict=True):
        patches = _patches(image, patch)
        position = state["backbone.pos_embed"][0]
        tokens = [state["backbone.cls_token"][0, 0] + position[0]]
        tokens += [_embed(state, patches[i]) + position[1 + i] for i in seen]
        tokens = _blocks(state, "backbone.layers.", torch.stack(tokens), heads)
        tokens = _norm(state, "backbone.ln1.", tokens)

        latent = _linear(state, "neck.decoder_embed.", tokens)
        shown = dict(zip(seen, latent[1:], strict=True))
        hidden = state["neck.mask_token"][0, 0]
        tokens = [latent[0], *(shown.get(i, hidden) for i in range(len(patches)))]
        tokens = torch.stack(tokens) + state["neck.decoder_pos_embed"][0]
        tokens = _blocks(state, "neck.decoder_blocks.", tokens, heads)
        tokens = _norm(state, "neck.ln1.", tokens)
        predicted = _linear(state, "neck.decoder_pred.", tokens)[1:]
        for i, pixels in enumerate(patches):
            if i not in shown:
                # Its pixels in the order row, column, channel.
                wanted = pixels.permute(1, 2, 0).flatten()
                wanted = wanted - wanted.sum() / len(wanted)
                variance = wanted.square().sum() / (len(wanted) - 1)
                wanted = wanted / (variance + EPSILON).sqrt()
                errors.append((predicted[i] - wanted).square().sum() / len(wanted))
    return sum(errors) / len(errors)


def slow_beit_loss(state, images, seconds, masks, *, patch, word_side, heads):
    """Compute BEiT's loss: the cross entropy of the hidden patches' words.

    Args:
        state: State dict of the model.
        images: (B, 3, H, W) normalised images.
        seconds: (B, 3, h, w) images of the tokenizer.
        masks: (B, rows, columns), 1 where a patch is hidden.
        patch: Side of a patch.
        word_side: Side of a word in pixels of the tokenizer's image.
        heads: Number of heads.

    Returns:
        Scalar, the mean over the hidden patches of all images.
    """
    words = state["target_generator.words"]
    rows, columns = masks.shape[1:]
    bias = _relative_bias(
        state["backbone.rel_pos_bias.relative_position_bias_table"], rows, columns
    )
    costs = []
    for image, second, mask in zip(images, seconds, masks.flatten(1), strict=True):
        tokens = [state["backbone.cls_token"][0, 0]]
        for hidden, pixels in zip(mask, _patches(image, patch), strict=True):
            tokens.append(state["backbone.mask_token"][0, 0] if hidden else _embed(state, pixels))
        tokens = _blocks(state, "backbone.layers.", torch.stack(tokens), heads, bias)
        tokens = _norm(state, "backbone.ln1.", tokens)[1:]
        for hidden, token, pixels in zip(mask, tokens, _patches(second, word_side), strict=True):
            if hidden:
                distances = [(pixels.flatten() - word).square().sum().item() for word in words]
                nearest = distances.index(min(distances))
                logits = _linear(state, "head.cls_head.", token[None])[0]
                costs.append(logits.exp().sum().log() - logits[nearest])
    return sum(costs) / len(costs)


def _patches(image, side):
    """Return the (3, side, side) patches of an image, row by row."""
    rows, columns = (length // side for length in image.shape[1:])
    corners = [(r * side, c * side) for r in range(rows) for c in range(columns)]
    return [image[:, y : y + side, x : x + side] for y, x in corners]


def _embed(state, pixels):
    weight = state["backbone.patch_embed.projection.weight"]
    products = [(kernel * pixels).sum() for kernel in weight]
    return torch.stack(products) + state["backbone.patch_embed.projection.bias"]


def _blocks(state, prefix, tokens, heads, bias=None):
    """Run the blocks whose names begin with ``prefix`` and a number."""
    count = 1 + max(int(k[len(prefix) :].split(".")[0]) for k in state if k.startswith(prefix))
    for number in range(count):
        names = f"{prefix}{number}."
        normal = _norm(state, f"{names}ln1.", tokens)
        change = _attention(state, f"{names}attn.", normal, heads, bias)
        tokens = tokens + change * state.get(f"{names}gamma_1", 1)
        change = _linear(state, f"{names}ffn.layers.0.0.", _norm(state, f"{names}ln2.", tokens))
        change = change * (1 + torch.erf(change / math.sqrt(2))) / 2
        change = _linear(state, f"{names}ffn.layers.1.", change)
        tokens = tokens + change * state.get(f"{names}gamma_2", 1)
    return tokens


def _attention(state, prefix, tokens, heads, bias):
    width = tokens.shape[1]
    each = width // heads
    query, key, value = (tokens @ part.T for part in state[f"{prefix}qkv.weight"].split(width))
    if f"{prefix}q_bias" in state:  # BEiT's keys have no bias.
        query = query + state[f"{prefix}q_bias"]
        value = value + state[f"{prefix}v_bias"]
    else:
        biases = state[f"{prefix}qkv.bias"].split(width)
        query, key, value = (x + b for x, b in zip((query, key, value), biases, strict=True))
    outputs = []
    for head in range(heads):
        part = slice(head * each, (head + 1) * each)
        scores = query[:, part] @ key[:, part].T / math.sqrt(each)
        if bias is not None:
            scores = scores + bias[head]
        weights = scores.exp()
        outputs.append(weights @ value[:, part] / weights.sum(dim=1, keepdim=True))
    return _linear(state, f"{prefix}proj.", torch.cat(outputs, dim=1))


def _relative_bias(table, rows, columns):
    """Return the (heads, 1 + patches, 1 + patches) bias of the attention.

    The table has an entry for each offset (row, column) between two patches, and one each for
    [CLS] to a patch, for a patch to [CLS], and for [CLS] to itself.
    """
    cls_to_patch, patch_to_cls, cls_to_cls = range(len(table) - 3, len(table))
    places = [(r, c) for r in range(rows) for c in range(columns)]
    lines = [[table[cls_to_cls]] + [table[cls_to_patch]] * len(places)]
    for r, c in places:
        offsets = [
            (rows - 1 + r - other_r, columns - 1 + c - other_c) for other_r, other_c in places
        ]
        found = [table[(2 * columns - 1) * down + right] for down, right in offsets]
        lines.append([table[patch_to_cls], *found])
    return torch.stack([torch.stack(line) for line in lines]).permute(2, 0, 1)


def _norm(state, prefix, tokens):
    centred = tokens - tokens.mean(dim=1, keepdim=True)
    deviation = (centred.square().mean(dim=1, keepdim=True) + EPSILON).sqrt()
    return centred / deviation * state[f"{prefix}weight"] + state[f"{prefix}bias"]


def _linear(state, prefix, rows):
    return rows @ state[f"{prefix}weight"].T + state[f"{prefix}bias"]
