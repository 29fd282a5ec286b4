//! What a graph costs before anything runs: multiply-adds, floating-point operations and elements moved, each as an exact number and as a
//! formula in the sizes of axes.
//!
//! Operations are counted as if each ran alone: it reads its operands and writes its result. Views (renaming, splitting, merging,
//! projections) and ports move nothing. A multiply-add is two operations; every other element-wise function or reduction step is one;
//! softmax is five a score. Loops count their body once per iteration.

use crate::entity::{AxisId, Value};
use crate::formula::Formula;
use crate::graph::{Graph, Node, Region};
use crate::op::{Attention, MapFn, Op};
use crate::shape::Shape;
use crate::text::labels;

/// A number of things: exact (saturating at the largest u128), and as a formula.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Amount {
    /// For the sizes that the axes have.
    pub number: u128,
    /// For any sizes.
    pub formula: Formula,
}

impl Amount {
    fn of(n: u64) -> Amount {
        Amount { number: n.into(), formula: Formula::number(n) }
    }

    fn plus(mut self, other: &Amount) -> Amount {
        self.number = self.number.saturating_add(other.number);
        self.formula += &other.formula;
        self
    }

    fn times(&self, other: &Amount) -> Amount {
        Amount { number: self.number.saturating_mul(other.number), formula: &self.formula * &other.formula }
    }
}

/// What an operation, a region or a graph does.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Multiply-adds of contractions.
    pub macs: Amount,
    /// Arithmetic operations, those of the multiply-adds included.
    pub flops: Amount,
    /// Elements read.
    pub read: Amount,
    /// Elements written.
    pub written: Amount,
}

impl Cost {
    /// Both.
    #[must_use]
    pub fn plus(self, other: &Cost) -> Cost {
        Cost {
            macs: self.macs.plus(&other.macs),
            flops: self.flops.plus(&other.flops),
            read: self.read.plus(&other.read),
            written: self.written.plus(&other.written),
        }
    }

    fn times(&self, n: &Amount) -> Cost {
        let [macs, flops, read, written] = [&self.macs, &self.flops, &self.read, &self.written].map(|a| a.times(n));
        Cost { macs, flops, read, written }
    }
}

/// How to count.
#[derive(Clone, Debug)]
pub struct Counting {
    /// Count all pairs of positions in causal attention, as papers do, not only those that are computed.
    pub masked: bool,
    /// What each axis is called in formulas, by id.
    pub symbols: Vec<Formula>,
}

impl Counting {
    /// Computed pairs only, and [`symbols`].
    pub fn of(graph: &Graph) -> Counting {
        Counting { masked: false, symbols: symbols(graph) }
    }
}

/// Cost of one node, once.
#[derive(Clone, Debug)]
pub struct NodeCost {
    /// The loop nodes that lead to its region.
    pub region: Vec<Value>,
    /// The node.
    pub node: Value,
    /// How often it runs.
    pub times: Amount,
    /// What it does in one run of its region; for a loop, nothing of its own.
    pub cost: Cost,
}

/// Cost of a graph.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All of it.
    pub total: Cost,
    /// Every node, loops before their bodies.
    pub nodes: Vec<NodeCost>,
}

/// Counts a graph.
pub fn cost(graph: &Graph, counting: &Counting) -> Report {
    let counter = Counter { graph, counting };
    let mut report = Report::default();
    counter.region(&graph.region, &mut Vec::new(), &Amount::of(1), &mut report);
    report
}

/// Counts one node of a region, once; a loop with all its iterations.
pub fn node_cost(graph: &Graph, region: &Region, node: Value, counting: &Counting) -> Cost {
    let counter = Counter { graph, counting };
    let node = region.node(node);
    match &node.op {
        Op::Loop(l) => {
            let mut report = Report::default();
            counter.region(&l.body, &mut Vec::new(), &counter.size(l.axis), &mut report);
            report.total
        }
        _ => counter.node(region, node),
    }
}

