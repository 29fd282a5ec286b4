//! Memories of the standard library and of `specs/papers/memory/`: against vectors (`tests/vectors/fwp/kv_memory.*`), and against their
//! equations as plain loops, in f64.

mod official;

use official::{Array, How, Tensors, compare, read, root, run};
use std::path::Path;

const TOLERANCE: f64 = 1e-10;

fn vectors() -> Tensors {
    read(&root().join("tests/vectors/fwp/kv_memory.safetensors"))
}

fn of(spec: &Path, block: &str, inputs: &[(&str, &Array)]) -> Tensors {
    let inputs = inputs.iter().map(|(name, a)| ((*name).to_owned(), (*a).clone())).collect();
    run(How { spec, of: block, backend: "interp", double: true, training: false }, &Tensors::new(), &inputs, &Tensors::new())
}

fn table(block: &str, inputs: &[(&str, &Array)]) -> Tensors {
    of(&root().join("specs/papers/fast_weights/memory_table.arch"), block, inputs)
}

fn library(file: &str, block: &str, inputs: &[(&str, &Array)]) -> Tensors {
    of(&root().join(format!("specs/std/{file}.arch")), block, inputs)
}

/// A spec of its own.
fn written(text: &str, block: &str, inputs: &[(&str, &Array)]) -> Tensors {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("own.arch");
    std::fs::write(&path, text).expect("writable");
    of(&path, block, inputs)
}

/// Numbers from -1 to 1 that differ with `seed`.
fn numbers(seed: u64, shape: &[usize]) -> Array {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        #[allow(clippy::cast_precision_loss, reason = "some number")]
        let x = (state >> 11) as f64 / (1_u64 << 52) as f64;
        x - 1.0
    };
    Array { shape: shape.to_vec(), data: (0..shape.iter().product()).map(|_| next()).collect() }
}

fn signs(seed: u64, shape: &[usize]) -> Array {
    let mut a = numbers(seed, shape);
    a.data.iter_mut().for_each(|x| *x = x.signum());
    a
}

fn array(shape: &[usize], data: Vec<f64>) -> Array {
    assert_eq!(shape.iter().product::<usize>(), data.len());
    Array { shape: shape.to_vec(), data }
}

fn row(a: &Array, i: usize) -> &[f64] {
    let width = a.shape.last().copied().unwrap_or(1);
    &a.data[i * width..(i + 1) * width]
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softmax(x: &[f64]) -> Vec<f64> {
    let e: Vec<f64> = x.iter().map(|x| x.exp()).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|x| x / sum).collect()
}

#[test]
fn reads_by_distance_by_choice_and_of_counters_agree() {
    let v = vectors();
    let found = table("other_reads", &[("queries", &v["queries"]), ("keys", &v["keys"]), ("values", &v["values"])]);
    for (ours, theirs) in [
        ("by_kernel", "read_rbf"),
        ("by_top", "read_top3_softmax"),
        ("by_most", "read_max"),
        ("most", "familiarity_max"),
        ("soft", "familiarity_lse_beta8"),
    ] {
        compare(&found, ours, &v[theirs], TOLERANCE);
    }
    // Each probe is what was written, its first two bits turned.
    let mut probes = v["sdm_writes"].clone();
    let width = probes.shape[1];
    probes.data.iter_mut().enumerate().filter(|(i, _)| i % width < 2).for_each(|(_, x)| *x = 1.0 - *x);
    let found = table("sparse_reads", &[("writes", &v["sdm_writes"]), ("probes", &probes), ("addresses", &v["sdm_addresses"])]);
    compare(&found, "y", &v["sdm_reads"], 0.0);
}

#[test]
fn a_linear_layer_is_the_memory_of_its_errors() {
    let v = vectors();
    let inputs = [("x", &v["dual_X"]), ("wanted", &v["dual_T"]), ("start", &v["dual_W0"]), ("queries", &v["dual_q"])];
    let found = table("linear_layer_dual", &inputs);
    for (ours, theirs) in [("errors", "dual_E"), ("W", "dual_W"), ("by_weights", "dual_y"), ("by_pairs", "dual_y")] {
        compare(&found, ours, &v[theirs], TOLERANCE);
    }
}

