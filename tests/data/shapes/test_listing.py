"""The rendered dataset `shapes`: its texts, its frames, and its files as read by the loaders."""

import random
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lightning_inr.data.captioned.activitynet import list_activitynet
from lightning_inr.data.captioned.coin import list_coin
from lightning_inr.data.captioned.msrvtt import list_msrvtt
from lightning_inr.data.captioned.split import open_captioned
from lightning_inr.data.shapes.export import list_entries
from lightning_inr.data.shapes.grammar import TASKS, ActionStep, Story, Task, draw_stories, draw_story, steps_of
from lightning_inr.data.shapes.listing import MOST, list_shapes
from lightning_inr.data.shapes.render import FRAMES, RGB, SCENE, SIDE, Scene, render, render_video
from lightning_inr.errors import UserError

VIDEOS = 3
DARK = (0.05, 0.05, 0.05)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    list_shapes(str(folder), videos=VIDEOS)
    return folder


def rendered(task: Task, action: str, colour: str = "red", becomes: str | None = None, at: float = 0.5) -> Tensor:
    """One frame (3, SIDE, SIDE) of a step in the middle of a dark frame, in [0, 1]."""
    scene = Scene(ActionStep(task, action, colour, becomes), DARK, x=0.0, y=0.0, radius=0.34, turn=0.0, phase=0.0)
    return render([scene], [at])[0] / 255


def filled(frame: Tensor, colour: str) -> Tensor:
    """Mask (SIDE, SIDE) of the pixels with exactly this colour."""
    return ((frame - torch.tensor(RGB[colour])[:, None, None]).abs() < 0.01).all(0)


def middle(mask: Tensor) -> Tensor:
    """Mean row and column of the pixels that are set."""
    return mask.nonzero().float().mean(0)


def test_the_real_loaders_read_the_same_videos(root: Path) -> None:
    shapes = list_shapes(str(root), videos=VIDEOS)
    assert [video.id for video in shapes.videos] == ["video0", "video1", "video2"]
    coin, activitynet = list_coin(str(root), split="testing"), list_activitynet(str(root), split="val_1")
    for listing in (coin, activitynet, list_msrvtt(str(root), split="full"), list_msrvtt(str(root), split="1k")):
        assert [video.path for video in listing.videos] == [video.path for video in shapes.videos]
        assert not listing.missing
    for video, entry in zip(shapes.videos, list_entries(VIDEOS, 0), strict=False):
        assert video.label == entry.story.task.words
        assert video.captions == (entry.story.paragraph,)
        assert [segment.label for segment in video.segments] == [step.label for step in entry.story.steps]
    captions = list_msrvtt(str(root), split="full").videos[0].captions
    assert sorted(captions) == sorted(list_entries(VIDEOS, 0)[0].story.captions)


def test_a_segment_holds_the_frames_of_its_step_and_no_other(root: Path) -> None:
    listing = list_shapes(str(root), videos=VIDEOS)
    source = open_captioned("video1", listing)
    assert (source.frames, source.height, source.width, source.fps) == (FRAMES, SIDE, SIDE, 12.0)
    for number, segment in enumerate(listing.videos[1].segments):
        inside = [index for index in range(FRAMES) if segment.start <= index / source.fps <= segment.end]
        assert inside == list(range(number * SCENE, (number + 1) * SCENE))


def test_a_file_holds_what_was_rendered(root: Path) -> None:
    story = list_entries(VIDEOS, 0)[0].story
    rendered = render_video(story, random.Random("0 video0")).float()
    source = open_captioned("video0", list_shapes(str(root), videos=VIDEOS))
    read = torch.stack([source.read(index) for index in range(FRAMES)]).float()
    assert (rendered - read).abs().mean() < 4  # 4:2:0 blurs the colour of edges


def test_the_same_seed_renders_the_same_and_another_does_not(root: Path, tmp_path: Path) -> None:
    list_shapes(str(tmp_path / "again"), videos=VIDEOS)
    list_shapes(str(tmp_path / "other"), videos=VIDEOS, seed=1)
    names = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    assert len(names) == 2 * VIDEOS + 8
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (root / name).read_bytes()
    assert (tmp_path / "other" / "val_1.json").read_bytes() != (root / "val_1.json").read_bytes()


def test_the_default_folder_is_that_of_other_datasets(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTNING_INR_DATA", str(root.parent))
    assert list_shapes(videos=VIDEOS) == list_shapes(str(root), videos=VIDEOS)
    trained_on = list_shapes(videos=VIDEOS, split="train")
    assert [video.id for video in trained_on.videos] == ["video3", "video4", "video5"]


def test_other_settings_and_other_folders_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'dataset.listing.root=.* was rendered with {"videos": 3, "seed": 0}, not'):
        list_shapes(str(root), videos=VIDEOS, seed=1)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=r"dataset.listing.root=.*something else is there"):
        list_shapes(str(tmp_path))
    with pytest.raises(UserError, match=r"dataset.listing.split=val: choose one of test, train"):
        list_shapes(str(root), split="val")
    with pytest.raises(UserError, match=r"dataset.listing.videos=0: choose 1 to"):
        list_shapes(str(root), videos=0)


