"""Tables of what pretraining on several GPUs needs, in Markdown.

The first row of each table states where the numbers of a column are from: counted on the real
model; from a formula that equals counts over 2 and 3 processes; measured; or computed from these
and from assumed rates.
"""

from collections.abc import Sequence

from benchmarks import counted_networks as counted
from benchmarks import scale_formulas as formulas
from benchmarks import scale_subjects as s
from benchmarks.scale_subjects import BATCH, GB, MB, MIB, MS, Subject

SEVERAL = (8, 16, 64)
GPUS = (1, *SEVERAL)


def table(columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table.

    Args:
        columns: Title of each column, and where its numbers are from.
        rows: Cells of each row. All columns but the first are aligned to the right.
    """
    titles, kinds = zip(*columns, strict=True)
    lines = [titles, ["---", *["---:"] * (len(columns) - 1)]]
    lines += [[f"*{kind}*" if kind else "" for kind in kinds], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def loaders(subjects: Sequence[Subject], core_rate: float = s.CORE_RATE) -> str:
    """Return the table of images/s and of the cores that load them.

    Args:
        subjects: The networks.
        core_rate: Images/s that one core loads.
    """
    rows = []
    for subject in subjects:
        for variant, step in subject.rates.items():
            rate = formulas.combined_rate(step, s.AUGMENTATION_RATE)
            totals = [f"{rate * p:,.0f} / {rate * p / core_rate:.0f}" for p in SEVERAL]
            files = rate * SEVERAL[-1] * s.FILE_BYTES / GB
            one = [f"{step:,.0f}", f"{rate:,.0f}", f"{rate / core_rate:.1f}"]
            rows.append([f"{subject.name}, {variant}", *one, *totals, f"{files:.1f}"])
    columns = [
        ("Network", ""),
        ("Step, images/s a GPU", "measured; ResNet: assumed"),
        ("Augmentation and step", "computed"),
        ("Cores a GPU", "computed"),
        *[(f"{p} GPUs, images/s / cores", "computed") for p in SEVERAL],
        (f"Files at {SEVERAL[-1]} GPUs, GB/s", "computed"),
    ]
    return table(columns, rows)


def communication(subjects: Sequence[Subject], bandwidths: Sequence[float]) -> str:
    """Return the table of the collectives of a step.

    Args:
        subjects: The networks.
        bandwidths: Bytes per second that each GPU sends.
    """
    runs = [(p, BATCH) for p in SEVERAL] + [(SEVERAL[-1], 4096 // SEVERAL[-1])]
    rows = [_communication(subject, *run, bandwidths) for subject in subjects for run in runs]
    speeds = " / ".join(f"{bandwidth / GB:g}" for bandwidth in bandwidths)
    columns = [
        ("GPUs x images", ""),
        ("Gradients, MB (calls)", "formula"),
        ("Keys, MB", "formula"),
        ("Balancing, MB", "formula"),
        ("SyncBN, MB (calls)", "formula"),
        (f"Gradients, ms at {speeds} GB/s", "computed"),
        ("Backward pass behind them, ms", "computed"),
        (f"Waiting, ms at {speeds} GB/s", "computed"),
        ("Share of the step, %", "computed"),
        ("Loss, ms", "measured, scaled"),
    ]
    return table(columns, rows)


def _communication(
    subject: Subject, processes: int, batch: int, bandwidths: Sequence[float]
) -> list[str]:
    step = formulas.Step(batch, processes)
    gradients = formulas.gradient_collectives(subject.buckets)
    keys, balancing, value = formulas.loss_collectives(step)
    norms = formulas.sync_bn_collectives(subject.parameters.synced) if subject.synced else []
    blocking = [keys, balancing, value, *norms]
    # The weights of the backbone get their gradients in the backward pass of the global views,
    # which comes last. It has twice the operations of their forward pass.
    share = 2 * subject.operations.global_views / subject.operations.step
    window = share * batch / subject.step_rate
    on_wire, waiting = [], []
    for bandwidth in bandwidths:
        whole, last, loss = (
            formulas.seconds_on_wire(parts, processes, bandwidth)
            for parts in (gradients, gradients[-1:], blocking)
        )
        on_wire.append(whole)
        visible = formulas.visible_gradient_seconds(whole, last, window)
        waiting.append(visible + loss + formulas.calls(blocking) * s.LATENCY)
    seconds = batch / subject.rate
    synced = f"{formulas.sent(norms, processes) / MB:.1f} ({formulas.calls(norms)})"
    loss = s.LOSS_SECONDS * step.num_views * batch * step.keys / s.LOSS_ENTRIES
    return [
        f"{subject.name}, {processes} x {batch}",
        f"{formulas.sent(gradients, processes) / MB:.0f} ({len(gradients)})",
        f"{keys.sent(processes) / MB:.0f}",
        f"{balancing.sent(processes) / MB:.2f}",
        synced if norms else "",
        _both(x / MS for x in on_wire),
        f"{window / MS:.0f}",
        _both(x / MS for x in waiting),
        _both(100 * x / (seconds + x) for x in waiting),
        f"{loss / MS:.1f}",
    ]


def memory(subjects: Sequence[Subject]) -> str:
    """Return the table of the memory of a GPU in GB."""
    losses = {p: counted.count_loss(BATCH, p) for p in GPUS}
    columns = [
        ("GB", ""),
        *[(title, "counted") for title in ("Weights, teacher", "Optimizer", "Gradients")],
        ("Buckets", "formula"),
        ("Views", "computed"),
        (f"Activations of {BATCH} images", "counted"),
        *[(f"Loss, {p} GPUs" if p > 1 else "Loss, 1 GPU", "counted") for p in GPUS],
        ("Peak, 1 GPU", "computed"),
        (f"Peak, {GPUS[-1]} GPUs", "computed"),
    ]
    return table(columns, [_memory(subject, losses) for subject in subjects])


def _memory(subject: Subject, losses: dict[int, int]) -> list[str]:
    p, step = subject.parameters, subject.memory
    weights, optimizer = 4 * (p.student + p.teacher), 4 * subject.slots * p.trained
    gradients, views = 4 * p.trained, formulas.view_bytes(subject.sides, BATCH)
    peaks = [
        # The counted peak has the gradients; buckets exist with several processes only.
        subject.state
        + views
        + (gradients if processes > 1 else 0)
        + max(step.peak, step.activations + losses[processes])
        for processes in (GPUS[0], GPUS[-1])
    ]
    return [
        subject.name,
        *[f"{x / GB:.2f}" for x in (weights, optimizer, gradients, gradients, views)],
        f"{step.activations / GB:.1f}",
        *[f"{losses[processes] / GB:.2f}" for processes in GPUS],
        *[f"{peak / GB:.1f}" for peak in peaks],
    ]


def between_epochs(subjects: Sequence[Subject]) -> str:
    """Return the table of the work that interrupts training, beside an epoch, in seconds."""
    rows = [
        [f"{what}, {subject.name}", *[f"{seconds(subject, p):,.1f}" for p in GPUS], growth]
        for what, seconds, growth in (
            ("Epoch", s.epoch_seconds, "1/P"),
            ("Box update", s.box_seconds, "1/P"),
            ("Online kNN", s.knn_seconds, "1/P"),
            ("Checkpoint", s.checkpoint_seconds, "constant"),
        )
        for subject in subjects
    ]
    times = [(f"{p} GPUs" if p > 1 else "1 GPU", "computed") for p in GPUS]
    return table([("Seconds", ""), *times, ("Growth with P GPUs", "computed")], rows)


def notes(subjects: Sequence[Subject]) -> str:
    """Return further figures, one line for each network."""
    return "\n".join(_notes(subject) for subject in subjects)


def _notes(subject: Subject) -> str:
    shared = formulas.shared_memory_bytes(subject.sides, BATCH, s.WORKERS)
    measured = s.recorded_step(subject.name)
    counted_bytes = s.count_on_a_cpu(subject.name, measured["batch"])
    in_workers = subject.step_rate / s.CORE_RATE_ALL
    processes = SEVERAL[-1]
    gradients = formulas.gradient_collectives(subject.buckets)
    window = 2 * subject.operations.global_views / subject.operations.step
    hidden = formulas.sent(gradients, processes) / (window * BATCH / subject.step_rate)
    return (
        f"{subject.name}: {subject.operations.step / 1e9:.1f} GFLOP an image, "
        f"{subject.parameters.trained:,} trained parameters, {subject.parameters.buffers:,} "
        f"numbers in buffers. Checkpoint {subject.checkpoint / GB:.2f} GB, kNN features "
        f"{_knn_tables(subject)} GB a branch, prepared batches {shared / GB:.2f} GB a GPU. "
        f"Gradients are hidden down to {hidden / GB:.1f} GB/s. Augmentation in the workers needs "
        f"{in_workers:.0f} cores a GPU. Memory of {measured['batch']} images in float32 on a CPU: "
        f"{counted_bytes / MIB:.0f} MiB counted, {measured['extra MiB']['ours']:.0f} measured."
    )


def _knn_tables(subject: Subject) -> str:
    return " / ".join(f"{subject.knn_table(p) / GB:.2f}" for p in GPUS)


def _both(values) -> str:
    return " / ".join(f"{value:.1f}" for value in values)
