"""``bam-mm check-data instances`` on your own COCO files."""

import pytest
from PIL import Image

from bam_mm.data.checks.folders import Finding
from bam_mm.data.checks.known import check_data
from bam_mm.errors import InputError
from tests.data.coco.samples import small, write


def lay_out(root, **changes):
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 80)).save(root / "images" / split / "a.jpg")
        (root / "annotations").mkdir(exist_ok=True)
        write(root / "annotations" / f"{split}.json", small(**changes))
    return root


def test_sound_files(tmp_path):
    root = lay_out(tmp_path)
    (root / "annotations/._train.json").write_bytes(b"\0")
    found = check_data("instances", root)
    assert all(finding.ok for finding in found)
    expected = [
        f"1 images, 1 annotations and 1 categories in {root}/annotations/{split}.json; images in "
        f"{root}/images/{split}"
        for split in ("train", "val")
    ]
    expected.append("categories of train.json and val.json: the same")
    assert [finding.text for finding in found] == expected


def test_repairs_and_missing_masks_are_named(tmp_path):
    root = lay_out(tmp_path, area="removed", segmentation=None)
    text = check_data("instances", root / "annotations/train.json")[0].text
    assert "annotations: 1 without an area (that of the mask, else of the box)" in text
    assert "; 1 without a usable mask, the first: annotation 1 in " in text


def test_faults_have_remedies(tmp_path):
    assert "has no instance file" in check_data("instances", tmp_path)[0].text
    root = lay_out(tmp_path)
    (root / "images/val/a.jpg").unlink()
    (root / "images/train/a.jpg").unlink()
    found = [f for f in check_data("instances", root) if not f.ok]
    assert [f.text.split(", the first")[0].split("/")[-1] for f in found] == [
        "train.json are missing",
        "val.json are missing",
    ]
    other = small()
    other["categories"][0]["name"] = "dog"
    write(root / "annotations/val.json", other)
    found = check_data("instances", root)[-1]
    assert not found.ok and "only in train.json: cat; only in val.json: dog" in found.text
    (root / "annotations/val.json").write_text("[")
    found = [f for f in check_data("instances", root) if not f.ok][-1]
    assert "val.json ends in the middle" in found.text and found.remedy == "copy it again"


@pytest.mark.parametrize(
    "changes, fault, remedy",
    [
        (
            dict(bbox=[0.1, 0.2, 0.3, 0.4]),
            "100x80 px)",
            "multiply x and width by the width of the image, y and height by its height (YOLO's x "
            "and y are the middle of the box, so subtract half of its size first)",
        ),
        (
            dict(image=dict(width=0)),
            "the image cannot be read (its size is not found in its header)",
            "write both in pixels",
        ),
        (dict(image_id="removed"), " has no image_id", "write that of its image"),
    ],
)
def test_text_and_remedy_of_a_fault(changes, fault, remedy, tmp_path):
    found = small(segmentation=None, **{k: v for k, v in changes.items() if k != "image"})
    found["images"][0].update(changes.get("image", {}))
    path = write(tmp_path / "i.json", found)
    (tmp_path / "a.jpg").write_bytes(b"no image")
    [finding] = check_data("instances", path)
    assert not finding.ok and finding.text.endswith(fault) and finding.remedy == remedy


def test_an_error_without_a_remedy():
    assert Finding.of(InputError("no colon")) == Finding(False, "no colon")
    assert Finding.of(InputError("a: b: c")) == Finding(False, "a: b", "c")
