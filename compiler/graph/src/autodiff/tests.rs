use super::GradError;
use super::reverse::{gradients, vjp};
use crate::entity::Value;
use crate::graph::{Graph, Region};
use crate::op::{Loop, MapFn, Op};
use crate::parse::parse;
use crate::text::print_plain;
use crate::verify::verify;

/// A stack of pre-norm transformer layers without gains, over `depth` layers.
fn layers(depth: u64) -> Graph {
    let text = format!(
        "axis seq = 8\naxis src = 8\naxis model = 16\naxis head = 2\naxis key = 8\naxis value = 8\naxis ff = 64\naxis depth = {depth}\n
%0 = input x : f32[seq, model]
%1 = param wq : f32[depth, model, head, key]
%2 = param wk : f32[depth, model, head, key]
%3 = param wv : f32[depth, model, head, value]
%4 = param wo : f32[depth, head, value, model]
%5 = param w1 : f32[depth, model, ff]
%6 = param b1 : f32[depth, ff]
%7 = param w2 : f32[depth, ff, model]
%8 = iota depth : i32[depth]
%9 = repeat along depth carry [%0] stacked [%1, %2, %3, %4, %5, %6, %7, %8] with [] : f32[seq, model] {{
  %0 = argument 0 : f32[seq, model]
  %1 = argument 1 : f32[model, head, key]
  %2 = argument 2 : f32[model, head, key]
  %3 = argument 3 : f32[model, head, value]
  %4 = argument 4 : f32[model, head, value]
  %5 = argument 5 : f32[model, ff]
  %6 = argument 6 : f32[ff]
  %7 = argument 7 : f32[model, ff]
  %8 = argument 8 : i32[]
  %9 = const 0.0625 : f32[]
  %10 = const 1e-5 : f32[]
  %11 = sum %0 over [model] : f32[seq]
  %12 = mul %11, %9 : f32[seq]
  %13 = sub %0, %12 : f32[seq, model]
  %14 = mul %13, %13 : f32[seq, model]
  %15 = sum %14 over [model] : f32[seq]
  %16 = mul %15, %9 : f32[seq]
  %17 = add %16, %10 : f32[seq]
  %18 = rsqrt %17 : f32[seq]
  %19 = mul %13, %18 : f32[seq, model]
  %20 = rename %19 [seq as src] : f32[src, model]
  %21 = contract %19, %1 over [model] : f32[seq, head, key]
  %22 = contract %20, %2 over [model] : f32[src, head, key]
  %23 = contract %20, %3 over [model] : f32[src, head, value]
  %24 = attend %21, %22, %23 query seq source src key key value value scale 0.5 causal 0 : f32[seq, head, value]
  %25 = project 0 of %24 : f32[seq, head, value]
  %26 = contract %25, %4 over [head, value] : f32[seq, model]
  %27 = uniform site 3 order [seq, model] at [%8] : f32[seq, model]
  %28 = const 0.9 : f32[]
  %29 = const 0.0 : f32[]
  %30 = lt %27, %28 : bool[seq, model]
  %31 = where %30, %26, %29 : f32[seq, model]
  %32 = add %0, %31 : f32[seq, model]
  %33 = contract %32, %5 over [model] : f32[seq, ff]
  %34 = add %33, %6 : f32[seq, ff]
  %35 = const 0.7071067811865476 : f32[]
  %36 = const 1.0 : f32[]
  %37 = mul %34, %35 : f32[seq, ff]
  %38 = erf %37 : f32[seq, ff]
  %39 = add %38, %36 : f32[seq, ff]
  %40 = mul %34, %39 : f32[seq, ff]
  %41 = contract %40, %7 over [ff] : f32[seq, model]
  %42 = add %32, %41 : f32[seq, model]
  yield [%42] collect []
}}
%10 = project 0 of %9 : f32[seq, model]
%11 = mul %10, %10 : f32[seq, model]
%12 = sum %11 over [seq, model] : f32[]
"
    );
    parse(&text).unwrap_or_else(|e| panic!("{e}"))
}

fn differentiated(graph: &Graph) -> Graph {
    let params = graph.region.nodes.iter().enumerate().filter(|(_, n)| matches!(n.op, Op::Param(_)));
    let wrt: Vec<Value> = params.map(|(i, _)| Value(i as u32)).collect();
    let last = Value(graph.region.nodes.len() as u32 - 1);
    let found = gradients(graph, last, &wrt).unwrap_or_else(|e| panic!("{e}"));
    assert!(found.cotangents.iter().all(Option::is_some));
    verify(&found.graph).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&found.graph)));
    found.graph
}

fn loops(region: &Region) -> Vec<&Loop> {
    region.nodes.iter().filter_map(|n| if let Op::Loop(l) = &n.op { Some(&**l) } else { None }).collect()
}

fn count(region: &Region, of: impl Fn(&Op) -> bool + Copy) -> usize {
    let inside: usize = loops(region).iter().map(|l| count(&l.body, of)).sum();
    inside + region.nodes.iter().filter(|n| of(&n.op)).count()
}

