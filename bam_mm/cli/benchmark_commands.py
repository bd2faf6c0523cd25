"""The commands of ``bam-mm benchmark``."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bam_mm.checkpoint import write_whole
from bam_mm.errors import InputError
from bam_mm.launch.config import load_config
from bam_mm.launch.gpu import warn_of_unused_gpu
from bam_mm.launch.option_text import split_option
from bam_mm.launch.paths import shown
from bam_mm.launch.tracking import check_vis
from bam_mm.launch.work_folder import check_output
from bam_mm.models.building import log_only_warnings
from bam_mm.suite.definitions import Suite, Task, load_suite, suite_names
from bam_mm.suite.methods import PRETRAIN
from bam_mm.suite.models import read_models
from bam_mm.suite.planning import Run, Settings, check_any_data, plan
from bam_mm.suite.pretraining import method_task
from bam_mm.suite.pretraining_checks import check_methods
from bam_mm.suite.protocol import batch_of, filled_in, protocol_of
from bam_mm.suite.records import COST

if TYPE_CHECKING:
    from bam_mm.suite.comparing import Comparison

NO_RESULT, INTERRUPTED = 2, 130
"""Exit codes: a task has no result, or the run was interrupted by Ctrl-C."""


LEAST_DEAD_AFTER = 60
"""Least value of ``--dead-after`` in seconds."""


def show(args: Namespace) -> int:
    """Print all suites, or the tasks of one suite with their protocols and data sets."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    if args.suite is None:
        table = Table("suite", "tasks", "description", box=None)
        for name in suite_names():
            suite = load_suite(name)
            table.add_row(name, ", ".join(task.name for task in suite.tasks), suite.about)
        console.print(table)
        return 0
    suite = load_suite(args.suite)
    console.print(f"{suite.title}: {suite.about}")
    table = Table(title=None)
    for head in ("task", "protocol", "configs", "metrics", "data (relative to --data)", "cost"):
        table.add_column(head, overflow="fold")
    for task in suite.tasks:
        methods = suite.methods if task.kind == PRETRAIN else ()
        for each in [method_task(task, method) for method in methods] or [task]:
            table.add_row(*_row(each))
    console.print(table)
    return 0


def validate(args: Namespace) -> int:
    """Check data and models, and print the findings.

    Returns:
        The exit code: 0 for success, 1 if there is a fault.
    """
    from bam_mm.suite.validating import validate as check

    faults = 0
    for finding in check(_plan(args)[1]):
        print(f"{'ok   ' if finding.ok else 'FAULT'} {finding.text}")
        if not finding.ok and finding.remedy:
            print(f"      fix: {finding.remedy}")
        faults += not finding.ok
    return int(bool(faults))


def run(args: Namespace) -> int:
    """Run everything that has no result yet, then draw the pictures and write the report.

    Returns:
        The exit code: 0 for success, 2 if a task has no result, 130 if interrupted.
    """
    from bam_mm.suite.pictures import draw_pictures
    from bam_mm.suite.workers import interrupted_by_sigterm, run_all

    suite, runs = _plan(args)
    check_any_data(runs)
    check_methods(runs)
    # The runs warn too, but into their own logs.
    warn_of_unused_gpu()
    try:
        with interrupted_by_sigterm():
            missing = run_all(
                runs, log=_log, jobs=args.jobs, tries=args.tries, dead_after=args.dead_after
            )
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume")
        return INTERRUPTED
    if any(each.record.is_file() for each in runs):
        draw_pictures(runs)
        _report(suite, _folder(args, suite), published=args.published)
    if missing:
        print(f"{missing} of {len(runs)} runs have no result; run the same command to retry them")
    return NO_RESULT if missing else 0


def worker(args: Namespace) -> int:
    """Take the next undone run until all have a result or have failed.

    Returns:
        The exit code: 0 for success, 2 if a task has no result, 130 if interrupted.
    """
    from bam_mm.suite.workers import interrupted_by_sigterm, work_alone

    _, runs = _plan(args)
    check_any_data(runs)
    check_methods(runs)
    warn_of_unused_gpu()
    try:
        with interrupted_by_sigterm():
            missing = work_alone(runs, log=_log, tries=args.tries, dead_after=args.dead_after)
    except KeyboardInterrupt:
        print("interrupted; another worker goes on with the run")
        return INTERRUPTED
    found = f"{len(runs) - missing} of {len(runs)} runs have a result"
    print(f"{found}; bam-mm benchmark run with the same options draws and reports them")
    return NO_RESULT if missing else 0


