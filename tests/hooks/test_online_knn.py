"""kNN while training: which branches, and each image read once for all of them."""

from types import SimpleNamespace

import pytest

from bam_mm import InputError
from bam_mm.hooks import OnlineKNNHook
from tests.models.test_bam import build
from tests.models.test_feature_extraction import IMAGES, Backbone, Loader


def test_branches_that_the_model_lacks():
    runner = SimpleNamespace(model=build(use_teacher=False))
    with pytest.raises(InputError, match=r"branches \['teacher'\]: this model has student"):
        OnlineKNNHook({}, {}, branches=["teacher"]).before_train(runner)
    with pytest.raises(InputError, match=r"branches \['studnet'\]: choose student and teacher"):
        OnlineKNNHook({}, {}, branches=["studnet"]).before_train(runner)


def test_both_branches_are_scored_from_one_reading():
    class Labelled(Loader):
        def __init__(self):
            super().__init__()
            self.dataset = type("Images", (list,), {"CLASSES": ["a", "b", "c"]})(range(IMAGES))

    said, written = [], {}
    model = build()
    # The same images are bank and queries, so an image's nearest neighbour is itself.
    model.backbone, model.teacher.backbone = Backbone(1.0), Backbone(0.0)
    model.data_preprocessor.forward = lambda data, training: data
    runner = SimpleNamespace(
        model=model,
        iter=7,
        message_hub=SimpleNamespace(update_scalar=written.__setitem__),
        visualizer=SimpleNamespace(add_scalars=lambda scalars, step: said.append((scalars, step))),
        logger=SimpleNamespace(info=said.append),
    )
    hook = OnlineKNNHook({}, {}, k=1)
    hook.built = Labelled(), Labelled()
    hook._score(runner)
    assert [loader.read for loader in hook.built] == [IMAGES, IMAGES]
    # The teacher gives all images the same feature: one image's class is everybody's.
    assert written["knn/student_top1"] == 100.0 and written["knn/teacher_top1"] < 50.0
    assert said[0] == (written, 7)
    assert said[1].startswith("kNN after 7 iterations (k=1, bank 11, queries 11): teacher")
