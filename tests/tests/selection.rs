//! What selections mean, against plain loops.

use ogive_graph::DType;
use ogive_lang::{NoImports, Settings, Spec, elaborate, lower};
use ogive_runtime::{Backend, Bindings, Data, Dim, Draw, Interpreter, Options, Store, Tensor};
use proptest::prelude::*;

const SPEC: &str = "
block chosen[point, expert](score: [point, expert], k: int) -> one: [point] {
  pick = top(k, score, over: expert)
  one  = sum(score[pick], over: expert)
  tap pick = pick
}
block whole[point, row, col](a: [point, row], b: [point, col], k: int) -> y: [point] {
  score = spread(a, along: col) + b
  pick  = top(k, score, over: [row, col])
  y     = sum(score[pick], over: [row, col])
  tap pick = pick
}
block parts[point, row, col](a: [point, row], b: [point, col], k: int) -> y: [point] {
  score = a + b
  pick  = top(k, score, over: [row, col])
  y     = sum(score[pick], over: [row, col])
  tap pick = pick
}
block mixed[point, head, expert, model, width](
  x: [point, model], score: [point, head, expert], W: [expert, head, model, width], k: int
) -> y: [point, head, width] {
  pick = top(k, score, over: expert)
  y    = score[pick] @expert (x @model W[pick])
}
";

/// The outputs and taps of a block on single-precision tensors, each with its dims.
fn run(of: &str, k: usize, inputs: &[(&str, &[usize], Vec<f32>)]) -> std::collections::BTreeMap<String, Vec<f64>> {
    let (spec, _) = Spec::load("test.arch", SPEC.to_owned(), &NoImports);
    let settings = Settings { set: vec![("k".to_owned(), k.to_string())], ..Settings::default() };
    let shapes = inputs.iter().map(|(n, dims, _)| ((*n).to_owned(), dims.iter().map(|d| *d as u64).collect())).collect();
    let (program, found) = elaborate::block_for_tensors(&spec, of, &settings, &shapes);
    let program = program.unwrap_or_else(|| panic!("{:?}", found.list));
    let lowered = lower::program(&program, &lower::Options { dtype: DType::F32, batch: None, taps: true });
    let bindings: Bindings = lowered
        .inputs
        .iter()
        .map(|input| {
            let (_, _, data) = inputs.iter().find(|(n, ..)| *n == input.name).expect("an input");
            let dims = input.dims.iter().map(|d| Dim { name: d.name.clone(), size: d.size as usize }).collect();
            (input.name.clone(), Tensor { dims, data: Data::F32(data.clone()) })
        })
        .collect();
    let mut executable = Interpreter.compile(&lowered.graph, &Options::default()).expect("a program");
    executable.run(&mut Store::default(), &bindings, Draw { seed: 1, step: 0 }).expect("a run");
    lowered.outputs.iter().map(|o| (o.name.clone(), executable.output(&o.name).expect("an output").to_f64())).collect()
}

/// The k largest, ties to the lowest position, in ascending order.
fn largest(scores: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order.truncate(k);
    order.sort_unstable();
    order
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn floats(whole: &[i32]) -> Vec<f32> {
    whole.iter().map(|&x| x as f32 / 4.0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_largest_are_chosen_and_ties_go_to_the_lowest(scores in prop::collection::vec(-3..4i32, 5 * 7), k in 1..8usize) {
        let scores = floats(&scores);
        let found = run("chosen", k, &[("score", &[5, 7], scores.clone())]);
        for point in 0..5 {
            let own = &scores[point * 7..][..7];
            let wanted = largest(own, k);
            let sum: f32 = wanted.iter().map(|&i| own[i]).sum();
            let chosen: Vec<usize> = found["pick"][point * k..][..k].iter().map(|&x| x as usize).collect();
            prop_assert_eq!(chosen, wanted);
            prop_assert!((found["one"][point] - f64::from(sum)).abs() < 1e-5);
        }
    }

    #[test]
    fn a_product_is_chosen_from_as_if_all_of_it_were_formed(
        a in prop::collection::vec(-4..5i32, 3 * 4), b in prop::collection::vec(-4..5i32, 3 * 5), k in 1..20usize
    ) {
        let inputs: [(&str, &[usize], Vec<f32>); 2] = [("a", &[3, 4], floats(&a)), ("b", &[3, 5], floats(&b))];
        prop_assert_eq!(run("parts", k, &inputs), run("whole", k, &inputs));
    }

    #[test]
    fn chosen_weights_are_applied_for_each_head(seed in prop::collection::vec(-8..9i32, 2 * 3 + 2 * 2 * 4 + 4 * 2 * 3 * 2), k in 1..5usize) {
        let all = floats(&seed);
        let (x, rest) = all.split_at(6);
        let (score, w) = rest.split_at(16);
        let found = run("mixed", k, &[("x", &[2, 3], x.to_vec()), ("score", &[2, 2, 4], score.to_vec()), ("W", &[4, 2, 3, 2], w.to_vec())]);
        for point in 0..2 {
            for head in 0..2 {
                let own = &score[(point * 2 + head) * 4..][..4];
                for width in 0..2 {
                    let term = |e: usize| own[e] * (0..3).map(|m| x[point * 3 + m] * w[((e * 2 + head) * 3 + m) * 2 + width]).sum::<f32>();
                    let wanted: f32 = largest(own, k).into_iter().map(term).sum();
                    prop_assert!((found["y"][(point * 2 + head) * 2 + width] - f64::from(wanted)).abs() < 1e-4);
                }
            }
        }
    }
}
