"""kNN during training: branches, and images that are read once for all of them."""

from types import SimpleNamespace

import pytest

from bam_mm import InputError
from bam_mm.hooks import OnlineKNNHook
from bam_mm.hooks.online_knn import NEIGHBOURS
from tests.models.test_bam import build
from tests.models.test_feature_extraction import IMAGES, Backbone, Loader


def test_branches_that_the_model_lacks():
    runner = SimpleNamespace(model=build(use_teacher=False))
    with pytest.raises(InputError, match=r"branches \['teacher'\]: this model has student"):
        OnlineKNNHook({}, {}, branches=["teacher"]).before_train(runner)
    with pytest.raises(InputError, match=r"branches \['studnet'\]: choose student and teacher"):
        OnlineKNNHook({}, {}, branches=["studnet"]).before_train(runner)


def test_images_are_read_once_for_both_branches():
    class Labelled(Loader):
        def __init__(self):
            super().__init__()
            self.dataset = type("Images", (list,), {"CLASSES": ["a", "b", "c"]})(range(IMAGES))

    logged, scalars = [], {}
    model = build()
    # Bank and queries are the same images, so the nearest neighbour of each image is itself.
    model.backbone, model.teacher.backbone = Backbone(0.0), Backbone(1.0)
    model.data_preprocessor.forward = lambda data, training: data
    runner = SimpleNamespace(
        model=model,
        iter=7,
        message_hub=SimpleNamespace(update_scalar=scalars.__setitem__),
        visualizer=SimpleNamespace(add_scalars=lambda values, step: logged.append((values, step))),
        logger=SimpleNamespace(info=logged.append),
    )
    hook = OnlineKNNHook({}, {}, k=1)
    hook.shown = 3
    hook.built = Labelled(), Labelled()
    hook._score(runner)
    assert [loader.read for loader in hook.built] == [IMAGES, IMAGES]
    # The student has the same feature for all images, so it predicts one class for all of them.
    assert scalars["knn/teacher_top1"] == 100.0 and scalars["knn/student_top1"] < 50.0
    assert logged[0] == (scalars, 7)
    queries, places = hook.neighbours  # By the teacher, which comes first.
    assert queries == [0, 5, 10] and [row[0] for row in places] == queries
    assert all(len({*row}) == NEIGHBOURS for row in places)
    assert logged[1].startswith("kNN after 7 iterations (k=1, bank 11, queries 11): teacher")
