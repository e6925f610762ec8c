"""The attribute judge: a small network that reads every attribute back off a picture; it takes no part in training.

It shares nothing with CLIP, the generator or the editor: own layers, own data, own seed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit.files import read_module, write_tensors
from deltaedit.loop import fit, learning_rate
from deltaedit.portraits.attributes import ATTRIBUTES, BINARY, CHOICE, INDEX, NAMES, SCALE, Choice, attribute, visible
from deltaedit.portraits.pool import Pool


@dataclass(frozen=True)
class JudgeConfig:
    """Size of the judge's network."""

    resolution: int = 64
    width: int = 32


class Judge(nn.Module):
    """Reads attributes off pictures: (B, 3, H, W) in [-1, 1] → a logit, logits or a number per attribute."""

    def __init__(self, config: JudgeConfig = JudgeConfig()) -> None:
        super().__init__()
        self.config = config
        w = config.width
        blocks: list[nn.Module] = [nn.Conv2d(3, w, 5, 2, 2), nn.BatchNorm2d(w), nn.ReLU()]
        for a, b in ((w, 2 * w), (2 * w, 4 * w), (4 * w, 4 * w)):
            blocks += [nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU(),
                       nn.Conv2d(b, b, 3, 1, 1), nn.BatchNorm2d(b), nn.ReLU()]  # fmt: skip
        self.body = nn.Sequential(*blocks)
        self.embed = nn.Linear(4 * w * (config.resolution // 16) ** 2, 256)
        self.sizes = [len(a.options) if isinstance(a, Choice) else 1 for a in ATTRIBUTES]
        self.head = nn.Linear(256, sum(self.sizes))

    def embedding(self, image: Tensor) -> Tensor:
        """What the judge sees, (B, 256): the layer from which all attributes are read."""
        size = self.config.resolution
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"The judge takes images (B, 3, H, W), got {tuple(image.shape)}.")
        if image.shape[-2:] != (size, size):
            image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        return F.relu(self.embed(self.body(image).flatten(1)))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Raw outputs by attribute: a logit (B,), logits (B, options) for a Choice, or a value (B,) for a Scale."""
        parts = self.head(self.embedding(image)).split(self.sizes, dim=1)
        pairs = zip(ATTRIBUTES, parts, strict=True)
        return {a.name: part if isinstance(a, Choice) else part[:, 0] for a, part in pairs}

    @torch.no_grad()
    def read(self, image: Tensor, batch_size: int = 256) -> Tensor:
        """The factors seen in pictures (B, len(ATTRIBUTES)): 0 or 1, the option's index, or a number."""
        rows = []
        for batch in image.split(batch_size):
            out = self(batch)
            rows.append(torch.stack([self._decide(name, out[name]) for name in NAMES], dim=1))
        return torch.cat(rows)

    @staticmethod
    def _decide(name: str, out: Tensor) -> Tensor:
        if name in BINARY:
            return (out > 0).float()
        return out.argmax(1).float() if name in CHOICE else out.float()

    def save(self, path: str | Path) -> None:
        """Write weights in half precision and the configuration to one safetensors file."""
        write_tensors(path, self.state_dict(), {"config": asdict(self.config)}, half=True)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Judge:
        """Read what ``save`` wrote, in evaluation mode; raises ``ValueError`` if it is missing or another model."""
        return read_module(path, lambda meta: cls(JudgeConfig(**meta["config"]))).to(device)


def judge_loss(out: dict[str, Tensor], factors: Tensor, seen: Tensor) -> Tensor:
    """Sum over attributes of cross entropy or squared error, of those that can be seen.

    Args:
        out: what ``Judge.forward`` gave.
        factors: (B, len(ATTRIBUTES)) the truth.
        seen: (B, len(ATTRIBUTES)) bool, see :func:`deltaedit.portraits.attributes.visible`.
    """
    total = factors.new_zeros(())
    for name in NAMES:
        y, mask = factors[:, INDEX[name]], seen[:, INDEX[name]].float()
        if name in BINARY:
            loss = F.binary_cross_entropy_with_logits(out[name].float(), y, reduction="none")
        elif name in CHOICE:
            loss = F.cross_entropy(out[name].float(), y.long(), reduction="none")
        else:
            loss = 4 * (out[name].float() - y).square()
        total = total + (loss * mask).mean()
    return total


@dataclass(frozen=True)
class JudgeTraining:
    """How the judge is trained; one recipe for CPU and CUDA."""

    model: JudgeConfig = JudgeConfig()
    steps: int = 3000
    batch_size: int = 64
    lr: float = 1e-3
    weight_decay: float = 0.02
    seed: int = 1000


def train_judge(pool: Pool, folder: str | Path, config: JudgeTraining = JudgeTraining(),
                stop_after: int | None = None) -> tuple[Judge, list[dict[str, float]]]:  # fmt: skip
    """Train on a pool of portraits; returns the judge and the log.

    Pictures are jittered in brightness, blurred a little and given noise, so that it also reads generated ones.
    """
    device = pool.z.device
    torch.manual_seed(config.seed)
    judge = Judge(config.model).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)

    def step_fn(step: int, rng: torch.Generator) -> dict[str, Tensor]:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.steps, config.lr)
        index = torch.randint(len(pool), (config.batch_size,), generator=rng, device=device)
        image = _roughen(pool.images(index), rng)
        with torch.autocast(device.type, torch.bfloat16):
            out = judge(image.to(memory_format=torch.channels_last))
        factors = pool.factors[index]
        loss = judge_loss(out, factors, visible(factors))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    log = fit(step_fn, config.steps, name="judge", folder=folder, seed=config.seed, device=device,
              describes=asdict(config), carries={"judge": judge, "optimizer": optimizer}, save_every=250,
              stop_after=stop_after)  # fmt: skip
    return judge.eval(), log


def _roughen(image: Tensor, rng: torch.Generator) -> Tensor:
    n, device = len(image), image.device
    gain, shift = (torch.rand(2, n, 1, 1, 1, generator=rng, device=device) - 0.5) * 0.2
    blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    image = torch.lerp(image, blurred, torch.rand(n, 1, 1, 1, generator=rng, device=device))
    return image * (1 + gain) + shift + 0.05 * torch.randn(image.shape, generator=rng, device=device)


@torch.no_grad()
def accuracy(judge: Judge, image: Tensor, factors: Tensor) -> dict[str, float]:
    """How well the judge reads pictures whose factors are known, by attribute, where they can be seen.

    Returns:
        The share read right for a Binary or a Choice; the coefficient of determination R² for a Scale.
    """
    read, seen = judge.read(image), visible(factors)
    out = {}
    for name in NAMES:
        k = INDEX[attribute(name).name]
        y, guess = factors[seen[:, k], k], read[seen[:, k], k]
        if name in SCALE:
            out[name] = float(1 - (guess - y).square().mean() / y.var(unbiased=False))
        else:
            out[name] = float((guess == y).float().mean())
    return out
