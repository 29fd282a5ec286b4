"""Times every case beside its peers and writes the page: python specs/bench/compare.py OGIVE [RUNS] > docs/results/speed.md

Run by the interpreter that has PyTorch and JAX, on a machine that does nothing else. Each peer runs between two halves of ogive's steps, so
that both see the same machine.
"""
import json
import platform
import subprocess
import sys

OGIVE, RUNS = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "20"
HERE = "specs/bench"
TORCH, JAX = f"{sys.executable} {HERE}/peers/torch_peer.py", f"{sys.executable} {HERE}/peers/jax_peer.py"

# What, spec with options, peers.
CASES = [
    ("dense GPT", ["dense_gpt.arch"], [f"{TORCH} gpt compile 10"]),
    ("sigma-MoE, 16 experts of 128, 4 at a time", ["sigma_moe.arch"], [f"{TORCH} sigma_moe eager 10"]),
    ("dense GPT of the same active operations", ["dense_gpt.arch", "--set", "hidden=512"], [f"{TORCH} dense_half eager 10"]),
    ("DeltaNet, two layers", ["deltanet.arch"], [f"{TORCH} deltanet_chunks compile", f"{TORCH} deltanet_loop eager 5", f"{JAX} deltanet 5"]),
    ("self-referential weight matrix", ["srwm.arch"], [f"{TORCH} srwm eager", f"{JAX} srwm"]),
    ("element-wise LSTM, exact real-time recurrent learning", ["elstm.arch"], [f"{TORCH} elstm_rtrl compile", f"{JAX} elstm_rtrl"]),
    ("LSTM", ["lstm.arch"], [f"{TORCH} lstm eager", f"{JAX} lstm"]),
    ("element-wise chain and layer normalisation, forward", ["fused_chain.arch", "--forward"], [f"{TORCH} chain eager"]),
]


def processor():
    with open("/proc/cpuinfo") as file:
        lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    table = {key.strip(): value.strip() for key, value in lines.items()}
    sets = [s for s in ("avx2", "avx512f", "amx_tile") if s in table.get("flags", "").split()]
    return f"{table.get('model name', platform.machine())}, two threads, {' and '.join(sets) or 'no wide vectors'}"


def main():
    print("# Speed\n")
    print("Milliseconds of a training step (forward, backward, AdamW), or where it says so of a forward pass: the median of")
    print(f"{RUNS} steps of ogive, half before and half after those of the peer. A peer that is compiled is timed after it has been.\n")
    print(f"Machine: {processor()}. One command makes this page: `python specs/bench/compare.py target/release/ogive > docs/results/speed.md`.\n")
    print("| case | peer | ogive, ms | peer, ms | ogive / peer | memory of ogive | memory of the peer's process |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for what, spec, peers in CASES:
        for peer in peers:
            command = [OGIVE, "bench", f"{HERE}/{spec[0]}", *spec[1:], "--runs", RUNS, "--json", "--peer", peer]
            said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            ours, theirs = said["ours"], said["peer"]
            words = peer.split()
            name = " ".join([theirs["name"].split("+")[0], *(w for w in words[2:] if not w.isdigit())])
            mebibytes = lambda m: f"{m['memory_bytes'] / 2**20:.0f} MiB" if m.get("memory_bytes") else "-"
            cells = [what, name, f"{ours['ms']:.1f}", f"{theirs['ms']:.1f}", f"{said['ratio']:.2f}", mebibytes(ours), mebibytes(theirs)]
            print("| " + " | ".join(cells) + " |", flush=True)


main()
