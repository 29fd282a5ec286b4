"""The recurrent cases in JAX: `lax.scan` over time, compiled as a whole. Prints what `ogive bench --peer` reads.

usage: jax_peer.py deltanet|srwm|lstm|elstm_rtrl [runs]

Two threads (THREADS); XLA takes its own from the processors that it sees, to which the script confines itself.
"""
import json
import os
import resource
import statistics
import sys
import time

os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: int(os.environ.get("THREADS", "2"))]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from jax import lax
from jax import numpy as jnp

KEYS = iter(jax.random.split(jax.random.PRNGKey(0), 256))


def normal(shape, scale):
    return jax.random.normal(next(KEYS), shape) * scale


def adamw(params, grads, moments, rate=1e-4):
    """One step; moments are pairs of trees."""
    tree = jax.tree_util.tree_map
    first = tree(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
    second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], grads)
    new = tree(lambda p, m, v: p - rate * (m / (jnp.sqrt(v) + 1e-8) + 0.01 * p), params, first, second)
    return new, (first, second)


def trained(params, loss, shape):
    """A step of backpropagation through `loss(params, tokens)`."""
    tokens = jax.random.randint(next(KEYS), shape, 0, 256)
    return stepped(params, lambda p: jax.grad(loss)(p, tokens))


def stepped(params, gradient):
    zeros = jax.tree_util.tree_map(jnp.zeros_like, params)
    held = [params, (zeros, jax.tree_util.tree_map(jnp.zeros_like, params))]

    @jax.jit
    def update(p, moments):
        return adamw(p, gradient(p), moments)

    def step():
        held[:] = update(*held)
        jax.block_until_ready(held)

    return step


def normalised(x, gain, shift):
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * gain + shift


def deltanet(layers=2, model=256, heads=8, batch=16, seq=256):
    width = model // heads

    def layer():
        square = lambda: normal((model, model), model**-0.5)
        return {
            "gain": jnp.ones(model), "shift": jnp.zeros(model), "Wq": square(), "Wk": square(), "Wv": square(), "Wo": square(),
            "Wb": normal((model, heads), model**-0.5), "bq": jnp.zeros(model), "bk": jnp.zeros(model), "bv": jnp.zeros(model),
            "bb": jnp.zeros(heads), "bo": jnp.zeros(model),
        }

    def mix(q, k, v, rate):
        def one(state, given):
            q, k, v, rate = given
            gap = v - jnp.einsum("nhvk,nhk->nhv", state, k)
            state = state + (rate[..., None] * gap)[..., None] * k[..., None, :]
            return state, jnp.einsum("nhvk,nhk->nhv", state, q)

        start = jnp.zeros((batch, heads, width, width))
        return lax.scan(one, start, tuple(jnp.moveaxis(x, 1, 0) for x in (q, k, v, rate)))[1]

    def loss(params, tokens):
        x = params["embed"][tokens]
        for p in params["layers"]:
            h = normalised(x, p["gain"], p["shift"])
            heads_of = lambda w, b: (h @ p[w] + p[b]).reshape(batch, seq, heads, width)
            k = heads_of("Wk", "bk")
            k = k * lax.rsqrt((k * k).sum(-1, keepdims=True) + 1e-6)
            y = mix(jax.nn.softmax(heads_of("Wq", "bq")), k, heads_of("Wv", "bv"), jax.nn.sigmoid(h @ p["Wb"] + p["bb"]))
            x = x + jnp.moveaxis(y, 0, 1).reshape(batch, seq, model) @ p["Wo"] + p["bo"]
        return (x * x).mean()

    return trained({"embed": normal((256, model), 1), "layers": [layer() for _ in range(layers)]}, loss, (batch, seq))


def srwm(model=256, heads=8, batch=16, seq=128):
    width = model // heads
    cuts = (width, 2 * width, 3 * width)

    def loss(params, tokens):
        x = params["embed"][tokens] @ params["Wi"] + params["bi"]
        x = jax.nn.softmax(x.reshape(batch, seq, heads, width))

        def one(matrix, x):
            y, q, k, rates = jnp.split(jnp.einsum("nhoi,nhi->nho", matrix, x), cuts, -1)
            q, k, rates = jax.nn.softmax(q), jax.nn.softmax(k), jax.nn.sigmoid(rates)
            wide = [jnp.broadcast_to(rates[..., i : i + 1], (batch, heads, n)) for i, n in enumerate((width, width, width, 4))]
            change = jnp.concatenate(wide, -1) * jnp.einsum("nhoi,nhi->nho", matrix, q - k)
            return matrix + change[..., None] * k[..., None, :], y

        start = jnp.broadcast_to(params["start"], (batch, *params["start"].shape))
        y = lax.scan(one, start, jnp.moveaxis(x, 1, 0))[1]
        out = jnp.moveaxis(y, 0, 1).reshape(batch, seq, model) @ params["Wo"] + params["bo"]
        return (out * out).mean()

    square = lambda: normal((model, model), model**-0.5)
    params = {"embed": normal((256, model), 1), "Wi": square(), "bi": jnp.zeros(model), "Wo": square(), "bo": jnp.zeros(model)}
    params["start"] = normal((heads, 3 * width + 4, width), 0.1)
    return trained(params, loss, (batch, seq))


