"""The vision tower of Video-LLaMA (Zhang, Li and Bing, EMNLP 2023, section 2.1): frames to tokens of a clip."""

from typing import Any

import torch
from torch import Tensor, nn

SIDE = 224  # pixels; every frame is resized to a square of this side


class Tower(nn.Module):
    """BLIP-2's ViT and Q-Former for each frame, a position embedding for each frame, and a Q-Former over all frames.

    Its modules are those of transformers. `config` is BLIP-2's; the video Q-Former has the configuration of the frames'
    Q-Former with two layers and cross-attention in each. `places` is the maximum number of frames, `tokens` the number
    of output tokens.
    """

    def __init__(self, config: Any, places: int, tokens: int) -> None:
        from transformers import Blip2QFormerConfig, Blip2QFormerModel, Blip2VisionModel

        super().__init__()
        frame, width = config.qformer_config, config.qformer_config.hidden_size
        changed = {"num_hidden_layers": 2, "cross_attention_frequency": 1, "encoder_hidden_size": width}
        self.vision_model = Blip2VisionModel(config.vision_config)
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_tokens, width))
        self.qformer = Blip2QFormerModel(frame)
        self.video_frame_position_embedding = nn.Embedding(places, width)
        self.video_query_tokens = nn.Parameter(torch.zeros(1, tokens, width))
        self.video_qformer = Blip2QFormerModel(Blip2QFormerConfig(**frame.to_dict() | changed))

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode normalised frames (T, 3, 224, 224) in temporal order: (tokens, width)."""
        patches = self.vision_model(pixel_values=pixels).last_hidden_state
        queries = self.query_tokens.expand(len(pixels), -1, -1)
        encoded = self.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state
        placed = encoded + self.video_frame_position_embedding.weight[: len(pixels), None]
        clip = placed.flatten(0, 1)[None]
        return self.video_qformer(query_embeds=self.video_query_tokens, encoder_hidden_states=clip).last_hidden_state[0]


def preprocess_frame(frame: Tensor) -> Tensor:
    """Resize a frame (3, H, W) uint8 RGB to a square and normalise it as for CLIP: (3, 224, 224) float32."""
    from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    pixels = frame[None].float()
    if frame.shape[1:] != (SIDE, SIDE):
        pixels = nn.functional.interpolate(pixels, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
    mean, spread = (torch.tensor(channel)[:, None, None] for channel in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    return (pixels[0] / 255 - mean) / spread
