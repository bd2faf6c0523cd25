"""mmengine's runner with a log that people read: what is found elsewhere takes one line."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from bam_mm.distributed import unwrap_model

DEFAULT = "DefaultOptimWrapperConstructor"


class BriefRunner(Runner):
    """Runner that logs config, hooks and parameter groups in one line each.

    mmengine logs the whole config, which it also writes into the work folder, every stage of every
    hook, every parameter with a setting of its own, and how each parameter was initialised: in most
    runs a thousand lines before the first iteration. With ``log_level="DEBUG"``, all of them are
    logged, as before.
    """

    cfg: Config

    def build_optim_wrapper(self, optim_wrapper: Any) -> OptimWrapper:
        """Build the optimizer wrapper; mmengine's default constructor logs one line."""
        if (
            isinstance(optim_wrapper, Mapping)
            and optim_wrapper.get("optimizer") is not None
            and optim_wrapper.get("constructor", DEFAULT) == DEFAULT
        ):
            kind = "bam_mm.BriefOptimWrapperConstructor"
            optim_wrapper = ConfigDict(optim_wrapper, constructor=kind)
        return super().build_optim_wrapper(optim_wrapper)

    def get_hooks_info(self) -> str:
        """Return the names of the hooks in the order of their priority.

        At level ``DEBUG``, it is mmengine's list of the hooks of each stage.
        """
        if self._detailed():
            return super().get_hooks_info()
        return ", ".join(type(hook).__name__ for hook in self.hooks)

    def _init_model_weights(self) -> None:
        model: Any = unwrap_model(self.model)
        if self._detailed() or not hasattr(model, "_dump_init_info"):
            super()._init_model_weights()
            return
        # Four lines for each parameter, in the file of the log only.
        model._dump_init_info = lambda: None
        try:
            super()._init_model_weights()
        finally:
            del model._dump_init_info

    def _log_env(self, env_cfg: dict) -> None:
        if self._detailed():
            super()._log_env(env_cfg)
            return
        # An empty config is not logged.
        config, self.cfg = self.cfg, Config()
        super()._log_env(env_cfg)
        self.cfg = config
        # mmengine writes it there, after everything is built.
        name = Path(config.filename).name if config.filename else f"{self.timestamp}.py"
        self.logger.info(f"config: {Path(self.work_dir) / name}")

    def _detailed(self) -> bool:
        return any(handler.level == logging.DEBUG for handler in self.logger.handlers)