def lstm(inputs=64, unit=256, batch=16, seq=256):
    def loss(params, tokens):
        given = params["embed"][tokens] @ params["W"] + params["b"]

        def one(held, given):
            h, c = held
            i, f, z, o = jnp.split(given + h @ params["U"], 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(z)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((batch, unit))
        h = lax.scan(one, (zero, zero), jnp.moveaxis(given, 1, 0))[1]
        return (h * h).mean()

    params = {"embed": normal((256, inputs), 1), "W": normal((inputs, 4 * unit), 0.1), "U": normal((unit, 4 * unit), 0.06)}
    params["b"] = jnp.zeros(4 * unit)
    return trained(params, loss, (batch, seq))


def elstm_rtrl(inputs=64, unit=256, batch=16, seq=256):
    """Exact real-time recurrent learning: what the state has of each parameter is carried beside it."""
    tokens = jax.random.randint(next(KEYS), (batch, seq), 0, 256)
    scale = 2 / (batch * seq * unit)

    def gradient(p):
        x = p["embed"][tokens]
        over_time = lambda a: jnp.moveaxis(a, 1, 0)
        pre = tuple(over_time(x @ p[n] + p[b]) for n, b in (("F", "bf"), ("Z", "bz"), ("O", "bo")))

        def one(held, given):
            c, sens, sums = held
            x, (pre_f, pre_z, pre_o) = given
            forget, fresh = jax.nn.sigmoid(pre_f + p["f"] * c), jnp.tanh(pre_z + p["z"] * c)
            new = forget * c + (1 - forget) * fresh
            out = jax.nn.sigmoid(pre_o + new @ p["P"])
            cotangent = scale * out * new
            gate = cotangent * new * out * (1 - out)
            error = cotangent * out + gate @ p["P"].T
            by_z, by_f = (1 - forget) * (1 - fresh * fresh), (c - fresh) * forget * (1 - forget)
            jacobian = forget + by_z * p["z"] + by_f * p["f"]
            direct = {"f": by_f * c, "z": by_z * c, "bf": by_f, "bz": by_z}
            sens = {
                "F": jacobian[:, None] * sens["F"] + by_f[:, None] * x[:, :, None],
                "Z": jacobian[:, None] * sens["Z"] + by_z[:, None] * x[:, :, None],
                **{n: jacobian * sens[n] + d for n, d in direct.items()},
            }
            parts = {n: ((error[:, None] if s.ndim == 3 else error) * s).sum(0) for n, s in sens.items()}
            sums = {n: sums[n] + part for n, part in parts.items()}
            return (new, sens, sums), (new, gate, error * by_f, error * by_z)

        shapes = {"F": (inputs, unit), "Z": (inputs, unit), **{n: (unit,) for n in ("f", "z", "bf", "bz")}}
        sens = {n: jnp.zeros((batch, *s)) for n, s in shapes.items()}
        sums = {n: jnp.zeros(s) for n, s in shapes.items()}
        (_, _, sums), (states, gates, by_f, by_z) = lax.scan(one, (jnp.zeros((batch, unit)), sens, sums), (over_time(x), pre))
        below = by_f @ p["F"].T + by_z @ p["Z"].T + gates @ p["O"].T
        flat = lambda a: a.reshape(-1, a.shape[-1])
        return {
            **sums,
            "P": flat(states).T @ flat(gates),
            "O": flat(over_time(x)).T @ flat(gates),
            "bo": gates.sum((0, 1)),
            "embed": jnp.zeros_like(p["embed"]).at[over_time(tokens).reshape(-1)].add(flat(below)),
        }

    names = {"F": (inputs, unit), "Z": (inputs, unit), "O": (inputs, unit), "P": (unit, unit), "embed": (256, inputs)}
    names.update({n: (unit,) for n in ("f", "z", "bf", "bz", "bo")})
    return stepped({n: normal(s, 0.1) for n, s in names.items()}, gradient)


CASES = {"deltanet": deltanet, "srwm": srwm, "lstm": lstm, "elstm_rtrl": elstm_rtrl}


def main():
    step = CASES[sys.argv[1]]()
    for _ in range(2):
        step()
    times = []
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 10):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"name": f"jax {jax.__version__}", "ms": statistics.median(times), "min_ms": min(times), "max_ms": max(times), "peak_bytes": peak}))


main()
