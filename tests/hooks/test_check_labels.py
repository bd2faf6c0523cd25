"""Class names in checkpoints, and the outputs of a head in the order of the test data."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmpretrain.evaluation import Accuracy, SingleLabelMetric
from mmpretrain.models import HuggingFaceClassifier, LinearClsHead, TimmClassifier
from torch.utils.data import DataLoader

from bam_mm.data.class_names import FOLDERS
from bam_mm.errors import InputError
from bam_mm.hooks import CheckLabelsHook, WholeCheckpointHook


class Images(SimpleNamespace):
    """A data set of one image for each class."""

    def __len__(self):
        return len(self.CLASSES)


def data(classes, folders=None):
    folders = {name: label for label, name in enumerate(folders or classes)}
    return Images(
        CLASSES=tuple(classes), folder_to_idx=folders, data_root="birds",
        get_gt_labels=lambda: list(range(len(classes))),
    )  # fmt: skip


def test_class_folders_are_stored_beside_other_names():
    checkpoint = {"meta": {}}
    runner = SimpleNamespace(train_dataloader=SimpleNamespace(dataset=data("ab")), cfg={})
    WholeCheckpointHook().before_save_checkpoint(runner, checkpoint)
    assert FOLDERS not in checkpoint["meta"]
    runner.train_dataloader.dataset = data(["cat", "dog"], ["n1", "n2"])
    WholeCheckpointHook().before_save_checkpoint(runner, checkpoint)
    assert checkpoint["meta"][FOLDERS] == ["n1", "n2"]


def test_a_training_is_not_resumed_with_other_classes():
    runner = SimpleNamespace(
        _resume=True, model=torch.nn.Linear(1, 1), optim_wrapper=None,
        train_dataloader=SimpleNamespace(dataset=data("abc")),
    )  # fmt: skip
    checkpoint = {"meta": {"dataset_meta": {"classes": ("a", "b", "d")}}}
    with pytest.raises(InputError, match=r"resume: the run was started with 3 .* in both: d, c"):
        WholeCheckpointHook().after_load_checkpoint(runner, checkpoint)
    runner._resume = False
    WholeCheckpointHook().after_load_checkpoint(runner, checkpoint)


class Timm(TimmClassifier):
    """The class without timm's network, which takes most of the time."""

    def __init__(self, network):
        torch.nn.Module.__init__(self)
        self.model = network


class HuggingFace(HuggingFaceClassifier):
    def __init__(self, network):
        torch.nn.Module.__init__(self)
        self.model = network


class Numbers(torch.nn.Linear):
    """A network that returns 1, 2, 3, as the networks of timm or transformers do."""

    def __init__(self, library):
        super().__init__(1, 3)
        self.library = library
        if library == "timm":
            self.num_classes = 3
        else:
            self.config = SimpleNamespace(num_labels=3)

    def forward(self, inputs):
        numbers = torch.tensor([[1.0, 2.0, 3.0]])
        return numbers if self.library == "timm" else SimpleNamespace(logits=numbers)


@pytest.mark.parametrize("library, kind", [("timm", Timm), ("transformers", HuggingFace)])
def test_outputs_of_a_network_without_a_head_are_selected_too(library, kind):
    model = kind(Numbers(library))
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(dataset=data("ca")), evaluator=Evaluator([Accuracy((1, 5))]),
        classes=None,
    )  # fmt: skip
    runner = SimpleNamespace(model=model, test_loop=loop)
    hook = CheckLabelsHook({"dataset_meta": {"classes": ["a", "b", "c"]}}, "x.pth")
    with pytest.raises(InputError, match=r"has 2 of the 3 classes of checkpoint x\.pth"):
        hook.before_test(runner)
    loop.classes = "subset"
    hook.before_test(runner)
    assert model(torch.ones(1)).tolist() == [[3, 1]]
    hook.after_test(runner)
    assert model(torch.ones(1)).tolist() == [[1, 2, 3]]
    # Before a training, labels are checked against the outputs of the network.
    loader = DataLoader(data("ab"))
    runner = SimpleNamespace(model=model, train_loop=SimpleNamespace(dataloader=loader))
    with pytest.raises(InputError, match=r"head has 3 outputs, but the train data .* 2 classes"):
        hook.before_train(runner)


def test_outputs_are_selected_for_the_test_alone():
    head = LinearClsHead(num_classes=3, in_channels=3)
    head.fc.weight.data, head.fc.bias.data = torch.eye(3), torch.zeros(3)
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(dataset=data("ca")), evaluator=Evaluator([Accuracy((1, 5))]),
        classes="subset",
    )  # fmt: skip
    runner = SimpleNamespace(model=SimpleNamespace(head=head), test_loop=loop, _load_from="x.pth")
    hook, logits = CheckLabelsHook(), (torch.tensor([[1.0, 2.0, 3.0]]),)
    # As the runner of another tool calls it.
    hook.after_load_checkpoint(runner, {"meta": {"CLASSES": ["a", "b", "c"]}})
    hook.before_test(runner)
    assert head(logits).tolist() == [[3, 1]]  # Classes c and a.
    assert head.predict(logits)[0].pred_label.item() == 0
    assert loop.evaluator.metrics[0].topk == (1,)
    metrics = {}
    hook.after_test_epoch(runner, metrics)
    assert metrics == {"classes/in_data": 2, "classes/compared": 2, "classes/known": 3}
    hook.after_test(runner)
    assert head(logits).tolist() == [[1, 2, 3]]
    loop.classes, loop.evaluator = "all", Evaluator([SingleLabelMetric(average="macro")])
    with pytest.raises(InputError, match=r"counts the 1 classes without .* as 0; set .*subset"):
        hook.before_test(runner)
