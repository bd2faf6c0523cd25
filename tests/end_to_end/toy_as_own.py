"""The toy world's annotations under a user's names and ids, for the folders of the pages' tests."""

import numpy as np
from PIL import Image

from bam_mm.data.toy.ade20k import encode_map


def with_categories(content, own):
    """Give the content of a COCO file other categories.

    ``own`` has the new id and name of each category id; objects of other categories are removed.
    """
    kept = [each for each in content["annotations"] if each["category_id"] in own]
    annotations = [{**each, "category_id": own[each["category_id"]][0]} for each in kept]
    categories = [dict(id=number, name=name) for number, name in sorted({*own.values()})]
    return {**content, "annotations": annotations, "categories": categories}


def write_maps(source, out, relabel):
    """Write the maps of a folder to a new one, with the ids that ``relabel`` makes of theirs."""
    out.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        (out / path.name).write_bytes(encode_map(relabel(np.array(Image.open(path)).astype(int))))