#[test]
fn the_energy_of_a_modern_hopfield_network_agrees() {
    let v = vectors();
    let states = &v["mhn_states"];
    let [steps, probes, units] = states.shape[..] else { panic!("three dims") };
    let flat = array(&[steps * probes, units], states.data.clone());
    let found = library("hopfield", "modern_hopfield_energy", &[("x", &flat), ("patterns", &v["mhn_patterns"])]);
    compare(&found, "energy", &array(&[steps * probes], v["mhn_energy"].data.clone()), TOLERANCE);
    let found = library("hopfield", "hopfield_update", &[("x", &flat), ("patterns", &v["mhn_patterns"])]);
    let rest = (steps - 1) * probes;
    let next = array(&[rest, units], states.data[probes * units..].to_vec());
    let ours = Tensors::from([("y".to_owned(), array(&[rest, units], found["y"].data[..rest * units].to_vec()))]);
    compare(&ours, "y", &next, TOLERANCE);
}

/// Turns of single units end where no unit wants another sign; the energy falls on the way.
#[test]
fn turns_of_a_hopfield_network_lower_its_energy() {
    let (patterns, start) = (signs(3, &[3, 24]), signs(5, &[24]));
    let mut which = array(&[72, 24], vec![0.0; 72 * 24]);
    (0..72).for_each(|t| which.data[t * 24 + (7 * t) % 24] = 1.0);
    let text = "block run[turn, item, unit](which: [turn, unit], start: [unit], patterns: [item, unit]) -> x: [turn, unit], energy: [turn], next: [turn, unit] {\n  x = scan hopfield_turns(which, start, patterns) along turn\n  energy = hopfield_energy(x, patterns)\n  next = hopfield_sign(x, patterns)\n}\n";
    let found = written(text, "run", &[("which", &which), ("start", &start), ("patterns", &patterns)]);
    let energy = &found["energy"].data;
    assert!(energy.windows(2).all(|e| e[1] <= e[0] + 1e-9) && energy[71] < energy[0], "{energy:?}");
    let (x, next) = (row(&found["x"], 71), row(&found["next"], 71));
    assert!(x.iter().zip(next).all(|(x, y)| x * y >= 0.0), "a unit still wants to turn");
    let pairs: f64 = (0..3).map(|m| dot(row(&patterns, m), x).powi(2) - 24.0).sum();
    assert!((energy[71] + pairs / 2.0).abs() < TOLERANCE);
}

#[test]
fn units_of_a_dense_associative_memory_take_the_sign_of_the_lower_energy() {
    let (patterns, x) = (signs(1, &[9, 16]), signs(2, &[5, 16]));
    let found = library("hopfield", "dense_hopfield_sign", &[("x", &x), ("patterns", &patterns)]);
    let energy = |x: &[f64]| -> f64 { -(0..9).map(|m| dot(row(&patterns, m), x).max(0.0).powi(3)).sum::<f64>() };
    let told = library("hopfield", "dense_hopfield_energy", &[("x", &x), ("patterns", &patterns)]);
    let mut expected = Vec::new();
    for p in 0..5 {
        assert!((told["energy"].data[p] - energy(row(&x, p))).abs() < TOLERANCE);
        for i in 0..16 {
            let with = |s: f64| {
                let mut y = row(&x, p).to_vec();
                y[i] = s;
                energy(&y)
            };
            expected.push(if with(1.0) < with(-1.0) { 1.0 } else { -1.0 });
        }
    }
    compare(&found, "y", &array(&[5, 16], expected), 0.0);
}

