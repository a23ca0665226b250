"""Compose pretraining pictures one batch at a time: from masks and colour pictures, uint8, to [n, 3, 48, 48] in 0..1.

All operations are on batches, so drawing takes only a few per cent of a training step. Every function uses a seeded
`torch.Generator`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.mini.render import SIZE

BANK = 512
_LUMINANCE = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


class Look(NamedTuple):
    """The variation of a kind of picture: turn in radians, scale and shift as shares of the canvas."""

    turn: float = 0.3
    scale: tuple[float, float] = (0.42, 0.95)
    shift: float = 0.12
    elastic: float = 0.02
    thicken: float = 0.0
    white_on_black: float = 0.0
    plate: float = 0.3
    lines: float = 0.15

    def eased(self, ease: float) -> Look:
        """Return an easier look: a share `ease` of the pictures is white on black, and all are less moved and cluttered."""
        factor = 1 - 0.8 * ease
        return self._replace(
            turn=self.turn * factor,
            scale=(self.scale[1] - (self.scale[1] - self.scale[0]) * factor, self.scale[1]),
            shift=self.shift * factor,
            elastic=self.elastic * factor,
            white_on_black=max(self.white_on_black, ease),
            plate=self.plate * factor,
            lines=self.lines * factor,
        )


class Composer:
    """Composes batches. The banks of plates and stray lines are drawn once."""

    def __init__(self, generator: torch.Generator):
        self.generator = generator
        self.plates = self._plates()
        self.lines = self._lines()

    def inked(self, masks: Tensor, look: Look, ink: Tensor | None = None) -> Tensor:
        """Return masks uint8 [n, 64, 64] as float [n, 3, 48, 48], each in one colour (`ink` [n, 3]; random for NaN rows)."""
        n = len(masks)
        alpha = self._warped(masks[:, None].float() / 255, look)
        if look.thicken:
            thick = F.max_pool2d(alpha, 3, 1, 1)
            alpha = torch.where(self._chance(n, look.thicken), torch.lerp(alpha, thick, self._uniform(n, 1)), alpha)
        ground, under = self._ground(n, look)
        colour = self._uniform(n, 3)
        extreme = (0.93 + 0.07 * colour) * (self._uniform(n, 1) < 0.5) + 0.07 * colour
        colour = torch.where(self._chance(n, 0.45), extreme.clamp(0, 1), colour)
        below = (under * _LUMINANCE).sum(1, keepdim=True)
        close = ((colour * _LUMINANCE).sum(1, keepdim=True) - below).abs() < 0.28
        colour = torch.where(close, torch.where(below < 0.5, 0.8 + 0.2 * colour, 0.2 * colour), colour)
        if ink is not None:
            named = ~ink[:, :1, None, None].isnan()
            colour = torch.where(named, ink.nan_to_num()[:, :, None, None], colour)
            light = (colour * _LUMINANCE).sum(1, keepdim=True)
            # A named colour must not change: if it would not be visible, the ground changes.
            clash = named & ((light - below).abs() < 0.28)
            ground = torch.where(clash, torch.where(light > 0.5, 0.05, 0.97), ground)
        picture = torch.lerp(ground, colour.expand(-1, -1, SIZE, SIZE), alpha)
        picture = self._stray(picture, look.lines)
        if look.white_on_black:
            picture = torch.where(self._chance(n, look.white_on_black), alpha.expand(-1, 3, -1, -1), picture)
        return self._film(picture)

    def coloured(self, pictures: Tensor, look: Look) -> Tensor:
        """Return pictures uint8 [n, 4, 64, 64] (red, green, blue, alpha) as float [n, 3, 48, 48] on random grounds."""
        warped = self._warped(pictures.float() / 255, look)
        ground, _ = self._ground(len(pictures), look)
        tint = 1 + 0.25 * (self._uniform(len(pictures), 3) - 0.5)
        return self._film(torch.lerp(ground, warped[:, :3] * tint, warped[:, 3:]))

    def _uniform(self, n: int, channels: int, height: int = 1, width: int = 1) -> Tensor:
        return torch.rand(n, channels, height, width, generator=self.generator)

    def _chance(self, n: int, probability: float) -> Tensor:
        return self._uniform(n, 1) < probability

    def _warped(self, images: Tensor, look: Look) -> Tensor:
        n = len(images)
        angle = (self._uniform(n, 1).flatten() * 2 - 1) * look.turn
        size = look.scale[0] + (look.scale[1] - look.scale[0]) * self._uniform(n, 1).flatten()
        stretch = 1 + 0.15 * (self._uniform(n, 2).flatten(1) * 2 - 1)
        matrix = torch.zeros(n, 2, 3)
        matrix[:, 0, 0], matrix[:, 0, 1] = angle.cos() / size, -angle.sin() / size
        matrix[:, 1, 0], matrix[:, 1, 1] = angle.sin() / size, angle.cos() / size
        matrix[:, :, :2] *= stretch[:, :, None]
        matrix[:, :, 2] = (self._uniform(n, 2).flatten(1) * 2 - 1) * look.shift * 2
        grid = F.affine_grid(matrix, [n, 1, SIZE, SIZE], align_corners=False)
        if look.elastic:
            coarse = torch.randn(n, 2, 5, 5, generator=self.generator) * look.elastic
            grid = grid + F.interpolate(coarse, size=(SIZE, SIZE), mode="bilinear").permute(0, 2, 3, 1)
        # Sample at twice the size and average, because small glyphs would alias.
        fine = F.interpolate(grid.permute(0, 3, 1, 2), scale_factor=2, mode="bilinear").permute(0, 2, 3, 1)
        return F.avg_pool2d(F.grid_sample(images, fine, align_corners=False), 2)

    def _ground(self, n: int, look: Look) -> tuple[Tensor, Tensor]:
        """Return grounds [n, 3, 48, 48], flat, shaded or with a plate, and the mean colour of their centres [n, 3, 1, 1]."""
        first, second = self._uniform(n, 3), self._uniform(n, 3)
        second = torch.where(self._chance(n, 0.5), first, torch.lerp(first, second, 0.6))
        angle = self._uniform(n, 1) * 6.2832
        line = torch.linspace(-0.5, 0.5, SIZE)
        share = (0.5 + line.view(1, 1, 1, -1) * angle.cos() + line.view(1, 1, -1, 1) * angle.sin()).clamp(0, 1)
        ground = torch.lerp(first, second, share)
        plate = self.plates[torch.randint(len(self.plates), (n,), generator=self.generator)] * self._chance(n, look.plate)
        colour = self._uniform(n, 3)
        ground = torch.lerp(ground, colour.expand_as(ground), plate)
        return ground, ground[:, :, 12:36, 12:36].mean((2, 3), keepdim=True)

    def _stray(self, picture: Tensor, probability: float) -> Tensor:
        n = len(picture)
        lines = self.lines[torch.randint(len(self.lines), (n,), generator=self.generator)]
        return torch.lerp(picture, self._uniform(n, 3).expand_as(picture), lines * self._chance(n, probability))

    def _film(self, picture: Tensor) -> Tensor:
        n = len(picture)
        soft = F.avg_pool2d(picture, 3, 1, 1, count_include_pad=False)
        picture = torch.where(self._chance(n, 0.25), soft, picture)
        strength = 0.1 * self._uniform(n, 1) * self._chance(n, 0.6)
        return (picture + torch.randn(n, 1, SIZE, SIZE, generator=self.generator) * strength).clamp(0, 1)

    def _plates(self) -> Tensor:
        """Return discs, diamonds and rounded rectangles as alphas [512, 1, 48, 48], from their signed distances."""
        line = torch.arange(SIZE) + 0.5 - SIZE / 2
        y, x = torch.meshgrid(line, line, indexing="ij")
        x = x - (self._uniform(BANK, 1)[:, 0] * 6 - 3)
        y = y - (self._uniform(BANK, 1)[:, 0] * 6 - 3)
        radius = 17 + 8 * self._uniform(BANK, 1)[:, 0]
        corner = 12 * self._uniform(BANK, 1)[:, 0]
        box = torch.stack([x.abs(), y.abs()]) - (radius - corner)
        rounded = box.clamp(min=0).norm(dim=0) + box.amax(0).clamp(max=0) - corner
        disc = (x**2 + y**2).sqrt() - radius
        diamond = (x.abs() + y.abs() - radius) / 1.414
        form = torch.randint(4, (BANK, 1, 1), generator=self.generator)
        distance = torch.where(form == 0, disc, torch.where(form == 1, diamond, rounded))
        return (0.5 - distance).clamp(0, 1)[:, None]

    def _lines(self) -> Tensor:
        """Return one to three straight strokes as alphas [512, 1, 48, 48]."""
        line = torch.arange(SIZE) + 0.5
        y, x = torch.meshgrid(line, line, indexing="ij")
        alpha = torch.zeros(BANK, SIZE, SIZE)
        for index in range(3):
            start, end = (self._uniform(BANK, 2) * SIZE for _ in range(2))
            along = end - start
            px, py = x - start[:, :1, 0], y - start[:, 1:, 0]
            length = along.square().sum(1, keepdim=True).clamp(min=1)[:, 0]
            position = ((px * along[:, :1, 0] + py * along[:, 1:, 0]) / length).clamp(0, 1)
            distance = ((px - position * along[:, :1, 0]) ** 2 + (py - position * along[:, 1:, 0]) ** 2).sqrt()
            width = 0.3 + 0.6 * self._uniform(BANK, 1)[:, 0]
            drawn = (self._uniform(BANK, 1)[:, 0] < (1.0, 0.6, 0.3)[index]).float()
            alpha = torch.maximum(alpha, (0.5 + width - distance).clamp(0, 1) * drawn)
        return alpha[:, None]
