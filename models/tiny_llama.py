"""The tiny model in PyTorch: RMSNorm, interleaved RoPE, grouped-query attention, SwiGLU, tied head.

Computes exactly what llama.cpp computes for architecture "llama": RoPE turns the pairs (0,1), (2,3), ...
of each head, so the weights go into the GGUF file without a permutation. Shapes: B rows, T positions, C embedding.
"""
import torch
import torch.nn.functional as functional
from torch import nn

CONFIG = {
    "vocabulary": 2048, "embedding": 256, "feed_forward": 768, "layers": 4,
    "heads": 4, "kv_heads": 2, "head_size": 64, "context": 512, "rms_epsilon": 1e-5, "rope_base": 10000.0,
}


def rms_norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + CONFIG["rms_epsilon"]) * weight


def rope_tables(length):
    """cos and sin, each [T, head_size / 2]."""
    half = CONFIG["head_size"] // 2
    frequencies = CONFIG["rope_base"] ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies[None]
    return angles.cos().float(), angles.sin().float()


def apply_rope(x, cos, sin):
    """x: [B, heads, T, head_size]; neighbours form the pairs."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        c, f, d = CONFIG["embedding"], CONFIG["feed_forward"], CONFIG["head_size"]
        self.attn_norm = nn.Parameter(torch.ones(c))
        self.attn_q = nn.Linear(c, CONFIG["heads"] * d, bias=False)
        self.attn_k = nn.Linear(c, CONFIG["kv_heads"] * d, bias=False)
        self.attn_v = nn.Linear(c, CONFIG["kv_heads"] * d, bias=False)
        self.attn_output = nn.Linear(CONFIG["heads"] * d, c, bias=False)
        self.ffn_norm = nn.Parameter(torch.ones(c))
        self.ffn_gate = nn.Linear(c, f, bias=False)
        self.ffn_up = nn.Linear(c, f, bias=False)
        self.ffn_down = nn.Linear(f, c, bias=False)

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        heads, kv_heads, d = CONFIG["heads"], CONFIG["kv_heads"], CONFIG["head_size"]
        h = rms_norm(x, self.attn_norm)
        q = apply_rope(self.attn_q(h).view(batch, length, heads, d).transpose(1, 2), cos, sin)
        k = apply_rope(self.attn_k(h).view(batch, length, kv_heads, d).transpose(1, 2), cos, sin)
        v = self.attn_v(h).view(batch, length, kv_heads, d).transpose(1, 2)
        # Query heads 0 and 1 share the first key and value head, 2 and 3 the second.
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
        scores = (q * d ** -0.5) @ k.transpose(-1, -2) + mask
        out = torch.softmax(scores, -1) @ v
        x = x + self.attn_output(out.transpose(1, 2).reshape(batch, length, heads * d))
        h = rms_norm(x, self.ffn_norm)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))


class TinyLlama(nn.Module):
    def __init__(self, seed):
        super().__init__()
        self.token_embd = nn.Parameter(torch.empty(CONFIG["vocabulary"], CONFIG["embedding"]))
        self.blk = nn.ModuleList(Layer() for _ in range(CONFIG["layers"]))
        self.output_norm = nn.Parameter(torch.ones(CONFIG["embedding"]))
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                # Layers that add to the residual stream start smaller, so that its size does not grow with depth.
                residual = "attn_output" in name or "ffn_down" in name
                deviation = 0.05 / (2 * CONFIG["layers"]) ** 0.5 if residual else 0.05
                parameter.data.normal_(0.0, deviation, generator=generator)
        cos, sin = rope_tables(CONFIG["context"])
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, tokens, mask):
        """tokens [B, T], mask [B or 1, 1, T, T] added to the scores -> logits [B, T, vocabulary]."""
        x = functional.embedding(tokens, self.token_embd)
        cos, sin = self.cos[:tokens.shape[1]], self.sin[:tokens.shape[1]]
        for layer in self.blk:
            x = layer(x, cos, sin, mask)
        return rms_norm(x, self.output_norm) @ self.token_embd.t()


def document_mask(documents):
    """documents [B, T] of document numbers -> [B, 1, T, T]: 0 where a position may look, -inf elsewhere."""
    length = documents.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    allowed = (documents[:, :, None] == documents[:, None, :]) & causal
    return torch.zeros(allowed.shape).masked_fill(~allowed, float("-inf"))[:, None]