#[test]
fn contents_are_recalled_through_the_scaffold() {
    let v = vectors();
    let bound = 20 * v["scaffold_sensory"].shape[1];
    let patterns = array(&[20, bound / 20], v["scaffold_sensory"].data[..bound].to_vec());
    let [hidden, grid] = v["scaffold_Wgh"].shape[..] else { panic!("a matrix") };
    let weights = official::gather(&v["scaffold_Wgh"], &[grid, hidden], |i| i[1] * grid + i[0]);
    let spec = root().join("specs/papers/memory/scaffold.arch");
    let found = of(&spec, "scaffold_memory", &[("patterns", &patterns), ("cue", &patterns), ("W", &weights)]);
    compare(&found, "code", &v["scaffold_grid"], 0.0);
    compare(&found, "expansion", &v["scaffold_hidden"], TOLERANCE);
    // The pseudo-inverse is the limit of a ridge that goes to 0.
    compare(&found, "inward", &v["scaffold_W_sh"], 1e-8);
    compare(&found, "outward", &v["scaffold_W_hs"], 1e-8);
    compare(&found, "recall", &v["scaffold_recall"], 0.0);
}

/// What the normal equations say of M: sum of k (k M - v) + ridge M is 0.
#[test]
fn least_squares_has_no_gradient_left() {
    let (keys, values) = (numbers(7, &[6, 4]), numbers(8, &[6, 3]));
    let text = "block run[item, key, value](keys: [item, key], values: [item, value]) -> M: [key, value] {\n  (all, P, M) = scan least_squares(keys, values, where(index(item) >= 0, 1, 1), ridge: 0.5) along item\n}\n";
    let found = written(text, "run", &[("keys", &keys), ("values", &values)]);
    let m = &found["M"];
    for a in 0..4 {
        for b in 0..3 {
            let at = |i: usize| (0..4).map(|c| row(&keys, i)[c] * m.data[c * 3 + b]).sum::<f64>();
            let left: f64 = (0..6).map(|i| row(&keys, i)[a] * (at(i) - row(&values, i)[b])).sum::<f64>() + 0.5 * m.data[a * 3 + b];
            assert!(left.abs() < TOLERANCE, "{left}");
        }
    }
}

#[test]
fn features_are_products_with_neighbours_around_or_exponentials() {
    let x = numbers(4, &[7, 3]);
    let found = library("feature_map", "dpfp", &[("x", &x)]);
    let mut expected = Vec::new();
    for t in 0..7 {
        let r: Vec<f64> = row(&x, t).iter().copied().chain(row(&x, t).iter().map(|x| -x)).map(|x| x.max(0.0)).collect();
        (1..=2).for_each(|back| expected.extend((0..6).map(|j| r[j] * r[(j + 6 - back) % 6])));
    }
    compare(&found, "y", &array(&[7, 12], expected), TOLERANCE);

    let w = numbers(9, &[5, 3]);
    let found = library("feature_map", "favor", &[("x", &x), ("directions", &w)]);
    let mut expected = Vec::new();
    for t in 0..7 {
        let half = dot(row(&x, t), row(&x, t)) / 2.0;
        for sign in [1.0, -1.0] {
            expected.extend((0..5).map(|d| ((sign * dot(row(&w, d), row(&x, t)) - half).exp() + 1e-4) / 10.0_f64.sqrt()));
        }
    }
    compare(&found, "y", &array(&[7, 10], expected), TOLERANCE);
}

/// Directions of a set are at right angles, and features of two vectors have the softmax kernel as their product in the mean.
#[test]
fn random_directions_are_at_right_angles_and_estimate_the_kernel() {
    let text = "block run[key = 4, direction = 8000, feature = 2 * direction](a: [key], b: [key]) -> w: [direction, key], kernel: [] {\n  w = random_directions(key: key, direction: direction)\n  kernel = favor(a, w, epsilon: 0, feature: feature) @feature favor(b, w, epsilon: 0, feature: feature)\n}\n";
    let (a, b) = (numbers(1, &[4]), numbers(2, &[4]));
    let found = written(text, "run", &[("a", &a), ("b", &b)]);
    let w = &found["w"];
    for set in 0..3 {
        for i in 0..4 {
            for j in 0..i {
                assert!(dot(row(w, 4 * set + i), row(w, 4 * set + j)).abs() < 1e-6);
            }
        }
    }
    let square = (0..8000).map(|d| dot(row(w, d), row(w, d))).sum::<f64>() / 8000.0;
    assert!((square - 4.0).abs() < 0.2, "{square}");
    let (kernel, exact) = (found["kernel"].data[0], dot(&a.data, &b.data).exp());
    assert!((kernel / exact - 1.0).abs() < 0.05, "{kernel} against {exact}");
}