def slurm(args: Namespace) -> int:
    """Write a script by which Slurm or SkyPilot starts workers."""
    from bam_mm.suite.cluster import WorkerJobs, skypilot_file, slurm_script

    if args.launcher == "slurm":
        raise InputError(
            "--launcher slurm: each job of the script is one worker, which starts the processes of "
            "a run itself; leave the option out, or use --launcher pytorch"
        )
    suite, _ = _plan(args)
    folder = _folder(args, suite)
    jobs = WorkerJobs(
        suite.name, worker_arguments(args, suite), folder, workers=args.workers, gpus=args.gpus,
        time=args.time, cpus=args.cpus, accelerator=args.accelerator,
    )  # fmt: skip
    script = args.format == "slurm"
    out = args.out or folder / ("workers.sh" if script else "workers.yaml")
    check_output(out, "--out")
    text = slurm_script(jobs) if script else skypilot_file(jobs)
    write_whole(out.expanduser(), text.encode())
    print(out)
    print(f"start the workers with: {'sbatch' if script else 'sky jobs launch'} {quote(str(out))}")
    return 0


def worker_arguments(args: Namespace, suite: Suite) -> list[str]:
    """Return the command line of a worker with the options of this call.

    Args:
        args: Parsed command line of any command that takes a worker's options.
        suite: The suite that it names.

    Returns:
        The arguments after ``bam-mm``. The paths of the suite, the data and the work folder are
        absolute; those of models are relative to this folder, as they were given.
    """
    name = str(Path(args.suite).absolute()) if args.suite.endswith(".py") else args.suite
    words = ["benchmark", "worker", name, *(f"--model={text}" for text in args.model)]
    words += [f"--work-dir={_folder(args, suite)}", f"--data={args.data.expanduser().absolute()}"]
    for option, values in (
        ("--methods", args.methods), ("--size", args.size), ("--tasks", args.tasks),
        ("--seeds", args.seeds), ("--cfg-options", args.cfg_options),
    ):  # fmt: skip
        words += [option, *map(str, values)] if values else []
    for option, value in (
        ("--limit", args.limit), ("--launcher", args.launcher), ("--gpus-per-run", args.gpus),
        ("--tries", args.tries), ("--dead-after", args.dead_after),
    ):  # fmt: skip
        words += [f"{option}={value}"] if value is not None else []
    words += [f"--vis={name}" for name in args.vis]
    return [*words, "--trust-checkpoint"] if args.trust_checkpoint else words


def report(args: Namespace) -> int:
    """Write the tables and the HTML page of the existing records."""
    suite = load_suite(args.suite)
    _report(suite, _folder(args, suite), published=args.published)
    return 0


def compare(args: Namespace) -> int:
    """Print the differences of two models on the same test images."""
    from bam_mm.suite.comparing import compare_models

    suite = load_suite(args.suite)
    first, second = args.models
    folder = _folder(args, suite)
    found = compare_models(suite.choose(args.tasks), first, second, folder, seed=args.seed)
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    table = Table("task", "metric", title=f"{second} against {first}, seed {args.seed}")
    heads = (first, second, "difference [95 %]", "only one is right", "McNemar's p", "units")
    for head in heads:
        table.add_column(head, justify="right", overflow="fold")
    table.add_column("verdict", overflow="fold")
    for task, comparisons in found.items():
        for each in comparisons:
            table.add_row(task, each.metric.label, *_compared(each))
    console.print(table)
    return 0


def cost(args: Namespace) -> int:
    """Measure the time and memory of a pretraining step for several methods.

    Returns:
        The exit code: 0 for success, 2 if a method could not be measured.
    """
    from bam_mm.suite.pretraining_cost import CostSettings, compare
    from bam_mm.suite.pretraining_methods import METHODS, Views

    warn_of_unused_gpu()
    methods = args.model or list(METHODS)
    Views.of(args.crops)
    for name, value in (("batch", args.batch), ("steps", args.steps), ("rounds", args.rounds)):
        if value < 1:
            raise InputError(f"--{name} {value}: must be at least 1")
    settings = [
        CostSettings(
            method, args.backbone, tuple(args.crops), args.batch, args.steps, args.bf16,
            args.threads,
        )
        for method in methods
    ]  # fmt: skip
    rows = compare(settings, rounds=args.rounds, log=lambda line: print(line, flush=True))
    console = Console()
    crops = " + ".join(args.crops)
    table = Table(title=f"Training step of {args.batch} images, {crops}, {args.backbone}")
    heads = ("ms", f"times {methods[0]}", "images/s", "peak MiB", "ImageNet epoch, h")
    for head in ("method", *heads):
        table.add_column(head, justify="left" if head == "method" else "right", overflow="fold")
    for row in rows:
        if row["message"]:
            table.add_row(row["method"], row["message"])
        else:
            cells = (("ms", ".0f"), ("times", ".2f"), ("images_per_s", ".1f"), ("peak_mb", ",.0f"),
                     ("imagenet_hours", ",.1f"))  # fmt: skip
            table.add_row(row["method"], *(format(row[key], form) for key, form in cells))
    console.print(table)
    out = (args.work_dir or Path("work_dirs/benchmark/cost")).expanduser() / COST
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, (json.dumps(rows, indent=2) + "\n").encode())
    print(out)
    return NO_RESULT if any(row["message"] for row in rows) else 0


