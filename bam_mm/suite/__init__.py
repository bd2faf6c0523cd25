"""The benchmark: suites of tasks, models, runs and records; :mod:`bam_mm.report` shows them."""
