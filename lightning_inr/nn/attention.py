"""The transformer layer of E-NeRV, without normalisation."""

import torch.nn.functional as F
from torch import Tensor, nn


class TransformerLayer(nn.Module):
    """Self-attention and a two-layer MLP, each with a residual connection."""

    def __init__(self, width: int, heads: int, head_width: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.read = nn.Linear(width, 3 * heads * head_width, bias=False)  # queries, keys, values
        self.join = nn.Linear(heads * head_width, width)
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, width) -> the same shape."""
        query, key, value = self.read(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.join(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return x + self.narrow(F.gelu(self.widen(x)))