#[test]
fn every_version_of_the_delta_lstm_is_its_equations() {
    let (steps, units) = (6, 4);
    let [z, k, v] = [11, 12, 13].map(|seed| numbers(seed, &[steps, 3, units]));
    let mut beta = numbers(14, &[steps, 3]);
    beta.data.iter_mut().for_each(|x| *x = sigmoid(*x));
    for version in 1..=4 {
        let text = format!(
            "block run[seq, gate, unit](z: [seq, gate, unit], k: [seq, gate, unit], v: [seq, gate, unit], beta: [seq, gate]) -> h: [seq, unit] {{\n  h = scan delta_lstm(z, k, v, beta, version: {version}) along seq\n}}\n"
        );
        let found = written(&text, "run", &[("z", &z), ("k", &k), ("v", &v), ("beta", &beta)]);
        // W[gate][from][to]
        let mut w = vec![vec![vec![0.0; units]; units]; 3];
        let (mut c, mut h) = (vec![0.0; units], vec![0.0; units]);
        let mut expected = Vec::new();
        for t in 0..steps {
            let seen = if version == 1 { h.clone() } else { softmax(&h) };
            let mut drive = Vec::new();
            for (g, w) in w.iter_mut().enumerate() {
                let at = 3 * t + g;
                let key = softmax(row(&k, at));
                let held = |w: &[Vec<f64>], to: usize| (0..units).map(|from| key[from] * w[from][to]).sum::<f64>();
                let new: Vec<f64> = row(&v, at).iter().enumerate().map(|(to, v)| beta.data[at] * (v - held(w, to))).collect();
                w.iter_mut().zip(&key).for_each(|(w, k)| w.iter_mut().zip(&new).for_each(|(w, n)| *w += k * n));
                drive
                    .push((0..units).map(|to| row(&z, at)[to] + (0..units).map(|f| seen[f] * w[f][to]).sum::<f64>()).collect::<Vec<f64>>());
            }
            for i in 0..units {
                let enter = sigmoid(drive[0][i]);
                let update = if version == 4 { drive[1][i] } else { sigmoid(drive[1][i]) };
                c[i] = enter * update + (1.0 - enter) * c[i];
            }
            let shown: Vec<f64> = (0..units).map(|i| c[i] * sigmoid(drive[2][i])).collect();
            h = match version {
                1 => softmax(&shown),
                3 => (0..units).map(|i| shown[i] + row(&z, 3 * t + 1)[i]).collect(),
                _ => shown,
            };
            expected.extend(h.iter().copied());
        }
        compare(&found, "h", &array(&[steps, units], expected), TOLERANCE);
    }
}

/// elu + 1, divided by the sum.
fn positive(x: &[f64]) -> Vec<f64> {
    let y: Vec<f64> = x.iter().map(|&x| if x > 0.0 { x + 1.0 } else { x.exp() }).collect();
    let sum: f64 = y.iter().sum::<f64>() + 1e-5;
    y.iter().map(|y| y / sum).collect()
}

/// What queries read from a memory that the delta rule writes.
fn delta(q: &[Vec<f64>], k: &[Vec<f64>], v: &[Vec<f64>], beta: &[f64]) -> Vec<Vec<f64>> {
    let mut w = vec![vec![0.0; v[0].len()]; k[0].len()];
    let read = |w: &[Vec<f64>], q: &[f64], j: usize| w.iter().zip(q).map(|(w, q)| w[j] * q).sum::<f64>();
    let mut out = Vec::new();
    for t in 0..q.len() {
        for j in 0..v[0].len() {
            let new = beta[t] * (v[t][j] - read(&w, &k[t], j));
            w.iter_mut().zip(&k[t]).for_each(|(w, k)| w[j] += k * new);
        }
        out.push((0..v[0].len()).map(|j| read(&w, &q[t], j)).collect());
    }
    out
}

