"""Helpers that run a config for one iteration: one module for each folder of ``configs``.

``run(path, world, work_dir)`` builds the config at ``path`` and runs one iteration at reduced size
on the toy world in the folder ``world``.
"""
