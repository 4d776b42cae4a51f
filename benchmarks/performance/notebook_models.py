"""The models of configs/ as the notebook and its readers have them: time first, library modules as they come."""

from conformer import ConformerBlock
from torch import nn

from performance.expert_models import make_head


class Transformer(nn.Module):
    def __init__(self, model, n_mels, n_speakers):
        super().__init__()
        width = model["d_model"]
        self.prenet = nn.Linear(n_mels, width)
        layer = nn.TransformerEncoderLayer(width, model["heads"], model["feed_forward"], model["dropout"])
        self.encoder = nn.TransformerEncoder(layer, model["layers"], enable_nested_tensor=False)
        self.pred_layer = make_head(model["head"], width, n_speakers)

    def forward(self, mels):
        x = self.prenet(mels).permute(1, 0, 2)  # (T, B, width)
        return self.pred_layer(self.encoder(x).transpose(0, 1).mean(1))


class Conformer(nn.Module):
    """Blocks of the package `conformer`, batch first as they want it, with dropouts that act (its own Conformer drops
    them)."""

    def __init__(self, model, n_mels, n_speakers):
        super().__init__()
        keys = ("dim", "dim_head", "heads", "ff_mult", "conv_expansion_factor", "conv_kernel_size", "attn_dropout",
                "ff_dropout", "conv_dropout")
        self.prenet = nn.Linear(n_mels, model["dim"])
        self.encoder = nn.ModuleList(ConformerBlock(**{key: model[key] for key in keys}) for _ in range(model["depth"]))
        self.pred_layer = make_head(model["head"], model["dim"], n_speakers)

    def forward(self, mels):
        x = self.prenet(mels)
        for block in self.encoder:
            x = block(x)
        return self.pred_layer(x.mean(1))


def make(model, n_mels, n_speakers):
    """`model`: the section `model` of a configuration."""
    return (Conformer if model["type"] == "conformer" else Transformer)(model, n_mels, n_speakers)
