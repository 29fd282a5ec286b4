"""The same computations in PyTorch, for `ogive bench --peer`. Prints one line of JSON: median, least and greatest milliseconds, peak memory.

usage: torch_peer.py gpt|dense_half|sigma_moe|chain eager|compile [runs]

Tuned as PyTorch's users tune it: two threads (THREADS), and an allocator that keeps large buffers, for which the script restarts itself with
GLIBC_TUNABLES set.
"""
import json
import os
import resource
import statistics
import sys
import time

TUNING = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184"
if os.environ.get("GLIBC_TUNABLES") != TUNING:
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "GLIBC_TUNABLES": TUNING})

import torch
from torch import nn
from torch.nn import functional as F


class Dense(nn.Module):
    def __init__(self, model, hidden):
        super().__init__()
        self.up, self.down = nn.Linear(model, hidden), nn.Linear(hidden, model)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class SigmaMoe(nn.Module):
    """Copies of tokens sorted by expert, split, and multiplied expert by expert: the fastest form in plain PyTorch on a CPU."""

    def __init__(self, model, experts, width, active):
        super().__init__()
        self.experts, self.active = experts, active
        self.router = nn.Parameter(torch.randn(model, experts) * model**-0.5)
        self.up = nn.Parameter(torch.randn(experts, model, width) * model**-0.5)
        self.down = nn.Parameter(torch.randn(experts, width, model) * (experts * width) ** -0.5)

    def forward(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        gates, chosen = torch.sigmoid(tokens @ self.router).topk(self.active, dim=-1)
        order = chosen.flatten().argsort(stable=True)
        rows = order // self.active
        counts = torch.bincount(chosen.flatten(), minlength=self.experts).tolist()
        parts = tokens[rows].split(counts)
        out = torch.cat([F.relu(part @ self.up[i]) @ self.down[i] for i, part in enumerate(parts) if counts[i]])
        out = out * gates.flatten()[order].unsqueeze(1)
        return torch.zeros_like(tokens).index_add(0, rows, out).view(x.shape)


class Layer(nn.Module):
    def __init__(self, model, heads, feed):
        super().__init__()
        self.heads = heads
        self.before_mix, self.before_feed = nn.LayerNorm(model), nn.LayerNorm(model)
        self.project, self.merge = nn.Linear(model, 3 * model), nn.Linear(model, model)
        self.feed = feed

    def forward(self, x):
        batch, seq, model = x.shape
        parts = self.project(self.before_mix(x)).reshape(batch, seq, 3, self.heads, model // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mix = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.merge(mix.permute(0, 2, 1, 3).reshape(batch, seq, model))
        return x + self.feed(self.before_feed(x))


class Gpt(nn.Module):
    def __init__(self, feed, vocab=256, model=256, layers=8, heads=8, seq=256):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, model), nn.Embedding(seq, model)
        self.layers = nn.ModuleList(Layer(model, heads, feed(model)) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(model), nn.Linear(model, vocab)

    def forward(self, tokens, targets):
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return F.cross_entropy(self.out(self.norm(x)).flatten(0, 1), targets.flatten())


def gpt(compiled, feed=lambda model: Dense(model, 1024)):
    model = Gpt(feed)
    loss_of = torch.compile(model) if compiled else model
    tokens, targets = torch.randint(0, 256, (8, 256)), torch.randint(0, 256, (8, 256))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)

    def step():
        loss = loss_of(tokens, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def dense_half(compiled):
    return gpt(compiled, lambda model: Dense(model, 512))


def sigma_moe(compiled):
    return gpt(compiled, lambda model: SigmaMoe(model, experts=16, width=128, active=4))


def chain(compiled):
    x, w, b = torch.randn(16384, 1024), torch.randn(1024), torch.randn(1024)

    def layer(x, w, b):
        return F.layer_norm(x + F.gelu(x * w + b, approximate="tanh"), (1024,))

    run = torch.compile(layer) if compiled else layer

    def step():
        with torch.no_grad():
            run(x, w, b)

    return step


def main():
    case, mode = sys.argv[1], sys.argv[2]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    torch.manual_seed(0)
    step = {"gpt": gpt, "dense_half": dense_half, "sigma_moe": sigma_moe, "chain": chain}[case](mode == "compile")
    for _ in range(2):
        step()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    name = f"torch {torch.__version__} {mode}"
    print(json.dumps({"name": name, "ms": statistics.median(times), "min_ms": min(times), "max_ms": max(times), "peak_bytes": peak}))


main()