/// Elements per iteration that the first loop collects beyond what it collected before.
fn kept(graph: &Graph, before: usize) -> Vec<u64> {
    let body = &loops(&graph.region)[0].body;
    body.results[before..].iter().map(|&r| graph.elements(&body.ty(r).shape)).collect()
}

#[test]
fn the_number_of_nodes_does_not_depend_on_the_depth() {
    let (few, many) = (differentiated(&layers(2)), differentiated(&layers(1000)));
    assert_eq!(count(&few.region, |_| true), count(&many.region, |_| true));
    assert_eq!(loops(&many.region).len(), 2);
}

#[test]
fn a_transformer_layer_keeps_what_cannot_be_recomputed_cheaply() {
    let graph = differentiated(&layers(4));
    let (seq, model, ff, head) = (8, 16, 64, 2);
    let mut found = kept(&graph, 1);
    found.sort_unstable();
    // Mean, inverse deviation; logsumexp of each head; x, q, k, v, mix, x after attention; the hidden layer before its activation.
    let mut expected = vec![seq, seq, seq * head];
    expected.extend([seq * model; 6]);
    expected.push(seq * ff);
    assert_eq!(found, expected, "{}", print_plain(&graph));
}

#[test]
fn dropout_is_drawn_again_rather_than_kept() {
    let graph = differentiated(&layers(4));
    let forward = loops(&graph.region)[0];
    assert!(forward.body.results.iter().all(|&r| forward.body.ty(r).dtype.is_float()));
    assert_eq!(count(&graph.region, |op| matches!(op, Op::Random(_))), 2);
}

#[test]
fn each_contraction_has_at_most_two_more_behind_it() {
    let graph = differentiated(&layers(4));
    // Six in the layer, each with a product for its weight and one for its input.
    assert_eq!(count(&graph.region, |op| matches!(op, Op::Contract(_))), 6 + 12);
    assert_eq!(count(&graph.region, |op| matches!(op, Op::Attend(_))), 1);
    assert_eq!(count(&graph.region, |op| matches!(op, Op::AttendGrad(_))), 1);
}

#[test]
fn old_values_keep_their_ids_and_types() {
    let graph = layers(3);
    let after = differentiated(&graph);
    for (old, new) in graph.region.nodes.iter().zip(&after.region.nodes) {
        assert_eq!((&old.inputs, &old.ty, &old.origin), (&new.inputs, &new.ty, &new.origin));
        assert!(old.op == new.op || matches!(old.op, Op::Loop(_)));
    }
}

#[test]
fn an_element_wise_cell_keeps_its_state_alone() {
    let text = "axis time = 9\naxis model = 4\n
%0 = param x : f32[time, model]
%1 = param u : f32[model]
%2 = param h : f32[model]
%3 = param c : f32[model]
%4 = scan along time carry [%2, %3] stacked [%0] with [%1] : f32[model] {
  %0 = argument 0 : f32[model]
  %1 = argument 1 : f32[model]
  %2 = argument 2 : f32[model]
  %3 = argument 3 : f32[model]
  %4 = mul %0, %3 : f32[model]
  %5 = add %4, %2 : f32[model]
  %6 = sigmoid %5 : f32[model]
  %7 = tanh %5 : f32[model]
  %8 = mul %1, %6 : f32[model]
  %9 = add %8, %7 : f32[model]
  %10 = tanh %9 : f32[model]
  %11 = mul %6, %10 : f32[model]
  yield [%11, %9] collect [%11]
}
%5 = project 2 of %4 : f32[time, model]
%6 = sum %5 over [time, model] : f32[]
";
    let graph = differentiated(&parse(text).unwrap());
    assert_eq!(kept(&graph, 3), [4, 4]);
}

#[test]
fn the_weights_of_a_recurrence_get_their_gradient_in_one_contraction_after_the_loop() {
    let text = "axis time = 9\naxis batch = 2\naxis model = 16\naxis from = 16\n
%0 = param x : f32[time, batch, model]
%1 = param w : f32[from, model]
%2 = param h : f32[batch, model]
%3 = scan along time carry [%2] stacked [%0] with [%1] : f32[batch, model] {
  %0 = argument 0 : f32[batch, model]
  %1 = argument 1 : f32[batch, model]
  %2 = argument 2 : f32[from, model]
  %3 = rename %0 [model as from] : f32[batch, from]
  %4 = contract %3, %2 over [from] : f32[batch, model]
  %5 = add %4, %1 : f32[batch, model]
  %6 = tanh %5 : f32[batch, model]
  yield [%6] collect [%6]
}
%4 = project 1 of %3 : f32[time, batch, model]
%5 = sum %4 over [time, batch, model] : f32[]
";
    let graph = differentiated(&parse(text).unwrap());
    let backward = loops(&graph.region)[1];
    assert_eq!(backward.carries, 1, "{}", print_plain(&graph));
    assert_eq!(count(&backward.body, |op| matches!(op, Op::Contract(_))), 1);
    let time_and_batch = |op: &Op| matches!(op, Op::Contract(over) if over.len() == 2);
    assert_eq!(graph.region.nodes.iter().filter(|n| time_and_batch(&n.op)).count(), 1);
    // The state before each step, renamed; the new state is collected already.
    assert_eq!(kept(&graph, 2).len(), 1);
}

