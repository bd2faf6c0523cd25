"""Which runs are started, skipped, repeated and resumed, and the messages about failures."""

import html
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger

from bam_mm import InputError
from bam_mm.checkpoint import file_digest, parse_backbone
from bam_mm.cli.benchmark_commands import parse_options
from bam_mm.data.toy import make_world
from bam_mm.registry import MODELS
from bam_mm.report import write_report
from bam_mm.suite import child_process as child
from bam_mm.suite import running, workers
from bam_mm.suite.child_process import Outcome, command, run_child
from bam_mm.suite.definitions import load_suite
from bam_mm.suite.models import read_models
from bam_mm.suite.planning import Settings, plan

RANDOM = "random=random:vit-toy-p8"


@pytest.fixture(autouse=True)
def quiet():
    MMLogger.get_instance("benchmark", log_level="WARNING")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("data")
    make_world(out / "toy", scale=0.012)
    return out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A BAM checkpoint of a narrower transformer than in the configs."""
    backbone = dict(
        type="MoCoV3ViT", img_size=48, patch_size=8, stop_grad_conv1=True,
        arch=dict(embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=96),
    )  # fmt: skip
    config = Config(dict(default_scope="mmpretrain", model=dict(type="BAM", backbone=backbone)))
    state = MODELS.build({**backbone, "type": "mmpretrain.MoCoV3ViT"}).state_dict()
    path = tmp_path_factory.mktemp("checkpoint") / "bam.pth"
    state = {f"{branch}backbone.{k}": v for branch in ("", "teacher.") for k, v in state.items()}
    torch.save({"state_dict": state, "meta": {"cfg": config.pretty_text}}, path)
    return path


class FakeTools:
    """Stand-in for child processes that records the calls and writes the expected files."""

    def __init__(self):
        self.calls, self.fault = [], None

    def __call__(self, line, log, on_wait=None, on_start=None, share=1, gpus=()):
        assert line[1:4] == ["-u", "-m", "bam_mm"]
        tool, arguments = line[4], line[5:]
        work = Path(arguments[arguments.index("--work-dir") + 1])
        self.calls.append((tool, arguments, Config.fromfile(arguments[0])))
        if self.fault is not None:
            return self.fault if isinstance(self.fault, Outcome) else Outcome(1, self.fault)
        config = self.calls[-1][2]
        if tool == "train":
            (work / "epoch_10.pth").write_bytes(b"")
            weights = config.checkpoint
        else:
            weights = arguments[1]
            facts = {"processes": 1, "devices": ["cpu"], "peak_mb": 10.0, "peak_gpu_mb": None}
            facts |= {"loaders": {"test": {"images": 18, "batch": 9}}, "size": [48, 48]}
            (work / "test_facts.json").write_text(json.dumps(facts))
            keys = {"knn_k20/top1": 50.0, "knn_k10/top1": 4.0, "knn_k100/top1": 4.0}
            keys |= {"knn_k200/top1": 4.0, "accuracy/top1": 60.0, "accuracy/top5": 70.0}
            Path(arguments[arguments.index("--out") + 1]).write_text(json.dumps(keys))
        if weights != "random" and Path(weights).name == "bam.pth":
            proof = {"loaded": 30, "file_sha256": file_digest(weights), "layout": "BAM"}
            (work / "loaded_backbone.json").write_text(json.dumps({**proof, "resized": []}))
        return Outcome(0, "")

    def names(self):
        return [tool for tool, _, _ in self.calls]


@pytest.fixture
def tools(monkeypatch):
    fake = FakeTools()
    monkeypatch.setattr(running, "run_child", fake)
    monkeypatch.setattr(running, "newest_checkpoint", lambda folder: (_newest(folder), {}))
    return fake


def _newest(folder):
    return next(iter(Path(folder).glob("epoch_*.pth")), None)


def runs(folder, data, models=(RANDOM,), tasks=("knn",), seeds=(0,), **settings):
    suite = load_suite("toy")
    settings = Settings(folder=folder, data=data, **settings)
    return plan(suite, suite.choose([*tasks]), read_models(list(models)), list(seeds), settings)


def record_of(run):
    return json.loads(run.record.read_text())


def test_finished_runs_are_skipped_and_failed_runs_are_repeated(tools, data, tmp_path):
    messages = []
    work = runs(tmp_path, data, seeds=(0, 1))
    tools.fault = "torch.OutOfMemoryError: CUDA out of memory"
    assert workers.run_all(work[:1], messages.append) == 1
    assert record_of(work[0])["status"] == "failed"
    assert record_of(work[0])["message"] == tools.fault and tools.fault in messages[-1]
    tools.fault = None
    # The failed run is repeated and the other one starts; one failure does not stop the rest.
    assert workers.run_all(work, messages.append) == 0
    assert tools.names() == ["test"] * 3
    before = [run.record.read_bytes() for run in work]
    assert workers.run_all(work, messages.append) == 0 and len(tools.calls) == 3
    assert [run.record.read_bytes() for run in work] == before
    assert "already done, top-1, k=20 50.0" in messages[-1]
    assert [call[2].randomness.seed for call in tools.calls] == [0, 0, 1]
    record = record_of(work[1])
    assert record["metrics"]["knn_k20/top1"] == 50.0 and record["proof"] is None
    assert {"torch", "python", "bam-mm"} <= record["versions"].keys()
    assert record["time"]["starts"] == 1 and record["memory"]["peak_mb"] == 10.0
    assert record["loaders"] == {"test": {"images": 18, "batch": 9}} and record["size"] == [48, 48]
    # The toy suite has one config for all backbones, from which the family cannot be told.
    assert record["options"] == {} and (record["family"], record["variant"]) == ("vit", "any")
    assert record["data"] == {"format": 2, "seed": 0, "scale": 0.012} and record["place"] == 0


def test_trackers_are_passed_on(tools, data, tmp_path):
    work = runs(tmp_path, data, tasks=("linear",), vis=["tensorboard", "wandb"])
    assert workers.run_all(work, lambda line: None) == 0
    assert tools.names() == ["train", "test"]
    for _, arguments, config in tools.calls:
        assert arguments[-2:] == ["--vis=tensorboard", "--vis=wandb"]
        assert "TrackingHook" not in config.pretty_text  # The protocol stays the same.


def test_a_changed_protocol_is_rejected_before_anything_runs(tools, data, tmp_path):
    workers.run_all(runs(tmp_path, data), lambda line: None)
    changed = runs(tmp_path, data, options=parse_options(["knn:test_cfg.k=[10,20]"]))
    with pytest.raises(InputError, match=r"test_cfg\.k: \[10, 20, 100, 200\] -> \[10, 20\]"):
        workers.run_all(changed, lambda line: None)
    with pytest.raises(InputError, match=r"limit: \(not set\) -> 20"):
        workers.run_all(runs(tmp_path, data, limit=20), lambda line: None)
    # So is another model under the same name.
    with pytest.raises(InputError, match=r"backbone\.type: .*MoCoV3ViT.* -> .*ResNet_CIFAR"):
        other = runs(tmp_path, data, models=("random=random:resnet18-w16",))
        workers.run_all(other, lambda line: None)
    assert len(tools.calls) == 1


def test_a_training_is_resumed_and_then_tested(tools, data, tmp_path, checkpoint):
    model = f"BAM=bam:{checkpoint}@student"
    work = runs(tmp_path, data, models=(model,), tasks=("linear",))
    assert workers.run_all(work, lambda line: None) == 0
    (_, train, config), (_, test, _) = tools.calls
    assert tools.names() == ["train", "test"]
    assert "--resume" in train and "--auto-scale-lr" in train
    assert test[1] == str(work[0].folder / "epoch_10.pth")
    # The model, its branch and the widths that depend on it: [CLS] and mean patch of 48 channels.
    assert config.checkpoint == str(checkpoint) and config.branch == "student"
    # The hook reads them from the run's config.
    assert config.custom_hooks[0] == dict(type="bam_mm.LoadBackboneHook")
    assert config.model.backbone.arch.embed_dims == 48
    assert "stop_grad_conv1" not in config.model.backbone
    assert config.model.head.in_channels == config.model.neck.input_features == 96
    record = record_of(work[0])
    assert sorted(record["adapted"]) == [
        "head.in_channels: 192 -> 96",
        "neck.input_features: 192 -> 96",
    ]
    assert record["proof"]["file_sha256"] == record["checkpoint"]["sha256"] != ""

    # A training that was interrupted after a checkpoint is not resumed with other settings.
    work[0].record.unlink()
    changed = runs(
        tmp_path, data, models=(model,), tasks=("linear",), options=parse_options(["lr=0.3"])
    )
    with pytest.raises(InputError, match=r"interrupted.*optimizer\.lr: 0\.1 -> 0\.3"):
        workers.run_all(changed, lambda line: None)
    assert workers.run_all(work, lambda line: None) == 0
    assert record_of(work[0])["time"]["starts"] == 2


def test_a_run_without_proof_of_its_weights_fails(tools, data, tmp_path, checkpoint):
    copy = tmp_path / "weights.pth"
    copy.write_bytes(checkpoint.read_bytes())
    work = runs(tmp_path / "w", data, models=(f"BAM=bam:{copy}",), seeds=(0, 1))
    # kNN is deterministic for trained weights: one seed is enough.
    assert len(work) == 1
    assert workers.run_all(work, lambda line: None) == 1
    assert "was not proven to be loaded" in record_of(work[0])["message"]


def test_a_missing_metric_is_a_failure(tools, data, tmp_path, monkeypatch):
    work = runs(tmp_path, data, tasks=("logreg",))
    assert workers.run_all(work, lambda line: None) == 1
    assert "no metric logreg/top1" in record_of(work[0])["message"]


def test_a_topk_accuracy_of_more_classes_than_there_are(data, tmp_path, monkeypatch):
    class ThreeClasses(FakeTools):
        def __call__(self, line, *args, **kwargs):
            outcome = super().__call__(line, *args, **kwargs)
            if line[4] == "test":
                Path(line[line.index("--out") + 1]).write_text('{"accuracy/top1": 60.0}')
            return outcome

    monkeypatch.setattr(running, "run_child", ThreeClasses())
    monkeypatch.setattr(running, "newest_checkpoint", lambda folder: (_newest(folder), {}))
    work = runs(tmp_path, data, tasks=("linear",))
    assert workers.run_all(work, lambda line: None) == 0
    assert record_of(work[0])["metrics"] == {"accuracy/top1": 60.0}


def test_a_model_that_cannot_do_a_task_gets_a_record(tools, data, tmp_path):
    models = ("v=random:timm:cait_xxs24_224", "r=random:resnet18-w16")
    work = runs(tmp_path, data, models=models, tasks=("davis", "finetune"))
    assert workers.run_all(work, lambda line: None) == 2
    messages = {str(run): record_of(run)["message"] for run in work}
    fixed, stride = messages["davis, v, seed 0"], messages["davis, r, seed 0"]
    assert "v cannot do this task" in fixed and "takes images of 224x224 pixels only" in fixed
    assert "r cannot do this task" in stride and "remove model.stride" in stride
    assert not messages["finetune, v, seed 0"] and not messages["finetune, r, seed 0"]
    # A CNN gets the pooling that it needs.
    config = [call[2] for call in tools.calls if call[0] == "train"][-1]
    assert config.model.neck.type == "mmpretrain.GlobalAveragePooling"
    assert config.model.head.in_channels == 128 and config.model.backbone.drop_path_rate == 0.1


def test_a_killed_run_is_a_row_that_says_what_to_set(tools, data, tmp_path):
    work, lines = runs(tmp_path, data, tasks=("knn", "linear")), []
    tools.fault = Outcome(-9, "killed by signal 9 (SIGKILL)", 9)
    assert workers.run_all(work, lines.append) == 2
    knn, linear = (record_of(run)["message"] for run in work)
    assert knn in lines[1] and knn.startswith("killed by signal 9 (SIGKILL), usually for want of ")
    assert knn.endswith("test_dataloader.batch_size=16 test_cfg.bank.batch_size=16")
    assert linear.endswith("train_dataloader.batch_size=32 (64 now, which changes the protocol)")
    # The page has the row, and the next call repeats the run.
    write_report(work[0].suite, tmp_path)
    assert html.escape(knn) in (tmp_path / "report/index.html").read_text()
    tools.fault = Outcome(-15, "killed by signal 15 (SIGTERM)", 15)
    assert workers.run_all(work[:1], lines.append) == 1
    assert record_of(work[0])["message"] == "killed by signal 15 (SIGTERM)"


def test_a_batch_that_the_user_sets_reaches_the_run_as_such(tools, data, tmp_path):
    options = parse_options(["test_dataloader.batch_size=7", "knn:train_images.batch_size=9"])
    work = runs(tmp_path, data, tasks=("knn", "linear"), options=options)
    assert workers.run_all(work, lambda line: None) == 0
    knn, train, test = (arguments for _, arguments, _ in tools.calls)
    wanted = ["--cfg-options", "test_dataloader.batch_size=7", "test_cfg.bank.batch_size=9"]
    assert record_of(work[0])["options"] == {
        "test_dataloader.batch_size": "7", "train_images.batch_size": "9"
    }  # fmt: skip
    assert knn[-3:] == wanted and test[-2:] == wanted[:2] and "--cfg-options" not in train
    work = runs(tmp_path / "plain", data)
    workers.run_all(work, lambda line: None)
    assert "--cfg-options" not in tools.calls[-1][1]


def test_limit_keeps_images_of_every_class(tools, data, tmp_path):
    workers.run_all(runs(tmp_path, data, limit=18), lambda line: None)
    config = tools.calls[0][2]
    bank = config.test_cfg.bank.dataset.indices
    assert len(bank) == 18 and bank[0] == 0 and bank[-1] == 47
    assert config.test_cfg.k == [10] and config.test_cfg.bank.batch_size == 18


def test_threads_are_shared_among_children(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(child.os, "cpu_count", lambda: 8)
    start = command("test", [], launcher="none", processes=1)[0]
    program = [start, "-c", "import os; print(os.environ.get('OMP_NUM_THREADS'))"]
    for share, threads in ((1, "None"), (2, "4"), (16, "1")):
        run_child(program, tmp_path / f"log{share}", share=share)
        assert (tmp_path / f"log{share}").read_text().strip() == threads


def test_the_width_of_the_maps_is_set_in_neck_and_heads(tools, data, tmp_path, checkpoint):
    models = (f"b=bam:{checkpoint}", "r=random:resnet18-w16")
    for task, key in (("det", "coco/bbox_mAP"), ("seg", "mIoU")):
        [narrow, cnn] = runs(tmp_path, data, models=models, tasks=(task,))
        config, adapted = narrow.config()
        neck = config.model.neck[0] if task == "det" else config.model.neck
        assert neck.embed_dim == 48 and any("embed_dim: 96 -> 48" in line for line in adapted)
        heads = config.model.neck[1] if task == "det" else config.model.decode_head
        assert list(heads.in_channels) == [48] * 4
        assert config.model.backbone.type == "bam_mm.DenseViT"
        assert config.checkpoint == str(checkpoint)
        MODELS.build(config.model)
        # A network for small images has two maps with a stride of at least 4 pixels: 4 and 8.
        config, _ = cnn.config()
        heads = config.model.neck[0] if task == "det" else config.model.decode_head
        assert list(heads.in_channels) == [64, 128]
        MODELS.build(config.model)
        assert key in [metric.key for metric in narrow.task.metrics]


def test_names_of_models(checkpoint, tmp_path):
    [plain, named] = read_models([f"bam:{checkpoint}", f"B A=bam:{checkpoint}@student"])
    assert plain.name == f"bam:{checkpoint}" and "/" not in plain.slug
    assert (named.name, named.slug, named.source.branch) == ("B A", "B-A", "student")
    for texts, message in (
        ([], "no model"),
        ([RANDOM, RANDOM], "would share the folder random"),
        ([f"timm:vit_tiny_patch16_224@{tmp_path}/no.pth"], "no.pth does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            read_models(texts)
    again = parse_backbone(f"random:bam:{checkpoint}")
    assert again.path is None and again.config["arch"]["embed_dims"] == 48


def test_the_error_of_a_child_is_found_in_its_output(tmp_path):
    for code, message in (
        ("import sys; print('error: k is 0: raise it', file=sys.stderr); sys.exit(1)", "k is 0"),
        ("print('hello'); raise MemoryError('too large')", "MemoryError: too large"),
    ):
        start = command("test", [], launcher="none", processes=1)[0]
        outcome = run_child([start, "-c", code], tmp_path / "log")
        assert outcome.code != 0 and message in outcome.message and outcome.signal == 0
    outcome = run_child([start, "-c", "print('error: not this one')"], tmp_path / "log")
    assert outcome.code == 0 and outcome.message == ""
    with pytest.raises(InputError, match="--gpus 2 needs a launcher"):
        command("test", [], launcher="none", processes=2)
    assert "--nproc_per_node=2" in command("test", [], launcher="pytorch", processes=2)


@pytest.mark.parametrize(
    "code, killed",
    [
        ("import os; print('error: an earlier one', flush=True); os.kill(os.getpid(), 9)", 9),
        ("import os; os.kill(os.getpid(), 15)", 15),
        # torchrun reports a killed process, torch a killed worker, and srun an exit code.
        ("print('traceback : Signal 9 (SIGKILL) received by PID 26'); raise SystemExit(1)", 9),
        ("raise RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')", 9),
        ("raise SystemExit(137)", 9),
    ],
)
def test_a_killed_child_is_told_from_a_failed_one(code, killed, tmp_path):
    start = command("test", [], launcher="none", processes=1)[0]
    outcome = run_child([start, "-c", code], tmp_path / "log")
    name = {9: "SIGKILL", 15: "SIGTERM"}[killed]
    assert (outcome.signal, outcome.message) == (killed, f"killed by signal {killed} ({name})")
