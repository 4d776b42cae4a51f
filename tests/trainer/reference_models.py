"""The Transformer baselines in plain PyTorch: what checkpoints load into with load_state_dict(strict=True)."""

import torch
from torch import nn

CONFIGS = {
    "simple": dict(d_model=80, layers=1, heads=2, feed_forward=256, head="mlp"),
    "medium": dict(d_model=80, layers=2, heads=1, feed_forward=512, head="linear"),
    "medium-224": dict(d_model=224, layers=2, heads=1, feed_forward=512, head="linear"),
}


class Transformer(nn.Module):
    def __init__(self, n_mels, n_speakers, d_model, layers, heads, feed_forward, head, dropout=0.1, activation="relu"):
        super().__init__()
        self.prenet = nn.Linear(n_mels, d_model)
        layer = nn.TransformerEncoderLayer(d_model, heads, feed_forward, dropout, activation, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        if head == "mlp":
            self.pred_layer = nn.Sequential(nn.Linear(d_model, d_model), nn.ReLU(), nn.Linear(d_model, n_speakers))
        else:
            self.pred_layer = nn.Linear(d_model, n_speakers)

    def forward(self, mels, lengths=None):
        if lengths is None:
            return self.pred_layer(self.encoder(self.prenet(mels)).mean(1))
        padding = torch.arange(mels.shape[1])[None] >= lengths[:, None]
        out = self.encoder(self.prenet(mels), src_key_padding_mask=padding)
        pooled = out.masked_fill(padding[:, :, None], 0).sum(1) / lengths[:, None]
        return self.pred_layer(pooled)