/// A symbol for each axis: its label, where axes that are renamed into one another, or have the same name and size, share the first's.
pub fn symbols(graph: &Graph) -> Vec<Formula> {
    let mut class: Vec<usize> = (0..graph.axes.len()).collect();
    for (i, axis) in graph.axes.iter().enumerate() {
        if let Some(first) = graph.axes[..i].iter().position(|a| a == axis) {
            unite(&mut class, first, i);
        }
    }
    join_renamed(&graph.region, &mut class);
    let labels = labels(&graph.axes);
    (0..graph.axes.len()).map(|i| Formula::symbol(&labels[root(&class, i)])).collect()
}

fn root(class: &[usize], mut at: usize) -> usize {
    while class[at] != at {
        at = class[at];
    }
    at
}

fn unite(class: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(class, a), root(class, b));
    class[a.max(b)] = a.min(b);
}

fn join_renamed(region: &Region, class: &mut [usize]) {
    for node in &region.nodes {
        match &node.op {
            Op::Rename(pairs) => pairs.iter().for_each(|(from, to)| unite(class, from.index(), to.index())),
            Op::Loop(l) => join_renamed(&l.body, class),
            _ => {}
        }
    }
}

struct Counter<'g> {
    graph: &'g Graph,
    counting: &'g Counting,
}

impl Counter<'_> {
    fn region(&self, region: &Region, path: &mut Vec<Value>, times: &Amount, report: &mut Report) {
        for (i, node) in region.nodes.iter().enumerate() {
            let here = Value(i as u32);
            let cost = self.node(region, node);
            report.total = std::mem::take(&mut report.total).plus(&cost.times(times));
            report.nodes.push(NodeCost { region: path.clone(), node: here, times: times.clone(), cost });
            if let Op::Loop(l) = &node.op {
                path.push(here);
                self.region(&l.body, path, &times.times(&self.size(l.axis)), report);
                path.pop();
            }
        }
    }

    fn size(&self, axis: AxisId) -> Amount {
        let formula = self.counting.symbols.get(axis.index()).cloned();
        Amount { number: self.graph.size(axis).into(), formula: formula.unwrap_or_else(|| Formula::number(self.graph.size(axis))) }
    }

    fn elements(&self, shape: &Shape) -> Amount {
        shape.iter().fold(Amount::of(1), |product, a| product.times(&self.size(a)))
    }

    /// A node by itself; nothing for a loop.
    fn node(&self, region: &Region, node: &Node) -> Cost {
        let none = Amount::default;
        let operand = |i: usize| self.elements(&region.ty(node.inputs[i]).shape);
        let operands = || (0..node.inputs.len()).fold(none(), |sum, i| sum.plus(&operand(i)));
        let result = self.elements(&node.ty.shape);
        let plain = |flops: Amount| Cost { macs: none(), flops, read: operands(), written: result.clone() };
        match &node.op {
            Op::Input(_) | Op::Param(_) | Op::Argument(_) | Op::Const(_) => Cost::default(),
            Op::Rename(_) | Op::Split { .. } | Op::Merge { .. } | Op::Project(_) | Op::Loop(_) => Cost::default(),
            Op::Iota(_) | Op::Pad { .. } | Op::Concat { .. } => plain(none()),
            Op::Random(_) => plain(result.clone()),
            Op::Map(MapFn::Cast | MapFn::StopGradient) => plain(none()),
            Op::Map(_) => plain(result.clone()),
            Op::Reduce(..) | Op::ArgMax(_) => plain(operand(0)),
            Op::Contract(_) => {
                let macs = self.elements(&region.ty(node.inputs[0]).shape.union(&region.ty(node.inputs[1]).shape));
                Cost { flops: macs.times(&Amount::of(2)), macs, read: operands(), written: result }
            }
            Op::Solve { row, .. } => {
                // Each element takes products with those before it: on average with half of them.
                let pairs = result.times(&self.size(*row));
                Cost { macs: none(), flops: pairs, read: operands(), written: result }
            }
            Op::Slice { .. } => Cost { read: result.clone(), ..plain(none()) },
            Op::Gather(_) => Cost { read: result.clone().plus(&operand(1)), ..plain(none()) },
            Op::ScatterAdd { .. } => plain(operand(1)),
            Op::TopK { .. } => plain(operands()),
            Op::Route { axis, shared, .. } => {
                let ends = self.elements(&shared.iter().copied().collect::<Shape>().with(*axis));
                Cost { written: result.clone().plus(&ends), ..plain(none()) }
            }
            Op::Routed { axis, .. } | Op::RoutedOuter { axis, .. } => {
                let shape = |i: usize| &region.ty(node.inputs[i]).shape;
                let macs = self.elements(&shape(0).union(&shape(1).without(*axis)).union(shape(2)));
                Cost { flops: macs.times(&Amount::of(2)), macs, read: operands(), written: result }
            }
            Op::Softmax(_) => plain(operand(0).times(&Amount::of(5))),
            Op::LogSumExp(_) => plain(operand(0).times(&Amount::of(4)).plus(&result.times(&Amount::of(2)))),
            Op::Attend(a) => {
                let scores = self.scores(a, &region.ty(node.inputs[0]).shape);
                let macs = scores.times(&self.size(a.key).plus(&self.size(a.value)));
                let flops = macs.times(&Amount::of(2)).plus(&scores.times(&Amount::of(5 + u64::from(a.scale != 1.0))));
                let lse = self.elements(&region.ty(node.inputs[0]).shape.without(a.key));
                Cost { macs, flops, read: operands(), written: result.plus(&lse) }
            }
            Op::AttendGrad(a) => {
                let scores = self.scores(a, &region.ty(node.inputs[0]).shape);
                let width = self.size(a.key).times(&Amount::of(3)).plus(&self.size(a.value).times(&Amount::of(2)));
                let macs = scores.times(&width);
                let flops = macs.times(&Amount::of(2)).plus(&scores.times(&Amount::of(4 + u64::from(a.scale != 1.0))));
                let written = operand(0).plus(&operand(1)).plus(&operand(2));
                Cost { macs, flops, read: operands(), written }
            }
        }
    }

    /// How many scores attention computes.
    fn scores(&self, a: &Attention, q: &Shape) -> Amount {
        let shared = self.elements(&q.without(a.key).without(a.query));
        let (n, m) = (self.size(a.query), self.size(a.source));
        let pairs = match a.causal {
            Some(offset) if !self.counting.masked && offset >= 0 => visible(&n, &m, offset.unsigned_abs()),
            _ => n.times(&m),
        };
        shared.times(&pairs)
    }
}

