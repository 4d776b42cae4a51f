"""The models of configs/ as an expert writes them in PyTorch: batch first, fused projections, no copy that can be avoided.

Parameters are made in the order of ours, so that the same seed gives the same initial weights. Crops are never padded
here, hence there are no masks. Shapes: x is (B, T, width), mels (B, T, n_mels), logits (B, speakers).
"""

import copy

import torch
from torch import nn
from torch.nn import functional


def make_head(kind, width, n_speakers):
    if kind == "mlp":
        return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_speakers))
    return nn.Linear(width, n_speakers)


class EncoderLayer(nn.Module):
    """nn.TransformerEncoderLayer (post-norm, ReLU) without its transpositions of batch and time."""

    def __init__(self, d_model, heads, feed_forward, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.self_attn = nn.MultiheadAttention(d_model, heads)  # for its parameters and their initial values
        self.linear1, self.linear2 = nn.Linear(d_model, feed_forward), nn.Linear(feed_forward, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def drop(self, x):
        return functional.dropout(x, self.dropout, self.training)

    def attend(self, x):
        batch, frames, width = x.shape
        attention = self.self_attn
        qkv = functional.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = qkv.view(batch, frames, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value,
                                                           dropout_p=self.dropout if self.training else 0.0)
        merged = attended.transpose(1, 2).reshape(batch, frames, width)
        return functional.linear(merged, attention.out_proj.weight, attention.out_proj.bias)

    def forward(self, x):
        x = self.norm1(x + self.drop(self.attend(x)))
        return self.norm2(x + self.drop(self.linear2(self.drop(functional.relu(self.linear1(x))))))


class Transformer(nn.Module):
    def __init__(self, model, n_mels, n_speakers):
        super().__init__()
        width = model["d_model"]
        self.prenet = nn.Linear(n_mels, width)
        layer = EncoderLayer(width, model["heads"], model["feed_forward"], model["dropout"])
        # As in nn.TransformerEncoder all layers begin with the same weights.
        self.layers = nn.Sequential(layer, *(copy.deepcopy(layer) for _ in range(model["layers"] - 1)))
        self.pred_layer = make_head(model["head"], width, n_speakers)

    def forward(self, mels):
        return self.pred_layer(self.layers(self.prenet(mels)).mean(1))


class FeedForward(nn.Module):
    def __init__(self, dim, inner, dropout):
        super().__init__()
        self.wide, self.narrow, self.norm = nn.Linear(dim, inner), nn.Linear(inner, dim), nn.LayerNorm(dim)
        self.dropout = dropout

    def drop(self, x):
        return functional.dropout(x, self.dropout, self.training)

    def forward(self, x):
        return 0.5 * self.drop(self.narrow(self.drop(functional.silu(self.wide(self.norm(x))))))


class RelativeAttention(nn.Module):
    """The package's, of distances up to max_distance, without its (T, T, d) table: q e^T for the 2 T - 1 distances, read
    with a row stride that is one shorter, is the (T, T) table of the formula."""

    def __init__(self, model):
        super().__init__()
        dim, self.heads, self.width = model["dim"], model["heads"], model["dim_head"]
        inner = self.heads * self.width
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim)
        self.farthest = model["max_distance"]
        self.rel_pos_emb = nn.Embedding(2 * self.farthest + 1, self.width)
        self.norm = nn.LayerNorm(dim)
        self.dropout = model["attn_dropout"]

    def forward(self, x):
        batch, frames, _ = x.shape
        y = self.norm(x)
        qkv = functional.linear(y, torch.cat((self.to_q.weight, self.to_kv.weight)))
        query, key, value = qkv.view(batch, frames, 3, self.heads, self.width).permute(2, 0, 3, 1, 4).unbind(0)
        query = query * self.width ** -0.5
        assert frames <= self.farthest + 1
        near = self.rel_pos_emb.weight[self.farthest - frames + 1:self.farthest + frames].flip(0)
        table = (query @ near.t()).contiguous()  # (B, h, T, 2 T - 1)
        distances = 2 * frames - 1
        row = frames * distances
        bias = table.as_strided((batch, self.heads, frames, frames), (self.heads * row, row, distances - 1, 1),
                                frames - 1)
        if x.is_cuda:
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
        else:
            # The fused CPU kernel takes no bias that has a gradient; without it one pass less is needed like this.
            merged = [t.reshape(batch * self.heads, frames, -1) for t in (bias, query, key, value)]
            scores = torch.baddbmm(merged[0], merged[1], merged[2].transpose(1, 2))
            attended = (scores.softmax(-1).to(merged[3].dtype) @ merged[3]).view(batch, self.heads, frames, -1)
        output = self.to_out(attended.transpose(1, 2).reshape(batch, frames, -1))
        return functional.dropout(output, self.dropout, self.training)


class Convolution(nn.Module):
    def __init__(self, model):
        super().__init__()
        dim, kernel = model["dim"], model["conv_kernel_size"]
        inner = dim * model["conv_expansion_factor"]
        assert kernel % 2 == 1
        self.padding = kernel // 2
        self.pre_norm = nn.LayerNorm(dim)
        self.expand = nn.Conv1d(dim, 2 * inner, 1)  # convolutions for their initial values; applied as linear layers
        self.depthwise = nn.Conv1d(inner, inner, kernel, groups=inner)
        self.norm = nn.BatchNorm1d(inner)
        self.contract = nn.Conv1d(inner, dim, 1)
        self.dropout = model["conv_dropout"]

    def forward(self, x):
        y = functional.glu(functional.linear(self.pre_norm(x), self.expand.weight.squeeze(2), self.expand.bias), -1)
        # A picture of height 1 with its channels last, as y lies in memory: no transposition, and faster.
        image = y.transpose(1, 2).unsqueeze(2)
        image = functional.conv2d(image, self.depthwise.weight.unsqueeze(2), self.depthwise.bias,
                                  padding=(0, self.padding), groups=y.shape[2])
        y = image.squeeze(2).transpose(1, 2)
        batch, frames, inner = y.shape
        y = functional.silu(self.norm(y.reshape(batch * frames, inner)).view(batch, frames, inner))
        y = functional.linear(y, self.contract.weight.squeeze(2), self.contract.bias)
        return functional.dropout(y, self.dropout, self.training)


class ConformerBlock(nn.Module):
    def __init__(self, model):
        super().__init__()
        dim, inner = model["dim"], model["dim"] * model["ff_mult"]
        self.ff1 = FeedForward(dim, inner, model["ff_dropout"])
        self.attn = RelativeAttention(model)
        self.conv = Convolution(model)
        self.ff2 = FeedForward(dim, inner, model["ff_dropout"])
        self.post_norm = nn.LayerNorm(dim)

    def forward(self, x):
        x = x + self.ff1(x)
        x = x + self.attn(x)
        x = x + self.conv(x)
        return self.post_norm(x + self.ff2(x))


class Conformer(nn.Module):
    def __init__(self, model, n_mels, n_speakers):
        super().__init__()
        self.prenet = nn.Linear(n_mels, model["dim"])
        self.encoder = nn.Sequential(*(ConformerBlock(model) for _ in range(model["depth"])))
        self.pred_layer = make_head(model["head"], model["dim"], n_speakers)

    def forward(self, mels):
        return self.pred_layer(self.encoder(self.prenet(mels)).mean(1))


def make(model, n_mels, n_speakers):
    """`model`: the section `model` of a configuration."""
    return (Conformer if model["type"] == "conformer" else Transformer)(model, n_mels, n_speakers)
