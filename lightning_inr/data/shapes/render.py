"""Rendering of `shapes`: the action is recognisable in every single frame.

Teachers embed single frames, without motion. Therefore a moving shape has a fading trail, a growing or shrinking shape
has faint outlines of its earlier sizes, and a new colour moves down from the top over the old one.
"""

import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_inr.data.shapes.grammar import STEPS, ActionStep, Story

SIDE = 64  # pixels
FPS = 12.0
SCENE = 12  # frames per step
FRAMES = STEPS * SCENE
RGB = {
    "red": (0.88, 0.12, 0.12), "green": (0.1, 0.68, 0.2), "blue": (0.15, 0.25, 0.95), "yellow": (0.98, 0.9, 0.1),
    "purple": (0.55, 0.1, 0.65), "orange": (1.0, 0.5, 0.05), "white": (1.0, 1.0, 1.0),
}  # fmt: skip
DARK, LIGHT = (0.02, 0.14), (0.55, 0.72)  # shades of backgrounds
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}


class Sprite(NamedTuple):
    """A shape at one position; lengths are in units of half a side, y points down from the middle of the frame."""

    x: float
    y: float
    radius: float
    turn: float = 0.0  # radians
    opacity: float = 1.0
    outline: bool = False  # only its edge
    bottom: float = 2.0  # largest y at which it is rendered
    colour: tuple[float, float, float] = (0.0, 0.0, 0.0)


class Scene(NamedTuple):
    """A step, and the properties that its description does not determine."""

    step: ActionStep
    background: tuple[float, float, float]
    x: float  # of the middle of the action
    y: float
    radius: float
    turn: float  # rotation of the shape, in radians
    phase: float  # of an orbit, in radians


def draw_scenes(story: Story, random: Random) -> list[Scene]:
    """One random scene per step, all with the same background, dark or light."""
    shade = random.uniform(*random.choice((DARK, LIGHT)))
    red, green, blue = (shade + random.uniform(-0.04, 0.04) for _ in range(3))
    return [
        Scene(
            step,
            (max(0.0, red), max(0.0, green), max(0.0, blue)),
            random.uniform(-0.2, 0.2),
            random.uniform(-0.2, 0.2),
            random.uniform(0.3, 0.38),
            random.uniform(-0.2, 0.2),
            random.uniform(0.0, math.tau),
        )
        for step in story.steps
    ]


def sprites(scene: Scene, progress: float) -> list[Sprite]:
    """The sprites of a scene, back to front, at `progress` in [0, 1]."""
    colour = RGB[scene.step.colour]
    still = Sprite(scene.x, scene.y, scene.radius, scene.turn, colour=colour)
    match scene.step.task.family:
        case "move":
            return _moving(scene, still, progress)
        case "orbit":
            return _orbiting(scene, still, progress)
        case "resize":
            return _resizing(scene, still, progress)
        case _:
            return _recoloured(scene, still, progress)


def _moving(scene: Scene, still: Sprite, progress: float) -> list[Sprite]:
    right, down = DIRECTIONS[scene.step.action]
    placed = []
    for late, opacity in ((0.45, 0.15), (0.3, 0.28), (0.15, 0.45), (0.0, 1.0)):
        way = 1.1 * (progress - late) - 0.4
        aside = (scene.x * abs(down), scene.y * abs(right))  # offset from the middle, across the direction of motion
        placed.append(still._replace(x=way * right + aside[0], y=way * down + aside[1], opacity=opacity))
    return placed


def _orbiting(scene: Scene, still: Sprite, progress: float) -> list[Sprite]:
    sense = 1.0 if scene.step.action == "clockwise" else -1.0  # y points down
    placed = []
    for late, opacity in ((2.2, 0.15), (1.65, 0.25), (1.1, 0.35), (0.55, 0.5), (0.0, 1.0)):
        angle = scene.phase + sense * (math.tau * progress - late)
        placed.append(
            still._replace(
                x=0.3 * scene.x + 0.55 * math.cos(angle),
                y=0.3 * scene.y + 0.55 * math.sin(angle),
                radius=0.75 * scene.radius,
                opacity=opacity,
            )
        )
    return placed


