"""The attribute judge: a small network that reads every attribute back off a picture; it takes no part in training.

It shares nothing with CLIP, the generator or the editor: own layers, own data, own seed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit.devices import half_precision
from deltaedit.domain import Domain
from deltaedit.domains import find
from deltaedit.editor import Editor
from deltaedit.files import read_module, write_tensors
from deltaedit.loop import Step, descend, fit, learning_rate
from deltaedit.worlds import named
from deltaedit.worlds.faces.judge import FaceJudge
from deltaedit.worlds.pool import Pool
from deltaedit.worlds.table import Binary, Choice, Table
from deltaedit.worlds.world import Goal, World

JUDGE = "judge.safetensors"
"""A judge's file, in the folder of the domain whose pictures it reads."""


@dataclass(frozen=True)
class JudgeConfig:
    """Size of the judge's network."""

    resolution: int = 64
    width: int = 32


class Judge(nn.Module):
    """Reads a world's attributes off pictures: (B, 3, H, W) in [-1, 1] → a logit, logits or a number per attribute."""

    def __init__(self, world: World, config: JudgeConfig = JudgeConfig()) -> None:
        super().__init__()
        self.world, self.config = world, config
        self.names, self.binary, self.identity = world.table.names, world.table.binary, world.identity
        w = config.width
        blocks: list[nn.Module] = [nn.Conv2d(3, w, 5, 2, 2), nn.BatchNorm2d(w), nn.ReLU()]
        for a, b in ((w, 2 * w), (2 * w, 4 * w), (4 * w, 4 * w)):
            for before, stride in ((a, 2), (b, 1)):
                blocks += [nn.Conv2d(before, b, 3, stride, 1), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*blocks)
        self.embed = nn.Linear(4 * w * (config.resolution // 16) ** 2, 256)
        self.head = nn.Linear(256, sum(world.table.outputs))

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The edits that are measured."""
        return self.world.goals

    @property
    def choices(self) -> tuple[str, ...]:
        """Attributes that are one of several."""
        return tuple(self.world.table.choice)

    @property
    def spread(self) -> dict[str, float]:
        """Standard deviation of each attribute over pictures; see ``World.spread``."""
        return self.world.spread

    @property
    def kept(self) -> tuple[str, ...]:
        """Attributes that an edit should leave alone which does not name them."""
        return self.world.kept

    def there_and_gone(self, name: str) -> tuple[Goal, Goal]:
        """The two goals of a thing that can be taken off: it, and without it."""
        return Goal(self.world, name, True), Goal(self.world, name, False)

    def features(self, image: Tensor) -> list[Tensor]:
        """All that is seen on the way, (B, C, H', W') each, from edges to ``embedding``, the last, (B, 256, 1, 1)."""
        size = self.config.resolution
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"The judge takes images (B, 3, H, W), got {tuple(image.shape)}.")
        if image.shape[-2:] != (size, size):
            image = F.interpolate(image, (size, size), mode="bilinear", antialias=True)
        x, out = image, []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                out.append(x)
        return [*out, F.relu(self.embed(x.flatten(1)))[:, :, None, None]]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Raw outputs by attribute: a logit (B,), logits (B, options) for a Choice, or a value (B,) for a Scale."""
        return self.world.table.by_name(self.head(self.features(image)[-1].flatten(1)))

    @torch.no_grad()
    def embedding(self, image: Tensor, batch_size: int = 256) -> Tensor:
        """What the judge sees, (B, 256): the layer from which all attributes are read."""
        return torch.cat([self.features(batch)[-1].flatten(1) for batch in image.split(batch_size)])

    def read(self, image: Tensor) -> Tensor:
        """The factors seen in pictures (B, len(names)): 0 or 1, the option's index, or a number."""
        return self.look(image)[0]

    @torch.no_grad()
    def look(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """``read`` and ``embedding`` of pictures, for the price of one."""
        embedding = self.embedding(image)
        out = self.world.table.by_name(self.head(embedding))
        return torch.stack([self._decide(name, out[name]) for name in self.names], dim=1), embedding

    def _decide(self, name: str, out: Tensor) -> Tensor:
        if name in self.world.table.binary:
            return (out > 0).float()
        return out.argmax(1).float() if name in self.world.table.choice else out.float()

    def visible(self, read: Tensor) -> Tensor:
        """Which attributes can be seen, bool (B, len(names)), in pictures that were read so."""
        return self.world.visible(read)

    def moved(self, before: Tensor, after: Tensor) -> Tensor:
        """How far attributes are from one reading to another, (B, len(names)), each in its ``World.spread``.

        With x a number, or the one-hot vector of a Choice, it is ``|x_after - x_before|``: of one of K equally frequent
        options sqrt(2 K / (K - 1)) where another one is seen, 1.5 for six.
        """
        change, spread = (after - before).abs(), after.new_tensor([self.world.spread[name] for name in self.names])
        choice = torch.tensor([name in self.world.table.choice for name in self.names], device=after.device)
        return torch.where(choice, 2**0.5 * (change > 0.5), change) / spread  # one-hot vectors lie a root of 2 apart

    @torch.no_grad()
    def readings(self, image: Tensor) -> dict[str, float]:
        """What one picture (1, 3, H, W) in [-1, 1] shows, in words: how likely each thing is, or how much of it.

        Things and options have a probability, under the words that captions have for them; a scale has its place
        between its ends, 0 and 1, under its name. What cannot be seen is left out.
        """
        table, out = self.world.table, self(image)
        factors = torch.stack([self._decide(name, out[name]) for name in table.names], dim=1)
        said: dict[str, float] = {}
        for a, seen in zip(table.attributes, self.world.visible(factors)[0].tolist(), strict=True):
            if not seen:
                continue
            if isinstance(a, Binary):
                said[a.yes[0]] = float(out[a.name].sigmoid())
            elif isinstance(a, Choice):
                words = [facts[0][0] if (facts := a.facts(option)) else option for option in a.options]
                said |= dict(zip(words, out[a.name][0].softmax(0).tolist(), strict=True))
            else:
                low, high = a.range
                said[a.name.replace("_", " ")] = (float(out[a.name]) - low) / (high - low)
        return said

    def save(self, path: str | Path) -> None:
        """Write weights in half precision, the configuration and the world's name to one safetensors file."""
        about = {"config": asdict(self.config), "world": self.world.name}
        write_tensors(path, self.state_dict(), about, half=True)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", world: World | None = None) -> Judge:
        """Read what ``save`` wrote, in evaluation mode; raises ``ValueError`` if it is none, or none of ``world``."""

        def build(meta: dict[str, Any]) -> Judge:
            name = meta.get("world", "portraits")  # the first judge's file names none
            if world is not None and name != world.name:
                raise ValueError(f"the judge in {path} reads {name}, not {world.name}: load the one of {world.name}.")
            return cls(named(name), JudgeConfig(**meta["config"]))

        return read_module(path, build).to(device)

    @classmethod
    def of(cls, editor: Editor) -> Judge | FaceJudge | None:
        """The judge of an editor's pictures, on its device, see ``of_domain``; None without one."""
        return cls.of_domain(editor.domain, editor.home, editor.device)

    @classmethod
    def of_domain(
        cls, domain: Domain, home: str | Path | None = None, device: str | torch.device = "cpu"
    ) -> Judge | FaceJudge | None:
        """The judge of a domain's pictures: that in the folder that ``home`` names, or its world's; None without one.

        Faces that are aligned as FFHQ's are judged by published networks.
        """
        if domain.world is None and domain.align:
            return FaceJudge.load(device=device)
        files = [find(place) / JUDGE for place in (home, domain.world) if place is not None]
        return next((cls.load(file, device) for file in files if file.is_file()), None)


def judge_loss(table: Table, out: dict[str, Tensor], factors: Tensor, seen: Tensor) -> Tensor:
    """Sum over attributes of cross entropy or squared error, of those that can be seen.

    ``out`` is what ``Judge.forward`` gave, ``factors`` (B, len(names)) the truth, ``seen`` its ``World.visible``.
    """
    total = factors.new_zeros(())
    for k, name in enumerate(table.names):
        y, mask = factors[:, k], seen[:, k].float()
        if name in table.binary:
            loss = F.binary_cross_entropy_with_logits(out[name].float(), y, reduction="none")
        elif name in table.choice:
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


def train_judge(
    pool: Pool, folder: str | Path, config: JudgeTraining = JudgeTraining(), stop_after: int | None = None
) -> tuple[Judge, list[dict[str, float]]]:
    """Train on a pool of pictures; returns the judge and the log."""
    step_fn, carries = judge_step(pool, config)
    run = {"name": "judge", "folder": folder, "seed": config.seed, "device": pool.z.device, "stop_after": stop_after}
    log = fit(step_fn, config.steps, carries=carries, describes=asdict(config), save_every=250, **run)
    return carries["judge"].eval(), log


def judge_step(pool: Pool, config: JudgeTraining = JudgeTraining()) -> tuple[Step, dict[str, Any]]:
    """The step of ``train_judge``, for ``fit``, and what it carries: "judge" and "optimizer".

    Pictures are jittered in brightness, blurred a little and given noise, so that it also reads generated ones.
    """
    device = pool.z.device
    torch.manual_seed(config.seed)
    judge = Judge(pool.world, config.model).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)

    def step_fn(step: int, rng: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(pool), (config.batch_size,), generator=rng, device=device)
        image = _roughen(pool.images(index), rng)
        with half_precision(device):
            out = judge(image.to(memory_format=torch.channels_last))
        factors = pool.factors[index]
        loss = judge_loss(pool.world.table, out, factors, pool.world.visible(factors))
        descend(optimizer, loss, learning_rate(step, config.steps, config.lr))
        return {"loss": loss}

    return step_fn, {"judge": judge, "optimizer": optimizer}


def _roughen(image: Tensor, rng: torch.Generator) -> Tensor:
    n, device = len(image), image.device
    gain, shift = (torch.rand(2, n, 1, 1, 1, generator=rng, device=device) - 0.5) * 0.2
    blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    image = torch.lerp(image, blurred, torch.rand(n, 1, 1, 1, generator=rng, device=device))
    return image * (1 + gain) + shift + 0.05 * torch.randn(image.shape, generator=rng, device=device)


def accuracy(judge: Judge, image: Tensor, factors: Tensor) -> dict[str, float]:
    """How well the judge reads pictures whose factors are known, see ``agreement``."""
    return agreement(judge.world.table, judge.read(image), factors)


def agreement(table: Table, read: Tensor, factors: Tensor) -> dict[str, float]:
    """How well factors that were read (B, len(names)) fit the true ones, by attribute, where they can be seen.

    It is the share read right for a Binary or a Choice; the coefficient of determination R² for a Scale.
    """
    seen, out = table.visible(factors), {}
    for k, name in enumerate(table.names):
        y, guess = factors[seen[:, k], k], read[seen[:, k], k]
        if name in table.scale:
            out[name] = float(1 - (guess - y).square().mean() / y.var(unbiased=False))
        else:
            out[name] = float((guess == y).float().mean())
    return out