def _compared(found: Comparison) -> tuple[str, ...]:
    form, change, test = found.metric.form, found.difference, found.test
    signed = f"+{form}"
    return (
        format(found.first, form),
        format(found.second, form),
        f"{change.value:{signed}} [{change.low:{signed}}, {change.high:{signed}}]",
        "" if test is None else f"{test.only_first} : {test.only_second}",
        "" if test is None else f"{test.p:.2g}",
        f"{found.units} {found.kind}",
        found.verdict,
    )


def _log(line: str) -> None:
    print(line, flush=True)


def _report(suite: Suite, folder: Path, *, published: bool) -> None:
    from bam_mm.report import write_report

    if published and not any(":" in m.published for task in suite.tasks for m in task.metrics):
        print(
            f"--published: no task of the suite {suite.name} has a protocol of published numbers, "
            "so that none stand beside its own"
        )
    for path in write_report(suite, folder, published=published):
        print(path)


def _plan(args: Namespace) -> tuple[Suite, Sequence[Run]]:
    log_only_warnings()
    suite = load_suite(args.suite)
    seeds = args.seeds or [0]
    if len({*seeds}) != len(seeds):
        raise InputError(f"--seeds {' '.join(map(str, seeds))}: name each seed only once")
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise InputError(f"--seeds {seed}: a seed is an integer from 0 to 2^32 - 1")
    for name in ("gpus", "jobs", "tries", "workers"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            option = "gpus-per-run" if name == "gpus" else name
            raise InputError(f"--{option} {value}: must be at least 1")
    # Not "<", with which "nan" would pass.
    if not getattr(args, "dead_after", LEAST_DEAD_AFTER) >= LEAST_DEAD_AFTER:
        raise InputError(
            f"--dead-after {args.dead_after:g}: must be at least {LEAST_DEAD_AFTER} seconds, as "
            "workers give a sign only every 20 seconds"
        )
    settings = Settings(
        folder=_folder(args, suite),
        data=args.data.expanduser().absolute(),
        limit=args.limit,
        launcher=args.launcher or ("none" if args.gpus == 1 else "pytorch"),
        processes=args.gpus,
        options=parse_options(args.cfg_options),
        trust=args.trust_checkpoint,
        vis=getattr(args, "vis", ()),
    )
    check_vis(settings.vis)
    methods = suite.choose_methods(args.methods)
    models = read_models(
        args.model,
        trust=args.trust_checkpoint,
        sizes=args.size,
        reserved=[name for each in suite.methods for name in (each.name, each.title)],
    )
    return suite, plan(suite, suite.choose(args.tasks), models, seeds, settings, methods)


def parse_options(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Parse the values of ``--cfg-options``.

    Args:
        texts: Options of the form ``[TASK:]KEY=VALUE``.

    Returns:
        Values by task and dotted key; those for all tasks are under ``""``.

    Raises:
        InputError: If an option has no ``=``.
    """
    options: dict[str, dict[str, Any]] = {}
    for text in texts:
        key, value = split_option(text)
        task, _, key = key.rpartition(":")
        options.setdefault(task, {})[key] = value
    return options


def _folder(args: Namespace, suite: Suite) -> Path:
    folder = args.work_dir or Path("work_dirs/benchmark") / suite.name
    return folder.expanduser().absolute()


def _row(task: Task) -> tuple[str, ...]:
    configs = "\n".join(
        shown(path) + ("" if family == "any" else f" ({family})")
        for family, path in task.config.items()
    )
    kind = {"test": "test", "train": "train, then test"}.get(task.kind, task.kind)
    data = f"{task.data.root}: {task.data.title}" + (f"\n{task.data.get}" if task.data.get else "")
    # The config of the suite, as nothing has run.
    configs_of = (load_config(path, task.options) for path in task.config.values())
    protocols = [protocol_of(config, batch=batch_of(config, 1)) for config in configs_of]
    about = filled_in(task.about, protocols)
    metrics = "\n".join(metric.key for metric in task.metrics)
    return task.name, f"{task.title}: {about} ({kind})", configs, metrics, data, task.cost


COMMANDS = {
    "list": show,
    "validate": validate,
    "run": run,
    "worker": worker,
    "slurm": slurm,
    "report": report,
    "compare": compare,
    "cost": cost,
}