def _resizing(scene: Scene, still: Sprite, progress: float) -> list[Sprite]:
    grows = scene.step.action == "grows"
    share = progress if grows else 1.0 - progress
    radius = (0.25 + 0.3 * share) * scene.radius / 0.34
    # Halfway to the background: visible inside the shape as well as outside.
    red, green, blue = ((own + behind) / 2 for own, behind in zip(still.colour, scene.background, strict=True))
    outline = still._replace(outline=True, colour=(red, green, blue))
    before = (0.6, 0.3) if grows else (1.35, 1.7)
    return [still._replace(radius=radius), *(outline._replace(radius=radius * ratio) for ratio in before)]


def _recoloured(scene: Scene, still: Sprite, progress: float) -> list[Sprite]:
    large = still._replace(radius=1.3 * scene.radius)
    assert scene.step.becomes is not None
    border = large.y + large.radius * (0.9 * progress - 0.45)  # both colours are always visible
    return [large, large._replace(bottom=border, colour=RGB[scene.step.becomes])]


def render(scenes: Sequence[Scene], moments: Sequence[float]) -> Tensor:
    """N scenes with the same shape, each at its progress in [0, 1] (`moments`) -> (N, 3, SIDE, SIDE) uint8."""
    layers = [sprites(scene, moment) for scene, moment in zip(scenes, moments, strict=True)]
    values = torch.tensor([[(*sprite[:-1], *sprite.colour) for sprite in each] for each in layers])
    coverage = _coverage(scenes[0].step.task.shape, values[..., :7])
    frames = torch.tensor([scene.background for scene in scenes])[:, :, None, None]
    for layer in range(values.shape[1]):
        frames = torch.lerp(frames, values[:, layer, 7:, None, None], coverage[:, layer, None])
    return (255 * frames).round_().to(torch.uint8)


def render_video(story: Story, random: Random) -> Tensor:
    """All frames (FRAMES, 3, SIDE, SIDE) uint8 of a story."""
    progress = [number / (SCENE - 1) for number in range(SCENE)]
    return torch.cat([render([scene] * SCENE, progress) for scene in draw_scenes(story, random)])


def _coverage(shape: str, sprites: Tensor) -> Tensor:
    """Sprites (N, L, 7), the first fields of `Sprite` -> the covered share of each pixel, (N, L, SIDE, SIDE)."""
    x, y, radius, turn, opacity, outline, bottom = sprites[..., None, None].unbind(2)
    centres = (torch.arange(SIDE) + 0.5) * 2 / SIDE - 1
    right, down = centres - x, centres[:, None] - y
    cos, sin = turn.cos() / radius, turn.sin() / radius
    distance = radius * _distance(shape, cos * right + sin * down, cos * down - sin * right)
    distance = torch.where(outline > 0, distance.abs() - 1.2 / SIDE, distance)
    # An edge is a linear ramp of the width of a pixel.
    above = (0.5 + (bottom - centres[:, None]) * SIDE / 2).clamp_(0, 1)
    return (0.5 - distance * SIDE / 2).clamp_(0, 1) * (opacity * above)


def _distance(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Signed distance to the edge of a shape of radius 1, negative inside; far outside it may be too small."""
    match shape:
        case "ball":
            return torch.hypot(x, y) - 0.9
        case "ring":
            return (torch.hypot(x, y) - 0.7).abs_() - 0.22
        case "square":
            return torch.maximum(x.abs(), y.abs()) - 0.8
        case "cross":
            x, y = x.abs(), y.abs()
            return torch.maximum(torch.minimum(x, y) - 0.3, torch.maximum(x, y) - 1.0)
        case "triangle":
            return torch.maximum(math.sin(math.pi / 3) * x.abs() - 0.5 * y, y) - 0.5
        case _:
            return _star_distance(x, y)


def _star_distance(x: Tensor, y: Tensor, inner: float = 0.42) -> Tensor:
    """The same for a star with five points, one upwards; reflections map all sides to one line, point to notch."""
    cos, sin = math.cos(math.pi / 5), math.sin(math.pi / 5)
    x, y = x.abs(), -y
    for across in (cos, -cos):
        beyond = 2 * (across * x - sin * y).clamp_(min=0)
        x, y = x - across * beyond, y + sin * beyond
    notch = (inner * sin, inner * cos)
    return (x.abs() * (1 - notch[1]) + (y - 1) * notch[0]) / math.hypot(notch[0], 1 - notch[1])
