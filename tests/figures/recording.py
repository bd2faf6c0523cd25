"""A backend of the visualizer that keeps what any backend gets; ``--vis recording`` adds it."""

from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend


@VISBACKENDS.register_module(force=True)
class RecordingVisBackend(BaseVisBackend):
    scalars: dict = {}
    images: dict = {}

    def __init__(self, save_dir=""):
        super().__init__(save_dir)

    def _init_env(self):
        pass

    @property
    def experiment(self):
        return self

    def add_image(self, name, image, step=0, **kwargs):
        self.images.setdefault(name, {})[step] = image

    def add_scalar(self, name, value, step=0, **kwargs):
        self.scalars.setdefault(name, []).append((step, float(value)))

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        for name, value in scalar_dict.items():
            self.add_scalar(name, value, step)

    @classmethod
    def clear(cls):
        cls.scalars, cls.images = {}, {}