/// x W of each step, W `[model, 1, out]`, or `[2, model, 1, out]` of which `layer` is taken.
fn times(x: &Array, w: &Array, layer: usize) -> Vec<Vec<f64>> {
    let (steps, model) = (x.shape[0], x.shape[1]);
    let width = if w.shape[0] == model { w.data.len() / model } else { w.data.len() / (2 * model) };
    let at = |m: usize, j: usize| w.data[(layer * model + m) * width + j];
    (0..steps).map(|t| (0..width).map(|j| (0..model).map(|m| row(x, t)[m] * at(m, j)).sum()).collect()).collect()
}

fn normalised(x: &[f64]) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt()).collect()
}

/// One head, gains 1 and biases 0: two layers of a fast net.
#[test]
fn the_delta_mlp_is_its_equations() {
    let (steps, model, wide) = (5, 4, 16);
    let x = numbers(21, &[steps, model]);
    let mut params = Tensors::new();
    let mut put = |name: &str, shape: &[usize]| {
        let seed = 30 + params.len() as u64;
        params.insert(name.to_owned(), numbers(seed, shape));
    };
    put("Wq", &[model, 1, model]);
    put("normalised_residual.Wo", &[1, model, model]);
    for (name, width) in [("Wk1", model), ("Wv1", wide), ("Wk2", wide), ("Wv2", model)] {
        put(&format!("fast_feed_forward.{name}"), &[2, model, 1, width]);
    }
    put("fast_feed_forward.Wb1", &[2, model, 1]);
    put("fast_feed_forward.Wb2", &[2, model, 1]);
    let constant = |shape: &[usize], x: f64| array(shape, vec![x; shape.iter().product()]);
    for (name, shape) in [("fast_feed_forward.norm", &[2, model][..]), ("normalised_residual.layer_norm", &[model][..])] {
        params.insert(format!("{name}.gain"), constant(shape, 1.0));
        params.insert(format!("{name}.bias"), constant(shape, 0.0));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let spec = std::fs::read_to_string(root().join("specs/papers/fast_weights/recurrent_fast_weights.arch")).expect("a spec");
    let path = folder.path().join("one_head.arch");
    std::fs::write(&path, spec.replace("head = 4", "head = 1")).expect("writable");
    let how = How { spec: &path, of: "delta_mlp_layer", backend: "interp", double: true, training: false };
    let found = run(how, &params, &Tensors::from([("x".to_owned(), x.clone())]), &Tensors::new());

    let of = |name: &str, layer: usize| times(&x, &params[&format!("fast_feed_forward.{name}")], layer);
    let each = |rows: Vec<Vec<f64>>| rows.iter().map(|r| positive(r)).collect::<Vec<_>>();
    let rates = |name: &str, layer: usize| of(name, layer).iter().map(|b| sigmoid(b[0])).collect::<Vec<f64>>();
    let mut q = times(&x, &params["Wq"], 0);
    for layer in 0..2 {
        let queries: Vec<Vec<f64>> = q.iter().map(|q| positive(&normalised(q))).collect();
        let up = delta(&queries, &each(of("Wk1", layer)), &of("Wv1", layer), &rates("Wb1", layer));
        let down = delta(&each(up), &each(of("Wk2", layer)), &of("Wv2", layer), &rates("Wb2", layer));
        q.iter_mut().zip(&down).for_each(|(q, d)| q.iter_mut().zip(d).for_each(|(q, d)| *q += d));
    }
    let read = array(&[steps, model], q.concat());
    let mixed = times(&read, &Array { shape: vec![model, 1, model], data: params["normalised_residual.Wo"].data.clone() }, 0);
    let y = (0..steps).flat_map(|t| normalised(&row(&x, t).iter().zip(&mixed[t]).map(|(a, b)| a + b).collect::<Vec<_>>()));
    compare(&found, "y", &array(&[steps, model], y.collect()), TOLERANCE);
}
