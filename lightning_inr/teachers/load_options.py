"""How a video language model is loaded."""

from dataclasses import dataclass

from lightning_inr.errors import UserError

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class LoadOptions:
    """Options of every loader, with the names of `video_llm.…`; UserError for a wrong value."""

    load_vision: bool = True  # False: without the vision tower, which only the encoding of frames needs
    frames: int = 8  # of a video that are encoded, at most
    side: int = 112  # frames have about side² pixels if the model takes any frame size
    dtype: str = "auto"  # of the weights: one of DTYPES; auto: as saved
    device: str = "auto"
    device_map: str | None = None  # auto: accelerate distributes the weights over all devices; None: all on `device`
    bits: int | None = None  # 4 or 8: weights are quantised with bitsandbytes; None: not

    def __post_init__(self) -> None:
        for name, value, unit in (("frames", self.frames, ""), ("side", self.side, " of pixels")):
            if not isinstance(value, int) or value < 1:
                raise UserError(f"video_llm.{name}={value}: choose a whole number{unit} from 1")
        if self.dtype not in DTYPES:
            raise UserError(f"video_llm.dtype={self.dtype}: choose {', '.join(DTYPES)}")
        if self.bits not in (None, 4, 8):
            raise UserError(f"video_llm.bits={self.bits}: choose 4, 8 or null")
