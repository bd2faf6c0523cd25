"""Baseline of multi-crop: Pillow and torchvision, with every operation on each view."""

import random

from PIL import Image, ImageFilter
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PillowBlur:
    """Gaussian blur with a radius drawn from (0.1, 2)."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Blur one image."""
        return image.filter(ImageFilter.GaussianBlur(radius=random.uniform(0.1, 2.0)))


def photometric(blur_prob: float, solarize_prob: float) -> list:
    """Return the photometric operations of one view, up to the normalised tensor."""
    return [
        T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        T.RandomGrayscale(p=0.2),
        T.RandomApply([PillowBlur()], p=blur_prob),
        T.RandomSolarize(threshold=128, p=solarize_prob),
        T.ToTensor(),
        T.Normalize(MEAN, STD),
    ]


def view(size: int, scale: tuple[float, float], blur_prob: float, solarize_prob: float):
    """Return the transform that creates one view."""
    crop = T.RandomResizedCrop(size, scale=scale, interpolation=InterpolationMode.BICUBIC)
    flip = T.RandomHorizontalFlip(0.5)
    return T.Compose([crop, flip, *photometric(blur_prob, solarize_prob)])


class PILMultiCrop:
    """Create 2 global views of 224 px and 6 local views of 96 px from a file."""

    def __init__(self) -> None:
        self.views = [view(224, (0.25, 1.0), 1.0, 0.0), view(224, (0.25, 1.0), 0.1, 0.2)]
        self.views += [view(96, (0.05, 0.25), 0.5, 0.0) for _ in range(6)]

    def __call__(self, path: str) -> list:
        """Decode an image and return its 8 views as normalised float tensors."""
        with Image.open(path) as file:
            image = file.convert("RGB")
        return [make(image) for make in self.views]