#[test]
fn nothing_is_multiplied_by_one_or_added_to_zero() {
    let graph = differentiated(&layers(2));
    let plain = |region: &Region| {
        region.nodes.iter().filter(|n| matches!(n.op, Op::Map(MapFn::Mul | MapFn::Add))).all(|n| {
            n.inputs.iter().all(|v| {
                let Op::Const(crate::op::Scalar::Float(c)) = region.node(*v).op else { return true };
                c != 0.0 && (c != 1.0 || n.op == Op::Map(MapFn::Add))
            })
        })
    };
    assert!(plain(&graph.region));
    assert!(loops(&graph.region).iter().all(|l| plain(&l.body)));
}

#[test]
fn what_does_not_depend_on_anything_asked_for_has_no_cotangent() {
    let text = "axis a = 2\n%0 = param x : f32[a]\n%1 = param z : f32[a]\n%2 = stop_gradient %0 : f32[a]\n\
                %3 = mul %2, %1 : f32[a]\n%4 = sum %3 over [a] : f32[]\n";
    let graph = parse(text).unwrap();
    let found = gradients(&graph, Value(4), &[Value(0), Value(1)]).unwrap();
    assert_eq!(found.cotangents[0], None);
    assert!(found.cotangents[1].is_some());
}

#[test]
fn gradients_of_tensors_and_ill_fitting_seeds_are_refused() {
    let graph = parse("axis a = 2\naxis b = 2\n%0 = param x : f32[a]\n%1 = iota b : i32[b]\n%2 = cast %1 : f32[b]\n").unwrap();
    assert!(matches!(gradients(&graph, Value(0), &[Value(0)]), Err(GradError::NotScalar { value: 0, axes: 1, .. })));
    assert!(matches!(gradients(&graph, Value(1), &[Value(0)]), Err(GradError::NotScalar { .. })));
    assert!(matches!(vjp(&graph, &[(Value(0), Value(2))], &[Value(0)]), Err(GradError::Seed { value: 0, direction: 2 })));
}

#[test]
fn points_are_selected_and_sorted_once_for_both_directions() {
    let text = "axis depth = 4\naxis t = 64\naxis d = 32\naxis e = 8\naxis f = 16\naxis k = 2\n\
        %0 = input x : f32[t, d]\n%1 = param choice : f32[d, e]\n%2 = param up : f32[e, d, f]\n%3 = param down : f32[e, f, d]\n\
        %4 = repeat along depth carry [%0] stacked [] with [%1, %2, %3] : f32[t, d] {\n\
        %0 = argument 0 : f32[t, d]\n%1 = argument 1 : f32[d, e]\n%2 = argument 2 : f32[e, d, f]\n%3 = argument 3 : f32[e, f, d]\n\
        %4 = contract %0, %1 over [d] : f32[t, e]\n%5 = top %4 over [e] as k : i32[t, k]\n\
        %6 = route %5 along e shared [] order [t, k] : i32[t, k]\n%7 = project 0 of %6 : i32[t, k]\n%8 = project 1 of %6 : i32[e]\n\
        %9 = routed %0, %2, %5, %7, %8 along e over [d] : f32[t, k, f]\n%10 = tanh %9 : f32[t, f, k]\n\
        %11 = gather %4, %5 along e : f32[t, k]\n%12 = mul %10, %11 : f32[t, f, k]\n\
        %13 = routed %12, %3, %5, %7, %8 along e over [k, f] : f32[t, d]\n%14 = add %0, %13 : f32[t, d]\nyield [%14] collect []\n}\n\
        %5 = project 0 of %4 : f32[t, d]\n%6 = sum %5 over [t, d] : f32[]\noutput loss [] = %6\n";
    let graph = differentiated(&parse(text).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(count(&graph.region, |op| matches!(op, Op::TopK { .. })), 1);
    assert_eq!(count(&graph.region, |op| matches!(op, Op::Route { .. })), 1);
    // Each product has one for its rows and one for its weights.
    assert_eq!(count(&graph.region, |op| matches!(op, Op::Routed { .. })), 4);
    assert_eq!(count(&graph.region, |op| matches!(op, Op::RoutedOuter { .. })), 2);
    let kept: Vec<&Loop> = loops(&graph.region);
    let ints = kept[0].body.results.iter().filter(|&&r| !kept[0].body.ty(r).dtype.is_float()).count();
    assert_eq!(ints, 3, "positions, sequence and ends");
}
