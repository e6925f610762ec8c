"""A pool of pictures painted ahead, so that three trainers need not paint the same pictures again and again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.files import locked, unwritten
from deltaedit.worlds.world import World

BLOCK = 64  # pictures of 64 px painted at a time: small enough to stay in a processor's cache


@dataclass(frozen=True)
class Pool:
    """Pictures of a world on a device: latents, their factors, and their pictures as bytes."""

    world: World
    z: Tensor  #: (n, z_dim), standard normal latents
    factors: Tensor  #: (n, len(names)), what each latent stands for
    pictures: Tensor  #: (n, 3, H, W), uint8

    def __len__(self) -> int:
        return len(self.z)

    def images(self, index: Tensor) -> Tensor:
        """Pictures of some rows as images (B, 3, H, W) in [-1, 1]."""
        return self.pictures[index].float().div_(127.5).sub_(1)


def latents(n: int, z_dim: int, seed: int) -> Tensor:
    """The first ``n`` latents of a seed, (n, z_dim); more of them begin with the same ones."""
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([torch.randn(BLOCK, z_dim, generator=generator) for _ in range(-(-n // BLOCK))])[:n]


@torch.no_grad()
def paint(world: World, factors: Tensor, resolution: int) -> Tensor:
    """Render many pictures block by block, uint8 (n, 3, resolution, resolution)."""
    parts = renders(world, factors, resolution)
    return torch.cat([((part.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8) for part in parts])


def renders(world: World, factors: Tensor, resolution: int) -> Iterator[Tensor]:
    """Render many pictures part by part, (b, 3, resolution, resolution) in [-1, 1] each."""
    for part in factors.split(max(1, BLOCK * 64**2 // resolution**2)):
        yield world.render(part, resolution)


def open_pool(
    world: World,
    folder: str | Path,
    n: int,
    resolution: int = 64,
    z_dim: int = 64,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Pool:
    """Open a pool in a folder, painting what is missing.

    A killed run goes on where it was; of two that start together one paints, and the other waits. A file's name holds
    world, resolution, z_dim and seed. On the CPU the pictures stay on disk, mapped into memory.

    Raises:
        OSError: if it cannot be written; the message names the file.
    """
    path = Path(folder) / f"{world.name}-{resolution}px-z{z_dim}-seed{seed}.bin"
    size = 3 * resolution * resolution
    z = latents(n, z_dim, seed)
    factors = torch.cat([world.factors_from_z(block) for block in z.split(4096)])

    def there() -> int:
        return path.stat().st_size // (size * BLOCK) * BLOCK if path.exists() else 0

    if there() < n:
        with locked(path):
            try:
                with open(path, "ab") as file:
                    file.truncate((done := there()) * size)  # a block cut short by a kill is painted again
                    for start in tqdm(range(done, n, BLOCK), desc=f"painting {n} {world.name}", unit="block"):
                        block = factors[start : start + BLOCK].to(device)
                        file.write(paint(world, block, resolution).cpu().numpy().tobytes())
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise unwritten(path, error) from None
    pictures = torch.from_numpy(np.memmap(path, np.uint8, "c", shape=(n, 3, resolution, resolution)))
    return Pool(world, z.to(device), factors.to(device), pictures.to(device))
