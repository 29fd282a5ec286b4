"""The same computations in PyTorch, for `ogive bench --peer`. Prints one line of JSON: median, least and greatest milliseconds, peak memory.

usage: torch_peer.py gpt|dense_half|sigma_moe|chain|deltanet_loop|deltanet_chunks|srwm|lstm|elstm_rtrl eager|compile [runs]

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


def delta_loop(q, k, v, rate):
    batch, heads, seq, width = q.shape
    memory = torch.zeros(batch, heads, width, width)
    reads = []
    for t in range(seq):
        key = k[:, :, t].unsqueeze(-1)
        error = (v[:, :, t].unsqueeze(-1) - memory @ key) * rate[:, :, t, None, None]
        memory = memory + error * key.transpose(-1, -2)
        reads.append((memory @ q[:, :, t].unsqueeze(-1)).squeeze(-1))
    return torch.stack(reads, 2)


def delta_chunks(q, k, v, rate, chunk=32):
    """The parallel form: within a chunk a triangular solve, from chunk to chunk the memory."""
    batch, heads, seq, width = q.shape
    q, k, v = (x.reshape(batch, heads, seq // chunk, chunk, width) for x in (q, k, v))
    rate = rate.reshape(batch, heads, seq // chunk, chunk, 1)
    system = ((k * rate) @ k.transpose(-1, -2)).tril(-1) + torch.eye(chunk)
    both = torch.linalg.solve_triangular(system, torch.cat([v * rate, k * rate], -1), upper=False, unitriangular=True)
    fresh, erased = both.split(width, -1)
    within = (q @ k.transpose(-1, -2)).tril()
    memory = torch.zeros(batch, heads, width, width)
    reads = []
    for i in range(seq // chunk):
        update = fresh[:, :, i] - erased[:, :, i] @ memory
        reads.append(q[:, :, i] @ memory + within[:, :, i] @ update)
        memory = memory + k[:, :, i].transpose(-1, -2) @ update
    return torch.cat(reads, 2)


class DeltaNet(nn.Module):
    def __init__(self, core, model=256, heads=8, layers=2):
        super().__init__()
        self.core, self.heads, self.embed = core, heads, nn.Embedding(256, model)
        self.project = nn.ModuleList(nn.Linear(model, 3 * model + heads) for _ in range(layers))
        self.merge = nn.ModuleList(nn.Linear(model, model) for _ in range(layers))
        self.norm = nn.ModuleList(nn.LayerNorm(model) for _ in range(layers))

    def forward(self, tokens):
        x = self.embed(tokens)
        batch, seq, model = x.shape
        for norm, project, merge in zip(self.norm, self.project, self.merge):
            parts = project(norm(x))
            q, k, v = parts[..., : 3 * model].reshape(batch, seq, 3, self.heads, model // self.heads).permute(2, 0, 3, 1, 4)
            rate = torch.sigmoid(parts[..., 3 * model :]).transpose(1, 2)
            mix = self.core(F.softmax(q, -1), F.normalize(k, dim=-1), v, rate)
            x = x + merge(mix.transpose(1, 2).reshape(batch, seq, model))
        return x.square().mean()


class Srwm(nn.Module):
    """One matrix yields output, query, key and rates, and is rewritten by the delta rule."""

    def __init__(self, model=256, heads=8):
        super().__init__()
        self.heads, self.width = heads, model // heads
        self.embed, self.before, self.after = nn.Embedding(256, model), nn.Linear(model, model), nn.Linear(model, model)
        self.start = nn.Parameter(torch.randn(1, heads, 3 * self.width + 4, self.width) * 0.1)

    def forward(self, tokens):
        x = self.before(self.embed(tokens))
        batch, seq, model = x.shape
        width = self.width
        x = F.softmax(x.reshape(batch, seq, self.heads, width), -1).transpose(1, 2)
        weight = self.start.expand(batch, -1, -1, -1)
        sizes, reads = (width, width, width, 4), []
        for t in range(seq):
            y, q, k, rates = (weight @ x[:, :, t].unsqueeze(-1)).squeeze(-1).split(sizes, -1)
            q, k = F.softmax(q, -1).unsqueeze(-1), F.softmax(k, -1).unsqueeze(-1)
            rates = torch.sigmoid(rates)
            rate = torch.cat([rates[..., i : i + 1].expand(*rates.shape[:-1], n) for i, n in enumerate(sizes)], -1)
            weight = weight + rate.unsqueeze(-1) * (weight @ (q - k)) * k.transpose(-1, -2)
            reads.append(y)
        return self.after(torch.stack(reads, 2).transpose(1, 2).reshape(batch, seq, model)).square().mean()


class Lstm(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.cell = nn.Embedding(256, 64), nn.LSTM(64, 256, batch_first=True)

    def forward(self, tokens):
        return self.cell(self.embed(tokens))[0].square().mean()


def elstm_step(c, sens, x, pre, w, scale):
    """One step of an element-wise LSTM forward, its loss, and exact real-time recurrent learning: what the state has of each parameter."""
    pre_f, pre_z, pre_o = pre
    forget, fresh = torch.sigmoid(pre_f + w["f"] * c), torch.tanh(pre_z + w["z"] * c)
    new = forget * c + (1 - forget) * fresh
    out = torch.sigmoid(pre_o + new @ w["P"])
    cotangent = scale * out * new
    gate = cotangent * new * out * (1 - out)
    error = cotangent * out + gate @ w["P"].T
    by_z, by_f = (1 - forget) * (1 - fresh * fresh), (c - fresh) * forget * (1 - forget)
    jacobian = forget + by_z * w["z"] + by_f * w["f"]
    s_F, s_Z, s_f, s_z, s_bf, s_bz = sens
    s_F = jacobian.unsqueeze(1) * s_F + by_f.unsqueeze(1) * x.unsqueeze(2)
    s_Z = jacobian.unsqueeze(1) * s_Z + by_z.unsqueeze(1) * x.unsqueeze(2)
    s_f, s_z = jacobian * s_f + by_f * c, jacobian * s_z + by_z * c
    s_bf, s_bz = jacobian * s_bf + by_f, jacobian * s_bz + by_z
    sens = (s_F, s_Z, s_f, s_z, s_bf, s_bz)
    wide = (error.unsqueeze(1) * s_F).sum(0), (error.unsqueeze(1) * s_Z).sum(0)
    narrow = tuple((error * s).sum(0) for s in sens[2:])
    return new, sens, wide + narrow, gate, error * by_f, error * by_z


def elstm_rtrl(compiled, batch=16, inputs=64, unit=256, seq=256):
    names = {"F": (inputs, unit), "Z": (inputs, unit), "O": (inputs, unit), "P": (unit, unit)}
    names.update({n: (unit,) for n in ("f", "z", "bf", "bz", "bo")}, embed=(256, inputs))
    w = {n: torch.randn(shape) * 0.1 for n, shape in names.items()}
    one = torch.compile(elstm_step) if compiled else elstm_step
    tokens = torch.randint(0, 256, (batch, seq))
    optimizer = torch.optim.AdamW(list(w.values()), lr=1e-4, fused=True)

    @torch.no_grad()
    def step():
        x = w["embed"][tokens]
        pres = [(x @ w[n] + w[b]).unbind(1) for n, b in (("F", "bf"), ("Z", "bz"), ("O", "bo"))]
        c = torch.zeros(batch, unit)
        sens = (torch.zeros(batch, inputs, unit),) * 2 + (torch.zeros(batch, unit),) * 4
        grads = [torch.zeros(inputs, unit) for _ in range(2)] + [torch.zeros(unit) for _ in range(4)]
        states, gates, by_f, by_z = [], [], [], []
        for t, given in enumerate(x.unbind(1)):
            c, sens, parts, *kept = one(c, sens, given, tuple(p[t] for p in pres), w, 2 / (batch * seq * unit))
            for grad, part in zip(grads, parts):
                grad += part
            for rows, row in zip((states, gates, by_f, by_z), (c, *kept)):
                rows.append(row)
        states, gates, by_f, by_z = (torch.stack(rows, 1).flatten(0, 1) for rows in (states, gates, by_f, by_z))
        for n, grad in zip(("F", "Z", "f", "z", "bf", "bz"), grads):
            w[n].grad = grad
        w["P"].grad, w["O"].grad, w["bo"].grad = states.T @ gates, x.flatten(0, 1).T @ gates, gates.sum(0)
        below = by_f @ w["F"].T + by_z @ w["Z"].T + gates @ w["O"].T
        w["embed"].grad = torch.zeros_like(w["embed"]).index_add_(0, tokens.flatten(), below)
        optimizer.step()

    return step


def trained(model, shape):
    def case(compiled):
        network = model()
        loss_of = torch.compile(network) if compiled else network
        tokens = torch.randint(0, 256, shape)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

        def step():
            loss = loss_of(tokens)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step

    return case


CASES = {
    "gpt": gpt,
    "dense_half": dense_half,
    "sigma_moe": sigma_moe,
    "chain": chain,
    "deltanet_loop": trained(lambda: DeltaNet(delta_loop), (16, 256)),
    "deltanet_chunks": trained(lambda: DeltaNet(delta_chunks), (16, 256)),
    "srwm": trained(Srwm, (16, 128)),
    "lstm": trained(Lstm, (16, 256)),
    "elstm_rtrl": elstm_rtrl,
}


def main():
    case, mode = sys.argv[1], sys.argv[2]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    torch.manual_seed(0)
    step = CASES[case](mode == "compile")
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
