"""Mixed images from a diffusion model that is told CLIP's embeddings of two photos (section 4.3.2; Pinkney 2022).

Needs the library ``diffusers`` and local weights, which are not part of this project.  Written after the interfaces of
the library; no test runs it with real weights.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from render.errors import InputError
from render.files import atomic_file
from render.progress import Progress, silent
from training.distillation.specific.mixing import NAMES, class_folder
from training.probing.photos import ProbePhoto
from training.randomness import seeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import UInt8

STEPS, GUIDANCE = 50, 3.0  # of the sampling; Pinkney's demo has this guidance
TIMES = 5  # images for each photo; the text has 10 of small data sets
SIDE = 512  # pixels, that Stable Diffusion draws
SCALE_OF_LATENTS = 0.18215  # Stable Diffusion's, where the weights do not say

Mixing = Callable[["UInt8[np.ndarray, 'h w 3']", "UInt8[np.ndarray, 'h w 3']", int], "UInt8[np.ndarray, 's s 3']"]
"""From two photos and a seed to an image."""


class DiffusionPipeline:
    """Stable Diffusion told by CLIP's embeddings of photos, put behind each other along the sequence.

    Args:
        weights: Folder of a ``StableDiffusionImageVariationPipeline`` as ``diffusers`` saves it (``model_index.json``
            with image encoder, UNet, VAE and scheduler): ImageMixer's weights converted to that layout.
        device: Where it computes; in half precision on CUDA.

    Raises:
        InputError: the library or the weights are not there, or are not such a pipeline.
    """

    def __init__(self, weights: Path, device: torch.device) -> None:
        try:
            from diffusers import StableDiffusionImageVariationPipeline
        except ImportError as error:
            raise InputError(
                "Images are mixed by diffusion with the library diffusers, which is not installed: install diffusers "
                "and transformers, give a folder of images made elsewhere, or mix with blend."
            ) from error
        if not (weights / "model_index.json").is_file():
            raise InputError(
                f"Expected the weights of an image-mixing diffusion model at {weights}, with model_index.json, found "
                "none; give the folder of a saved StableDiffusionImageVariationPipeline."
            )
        kind = torch.float16 if device.type == "cuda" else torch.float32
        try:
            pipe = StableDiffusionImageVariationPipeline.from_pretrained(
                weights, local_files_only=True, use_safetensors=True, safety_checker=None, torch_dtype=kind
            )
        except (OSError, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(". ")
            raise InputError(f"{weights} could not be read as a diffusion pipeline ({reason}).") from error
        self._pipe: Any = pipe.to(device)
        self._device, self._kind = device, kind

    @torch.no_grad()
    def __call__(
        self, first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "H W 3"], seed: int
    ) -> UInt8[np.ndarray, "s s 3"]:
        """An image that shows something of both."""
        pipe = self._pipe
        inputs = pipe.feature_extractor(images=[first, second], return_tensors="pt").pixel_values
        embeddings = pipe.image_encoder(inputs.to(self._device, self._kind)).image_embeds
        told = embeddings[None]  # one image whose sequence are both photos
        told = torch.cat([torch.zeros_like(told), told])
        scheduler = pipe.scheduler
        scheduler.set_timesteps(STEPS, device=self._device)
        config = pipe.vae.config
        fine = 2 ** (len(config.block_out_channels) - 1)
        size = (1, pipe.unet.config.in_channels, SIDE // fine, SIDE // fine)
        latents = torch.randn(size, generator=torch.Generator().manual_seed(seed)).to(self._device, self._kind)
        latents = latents * scheduler.init_noise_sigma
        with seeded(seed):  # of schedulers that draw noise in every step
            for step in scheduler.timesteps:
                both = scheduler.scale_model_input(torch.cat([latents, latents]), step)
                without, with_photos = pipe.unet(both, step, encoder_hidden_states=told).sample.chunk(2)
                noise = without + GUIDANCE * (with_photos - without)
                latents = scheduler.step(noise, step, latents).prev_sample
        scale = getattr(config, "scaling_factor", SCALE_OF_LATENTS)
        decoded = pipe.vae.decode(latents / scale).sample[0].float()
        values = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round()
        return values.to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def make_mixed_images(
    mixing: Callable[[], Mixing],
    photos: Sequence[ProbePhoto],
    out: Path,
    *,
    times: int,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    part: tuple[int, int] = (0, 1),
    progress: Progress = silent,
) -> None:
    """Mix random pairs of photos and write the images; those that are there are kept.

    Args:
        mixing: Gives what mixes two photos; asked for only if an image is missing.
        photos: Of the training.
        out: Folder for ``NUMBER.png``; with ``classes`` for ``CLASS/NUMBER.png``, where CLASS is a number that
            ``classes.json`` names.
        times: So many images for each photo; 5 in the text, 10 for few photos.
        classes: Names, to mix photos of one class alone; None = any two.
        seed: Of pairs and noise.
        part: Number of this process, and how many there are: each makes some of the images.
        progress: Told of every image.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    from PIL import Image

    alike: dict[int | None, list[int]] = {}
    for index, photo in enumerate(photos):
        alike.setdefault(photo.label if classes else None, []).append(index)
    if classes and part[0] == 0:
        with atomic_file(out / NAMES) as temporary:
            temporary.write_text(json.dumps(list(classes)), encoding="utf-8")
    made: Mixing | None = None
    numbers = range(part[0], times * len(photos), part[1])
    for done, number in enumerate(numbers):
        progress(done, len(numbers), "mixing images")
        random = np.random.default_rng([seed, number])
        first = photos[number % len(photos)]
        among = alike[first.label if classes else None]
        second = photos[among[int(random.integers(len(among)))]]
        folder = out / class_folder(first.label) if classes and first.label is not None else out
        path = folder / f"{number:07d}.png"
        if path.is_file():
            continue
        made = made or mixing()
        mixed = made(first.image(), second.image(), int(random.integers(2**62)))
        with atomic_file(path) as temporary:
            Image.fromarray(mixed).save(temporary)
    progress(len(numbers), len(numbers), "mixing images")


def folder_of(weights: Path, photos: str, *, times: int, intra: bool, seed: int) -> str:
    """The name of a folder for mixed images: another one for other photos, weights or choices.

    Args:
        weights: Folder of the pipeline; the names and sizes of its files count.
        photos: Fingerprint of the photos that are mixed.
        times: Images for each of them.
        intra: Whether photos of one class alone are mixed.
        seed: Of pairs and noise.

    Raises:
        InputError: no such folder.
    """
    if not weights.is_dir():
        raise InputError(f"Expected the folder of a diffusion pipeline at {weights}, found none.")
    files = sorted((str(f.relative_to(weights)), f.stat().st_size) for f in weights.rglob("*") if f.is_file())
    of = json.dumps([files, photos, times, intra, seed, STEPS, GUIDANCE])
    return f"mixed-{hashlib.sha256(of.encode()).hexdigest()[:12]}"
