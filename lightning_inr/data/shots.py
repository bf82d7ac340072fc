"""Detection of the shots of a video, by PySceneDetect."""

from collections.abc import Iterable

import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector
from torch import Tensor

LEAST_FRAMES = 4  # of a shot; faster changes are flicker
WIDEST = 320  # pixels; larger frames are reduced to every second, third, … pixel


def find_shots(frames: Iterable[Tensor]) -> list[int]:
    """Frames (3, H, W) uint8 in order -> the numbers, from 0, of the frames at which shots start; the first is 0.

    A cut must exceed the changes around it (AdaptiveDetector), so that fast camera motion and flicker are no cuts.
    """
    detector = AdaptiveDetector(min_scene_len=LEAST_FRAMES)
    cuts: list[FrameTimecode] = []
    number = -1
    for number, frame in enumerate(frames):
        step = -(-frame.shape[2] // WIDEST)
        small = frame[:, ::step, ::step].flip(0)  # BGR
        cuts += detector.process_frame(_time(number), np.ascontiguousarray(small.permute(1, 2, 0).numpy()))
    if number >= 0:
        cuts += detector.post_process(_time(number))
    return [0, *sorted({cut.frame_num for cut in cuts} - {0})]


def _time(number: int) -> FrameTimecode:
    return FrameTimecode(number, 25.0)  # the rate has no effect: only frame numbers are used