/// The sum over i < n of min(i + offset + 1, m).
fn visible(n: &Amount, m: &Amount, offset: u64) -> Amount {
    let [wide_n, wide_m, wide] = [n.number, m.number, u128::from(offset)];
    // The first queries see a growing part, from `full` on all see everything.
    let growing = wide_n.min(wide_m.saturating_sub(wide));
    let triangle = growing.saturating_mul(growing + 1) / 2;
    let number = growing.saturating_mul(wide).saturating_add(triangle).saturating_add((wide_n - growing).saturating_mul(wide_m));
    let half = Formula::fraction(1, 2);
    let triangle = &(&n.formula * &(n.formula.clone() + Formula::number(1))) * &half;
    let formula = if wide_n + wide == wide_m {
        // The offset is m - n: n * (m - n) + n * (n + 1) / 2.
        &n.formula * &(m.formula.clone() - n.formula.clone()) + triangle
    } else if growing == wide_n {
        &n.formula * &Formula::number(offset) + triangle
    } else {
        Formula::number(u64::try_from(number).unwrap_or(u64::MAX))
    };
    Amount { number, formula }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse::parse, sample};

    fn total(text: &str, masked: bool) -> Cost {
        let graph = parse(text).unwrap_or_else(|e| panic!("{e}"));
        crate::verify::verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        cost(&graph, &Counting { masked, ..Counting::of(&graph) }).total
    }

    const ATTEND: &str = "axis seq = 4\naxis src = 4\naxis head = 3\naxis key = 5\n%0 = input x : f32[seq, head, key]\n\
        %1 = rename %0 [seq as src] : f32[src, head, key]\n%2 = attend %0, %1, %1 query seq source src key key value key scale 1.0 causal 0 : f32[seq, head, key]\n";

    #[test]
    fn a_projection_costs_the_product_of_all_its_axes() {
        let c = total(
            "axis seq = 8\naxis model = 16\naxis head = 2\n%0 = input x : f32[seq, model]\n%1 = param w : f32[model, head]\n\
             %2 = contract %0, %1 over [model] : f32[seq, head]\n",
            false,
        );
        assert_eq!((c.macs.number, c.flops.number, c.read.number, c.written.number), (256, 512, 160, 16));
        assert_eq!(c.macs.formula.to_string(), "head*model*seq");
        assert_eq!(c.read.formula.to_string(), "head*model + model*seq");
    }

    #[test]
    fn a_loop_costs_its_body_once_per_iteration() {
        let c = total(
            "axis depth = 6\naxis model = 4\n%0 = input x : f32[model]\n%1 = repeat along depth carry [%0] stacked [] with [] : f32[model] {\n\
             %0 = argument 0 : f32[model]\n%1 = tanh %0 : f32[model]\nyield [%1] collect []\n}\n",
            false,
        );
        assert_eq!(c.flops.number, 24);
        assert_eq!(c.flops.formula.to_string(), "depth*model");
    }

    #[test]
    fn causal_attention_counts_the_pairs_it_computes_or_all_of_them() {
        let computed = total(ATTEND, false);
        assert_eq!(computed.macs.number, 10 * 3 * 10);
        assert_eq!(computed.macs.formula.to_string(), "head*key*seq^2 + head*key*seq");
        let all = total(ATTEND, true);
        assert_eq!(all.macs.number, 16 * 3 * 10);
        assert_eq!(all.macs.formula.to_string(), "2*head*key*seq^2");
    }

    #[test]
    fn pairs_are_counted_right_for_every_offset() {
        for (n, m, offset) in [(4, 4, 0), (4, 12, 8), (3, 12, 2), (5, 4, 0), (6, 4, 2), (2, 3, 9)] {
            let expected: u128 = (0..n).map(|i| u128::from((i + offset + 1).min(m))).sum();
            let amount = |name: &str, size: u64| Amount { number: size.into(), formula: Formula::symbol(name) };
            let pairs = visible(&amount("n", n), &amount("m", m), offset);
            assert_eq!(pairs.number, expected, "{n} {m} {offset}");
            let value = pairs.formula.value(&|name| Some(if name == "n" { n as f64 } else { m as f64 }));
            assert_eq!(value, Some(expected as f64), "{n} {m} {offset}");
        }
    }

    #[test]
    fn numbers_and_formulas_agree_on_any_graph() {
        for seed in 0..200 {
            let graph = sample::graph(seed, 40);
            let labels = labels(&graph.axes);
            let size = |name: &str| labels.iter().position(|l| l == name).map(|i| graph.axes[i].size as f64);
            let Cost { macs, flops, read, written } = cost(&graph, &Counting::of(&graph)).total;
            for amount in [macs, flops, read, written] {
                let value = amount.formula.value(&size).unwrap_or(f64::NAN);
                assert!((value - amount.number as f64).abs() <= 1e-6 * (1.0 + value.abs()), "{seed}: {value} {}", amount.number);
            }
        }
    }

    #[test]
    fn enormous_sizes_saturate_and_do_not_wrap() {
        let axes: String = (0..5).map(|i| format!("axis a{i} = 1099511627776\n")).collect();
        let c = total(&format!("{axes}%0 = input x : f32[a0, a1, a2, a3, a4]\n%1 = neg %0 : f32[a0, a1, a2, a3, a4]\n"), false);
        assert_eq!(c.flops.number, u128::MAX);
        assert_eq!(c.flops.formula.to_string(), "a0*a1*a2*a3*a4");
    }
}