def test_an_interrupted_rendering_is_resumed(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed = 0

    def encode(*_: object) -> None:
        nonlocal killed
        killed += 1
        raise KeyboardInterrupt

    complete, interrupted = root, tmp_path / "shapes"
    list_shapes(str(interrupted), videos=VIDEOS)
    for name in ("videos/video1.mp4", "videos/video4.mp4", "COIN.json", "train.json"):
        (interrupted / name).unlink()
    modified = (interrupted / "videos/video0.mp4").stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr("lightning_inr.data.shapes.export.encode_video", encode)
        with pytest.raises(KeyboardInterrupt):
            list_shapes(str(interrupted), videos=VIDEOS)
    assert killed == 1
    assert not (interrupted / "COIN.json").exists()
    list_shapes(str(interrupted), videos=VIDEOS)
    assert {path.name for path in interrupted.rglob("*")} == {path.name for path in complete.rglob("*")}
    assert (interrupted / "videos/video1.mp4").read_bytes() == (complete / "videos/video1.mp4").read_bytes()
    assert (interrupted / "videos/video0.mp4").stat().st_mtime_ns == modified


def test_the_splits_share_no_combination_of_steps() -> None:
    test, train = (draw_stories(random.Random(0), held_out, 96) for held_out in (True, False))
    together = {frozenset(story.steps) for story in test} | {frozenset(story.steps) for story in train}
    assert len(together) == 192
    assert not any(draw_story(random.Random(seed), held_out=False).held_out for seed in range(50))
    assert Story(test[0].steps[::-1]).held_out


def test_there_are_enough_stories_for_the_largest_split() -> None:
    for task in TASKS:
        if len(steps_of(task)) < 20:  # the others have thousands
            assert sum(Story(steps).held_out for steps in combinations(steps_of(task), 3)) >= MOST / len(TASKS)


def test_labels_are_sentences_and_recur() -> None:
    labels = {step.label for task in TASKS for step in steps_of(task)}
    assert {"a red ball rolls left", "an orange star flies up", "a ring turns from green to blue"} <= labels
    assert {"a white cross orbits clockwise", "a purple square grows"} <= labels
    assert len(labels) == sum(len(steps_of(task)) for task in TASKS)
    story = Story(steps_of(Task("ball", "resize"))[:3])
    assert story.paragraph == "A red ball grows. Then a green ball grows. Finally a blue ball grows."
    assert len({*story.captions, story.paragraph}) == 6
    assert story.task.name == "ResizeBall"


@pytest.mark.parametrize(("action", "axis", "sign"), [("left", 1, 1), ("right", 1, -1), ("up", 0, 1), ("down", 0, -1)])
@pytest.mark.parametrize("shape", ["ball", "star", "ring"])
def test_a_trail_is_behind_a_moving_shape(shape: str, action: str, axis: int, sign: int) -> None:
    frame = rendered(Task(shape, "move"), action)
    body = filled(frame, "red")
    trail = (frame[0] > DARK[0] + 0.05) & ~body
    assert sign * (middle(trail) - middle(body))[axis] > 4
    later = filled(rendered(Task(shape, "move"), action, at=0.8), "red")
    assert sign * (middle(later) - middle(body))[axis] < -5  # and it does move there


@pytest.mark.parametrize("shape", ["ball", "square", "triangle"])
def test_outlines_are_inside_growing_and_outside_shrinking_shapes(shape: str) -> None:
    for action, inside in (("grows", True), ("shrinks", False)):
        frame = rendered(Task(shape, "resize"), action)
        body = filled(frame, "red")
        row = round(float(middle(body)[0]))
        columns = body[row].nonzero().flatten()
        assert bool((~body[row, columns[0] : columns[-1]]).any()) == inside
        assert bool((frame[0, row, columns[-1] + 3 :] > DARK[0] + 0.05).any()) != inside
    large, small = (filled(rendered(Task(shape, "resize"), "grows", at=at), "red").sum() for at in (0.9, 0.1))
    assert large > small


def test_a_new_colour_comes_from_above() -> None:
    for at in (0.0, 0.5, 1.0):
        frame = rendered(Task("cross", "recolour"), "turns", "red", "blue", at)
        assert middle(filled(frame, "blue"))[0] < middle(filled(frame, "red"))[0]
    early, late = (
        filled(rendered(Task("cross", "recolour"), "turns", "red", "blue", at), "blue").sum() for at in (0, 1)
    )
    assert late > early


def test_orbits_have_two_directions() -> None:
    # From the right of the middle, clockwise goes down, and the trail is above.
    for action, sign in (("clockwise", 1), ("counterclockwise", -1)):
        frame = rendered(Task("ball", "orbit"), action, at=0.0)
        body = filled(frame, "red")
        trail = (frame[0] > DARK[0] + 0.05) & ~body
        assert sign * (middle(body) - middle(trail))[0] > 4
