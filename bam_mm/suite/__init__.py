"""The benchmark: tasks and suites, models, runs, records. Reports are in ``benchmark.report``."""
