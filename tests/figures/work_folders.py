"""Work folders of made-up pretraining runs, as mmengine and this package write them."""

import json


def work_folder(
    folder, values, *, iterations=10, images=640, batch=64, seed=0, epochs=2, ended=True,
    temperature=0.1, config="bam_tiny_toy", by_epoch=True,
):  # fmt: skip
    """Write the folder of a run.

    Args:
        folder: Folder to create.
        values: Logged values by quantity, each a function of the step or a dict by step.
        iterations: Number of iterations of an epoch.
        images: Number of training images.
        batch: Number of images of an iteration, on one process.
        seed: Seed in the config.
        epochs: Number of epochs in the config.
        ended: Whether the run has ended, so that there is ``train_facts.json``.
        temperature: A setting of the model.
        config: Name of the config.
        by_epoch: Whether the log counts epochs.
    """
    data = folder / "20260101_000000/vis_data"
    data.mkdir(parents=True)
    lines = []
    for name, found in values.items():
        points = found if isinstance(found, dict) else {s: found(s) for s in steps(iterations)}
        lines += [json.dumps({name: value, "step": step}) for step, value in points.items()]
    (data / "scalars.json").write_text("\n".join(lines))
    text = (
        f"model = dict(type='bam_mm.BAM', head=dict(temperature={temperature}))\n"
        f"randomness = dict(seed={seed})\n"
        f"train_cfg = dict(max_epochs={epochs})\n"
        f"train_dataloader = dict(batch_size={batch}, dataset=dict(data_root='data/toy/images'))\n"
    )
    (data / "config.py").write_text(text)
    (folder / f"{config}.py").write_text(text)
    place = f"Epoch(train) [1][ 2/{iterations}]" if by_epoch else "Iter(train) [ 2/20]"
    (data.parent / "20260101_000000.log").write_text(
        f"INFO - an epoch has {iterations} steps of {batch} images ({batch} x 1 process)\n"
        f"INFO - {place}  lr: 1e-3  loss: 1.0\n"
    )
    if ended:
        loader = {"images": images, "batch": batch}
        facts = {"processes": 1, "devices": ["cpu"], "loaders": {"train": loader}}
        (folder / "train_facts.json").write_text(json.dumps(facts))
    return folder


def steps(iterations, epochs=2):
    """Return the steps that are logged: every other one."""
    return range(2, iterations * epochs + 1, 2)
