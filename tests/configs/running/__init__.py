"""How a config of each folder of ``configs`` is run for one iteration: a module a folder.

``run(path, world, work_dir)`` builds the config at ``path`` and runs one iteration of it at reduced
size, on the toy world in the folder ``world``.
"""
