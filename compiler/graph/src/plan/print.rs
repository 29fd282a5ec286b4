//! A plan as text: the arena as a map over time, then the program, kernels written as loop nests.
//!
//! ```text
//! arena 4194304 bytes
//!   b3 f32[524288] at 0, steps 2 to 5: %7
//! program
//!   mul add (layer): for row in 2048: for i in 256:
//!     r0 = b0[row * 256 + i]
//!     ...
//! ```

use super::{Place, Plan, Slot, Step};
use crate::kernel::{Access, Instr, RowOp, Rows, Runs, Work};
use crate::op::Scalar;
use std::fmt::Write;

/// The text of a plan.
pub fn print(plan: &Plan) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "arena {} bytes", plan.arena);
    for (i, b) in plan.buffers.iter().enumerate() {
        let place = match b.place {
            Place::Arena(at) => format!("at {at}, steps {} to {}", b.life.0, b.life.1),
            Place::Local(at) => format!("local at {at}, steps {} to {}", b.life.0, b.life.1),
            Place::Store(_) => "in the store".into(),
            Place::Input(_) => "given".into(),
            Place::Output(_) => "returned".into(),
        };
        let _ = writeln!(out, "  b{i} {}[{}] {place}: {}", b.dtype, b.elements, b.name);
    }
    out.push_str("program\n");
    steps(plan, &plan.steps, 1, &mut out);
    out
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print(self))
    }
}

fn steps(plan: &Plan, list: &[Step], depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    for step in list {
        match step {
            Step::Loop { id, times, reverse, apart, body } => {
                let order = if *apart {
                    format!("0 to {}, apart", times - 1)
                } else if *reverse {
                    format!("{} down to 0", times - 1)
                } else {
                    format!("0 to {}", times - 1)
                };
                let _ = writeln!(out, "{pad}for t{id} from {order}:");
                steps(plan, body, depth + 1, out);
            }
            Step::Launch { kernel, args } => {
                let k = &plan.kernels[*kernel as usize];
                let names: Vec<String> = args.iter().map(slot).collect();
                let place = if k.origin.path.is_empty() { String::new() } else { format!(" ({})", k.origin.path) };
                let _ = writeln!(out, "{pad}k{kernel} {}{place}: {}", k.title, head(&k.work, &names));
                if let Work::Rows(r) = &k.work {
                    for (i, instr) in r.instrs.iter().enumerate() {
                        let _ = writeln!(out, "{pad}  {}", line(r, i, instr, &names));
                    }
                }
            }
        }
    }
}

fn slot(s: &Slot) -> String {
    let mut at = String::new();
    if s.offset != 0 {
        let _ = write!(at, " + {}", s.offset);
    }
    for (id, stride) in &s.moves {
        let _ = write!(at, " + t{id} * {stride}");
    }
    for (id, stride) in &s.flips {
        let _ = write!(at, " + t{id} % 2 * {stride}");
    }
    if at.is_empty() { format!("b{}", s.buffer) } else { format!("(b{}{at})", s.buffer) }
}

fn head(work: &Work, names: &[String]) -> String {
    match work {
        Work::Rows(r) => {
            let sizes = |dims: &[u64]| dims.iter().map(u64::to_string).collect::<Vec<_>>().join(" x ");
            let outer = if r.outer.is_empty() { String::new() } else { format!("for row in {}: ", sizes(&r.outer)) };
            let inner = if r.inner.is_empty() { String::new() } else { format!("for i in {}: ", sizes(&r.inner)) };
            let block = r.block.map_or(String::new(), |b| format!("by {b}, "));
            format!("{outer}{inner}{block}{} chunks", r.chunks)
        }
        Work::Gemm(g) => {
            let batch: u64 = g.batch.iter().map(|l| l.size).product();
            let times = if batch > 1 { format!("{batch} times ") } else { String::new() };
            let [a, b, c] = [&names[0], &names[1], &names[2]];
            let onto = if g.adds { format!("{} + ", names[3]) } else { String::new() };
            format!("{c} = {onto}{a} {b}, {times}[{} x {}] [{} x {}], {} x {} parts", g.m, g.k, g.k, g.n, g.m_parts, g.n_parts)
        }
        Work::Attend(a) => {
            let heads: u64 = a.batch.iter().map(|d| d.0).product();
            let [query, source, key, value] = a.sizes;
            let causal = if a.causal.is_some() { ", causal" } else { "" };
            format!("{} over {heads} heads, query {query}, source {source}, key {key}, value {value}{causal}", names.join(" "))
        }
        Work::Solve(s) => {
            let all = |sizes: &mut dyn Iterator<Item = u64>| sizes.product::<u64>();
            let (systems, columns) = (all(&mut s.batch.iter().map(|d| d.0)), all(&mut s.columns.iter().map(|d| d.0)));
            format!("{} = {} \\ {}, {systems} systems of {} with {columns} columns", names[2], names[0], names[1], s.size)
        }
        Work::Scatter(s) => format!("{}[{}] += {}, {} positions", names[2], names[0], names[1], s.target.0),
        Work::TopK(t) => {
            let rows: u64 = t.rows.iter().map(|d| d.0).product();
            let sizes = |dims: &Vec<(u64, i64)>| dims.iter().map(|d| d.0.to_string()).collect::<Vec<_>>().join(" x ");
            let over = t.over.iter().map(sizes).collect::<Vec<_>>().join(" + ");
            let (out, scores) = names.split_last().map_or(("", String::new()), |(out, scores)| (out.as_str(), scores.join(" + ")));
            format!("{out} = top {} of {scores}, {rows} rows of {over}, {} chunks", t.k, t.chunks)
        }
        Work::Route(r) => {
            let [positions, sequence, ends] = [&names[0], &names[1], &names[2]];
            format!("{sequence}, {ends} = {} points of {positions} in {} runs", count(&r.sequence), count(&r.ends))
        }
        Work::Routed(r) => {
            let [x, w, out] = [&names[0], &names[1], &names[5]];
            let (sign, parts) = if r.add.is_some() { ("+=", "columns") } else { ("=", "rows") };
            let points = count(&r.runs.sequence);
            format!("{out} {sign} {x} {w}, {points} rows in {}, [{} x {}], {} parts of {parts}", runs(&r.runs), r.k, r.n, r.parts)
        }
        Work::RoutedRows(r) => {
            let dims = |list: &[(u64, [i64; 4])]| list.iter().map(|d| d.0).product::<u64>();
            let [x, w, positions, out] = [&names[0], &names[1], &names[2], &names[3]];
            let (rows, inner) = (dims(&r.rows), dims(&r.inner));
            format!("{out} = {x} {w}[{positions}], {rows} rows of {inner}, [{} x {}], {} chunks", r.k, r.n, r.chunks)
        }
        Work::RoutedOuter(r) => {
            let [x, y, out] = [&names[0], &names[1], &names[4]];
            let points = count(&r.runs.sequence);
            format!("{out} = {x} {y}, [{} x {points}] [{points} x {}] in {}, {} parts", r.m, r.n, runs(&r.runs), r.m_parts)
        }
        Work::Fold(f) => format!("{} = {} of {} parts of {}, {} elements", names[1], f.f.name(), f.chunks, names[0], f.len),
    }
}

fn count(dims: &[(u64, i64)]) -> u64 {
    dims.iter().map(|d| d.0).product()
}

fn runs(runs: &Runs) -> String {
    format!("{} runs", count(&runs.groups))
}

fn address(arg: &str, at: &Access) -> String {
    let term = |name: &str, i: usize, many: bool, s: i64| {
        let name = if many { format!("{name}{i}") } else { name.to_owned() };
        if s == 1 { name } else { format!("{name} * {s}") }
    };
    let list = |name: &str, strides: &[i64]| -> Vec<String> {
        let many = strides.len() > 1;
        strides.iter().enumerate().filter(|(_, s)| **s != 0).map(|(i, &s)| term(name, i, many, s)).collect()
    };
    let terms: Vec<String> = list("row", &at.outer).into_iter().chain(list("i", &at.inner)).collect();
    if arg.is_empty() { terms.join(" + ") } else { format!("{arg}[{}]", terms.join(" + ")) }
}

fn line(rows: &Rows, i: usize, instr: &Instr, names: &[String]) -> String {
    let arg = |a: u32| names[a as usize].as_str();
    let regs = |list: &[u32]| list.iter().map(|r| format!("r{r}")).collect::<Vec<_>>().join(", ");
    let own = |text: String| format!("r{i} = {text}");
    match &instr.op {
        RowOp::Const(Scalar::Float(x)) => own(format!("{x:?}")),
        RowOp::Const(Scalar::Int(x)) => own(x.to_string()),
        RowOp::Const(Scalar::Bool(x)) => own(x.to_string()),
        RowOp::Load { arg: a, at } => own(address(arg(*a), at)),
        RowOp::Pick { arg: a, at, index, stride, .. } => own(format!("{} at r{index} * {stride}", address(arg(*a), at))),
        RowOp::Element { row, index, .. } => own(format!("r{row}[r{index}]")),
        RowOp::Iota { at } => own(address("", at)),
        RowOp::Random { distribution, inputs, at, .. } => own(format!("random {distribution:?} {} ({})", address("", at), regs(inputs))),
        RowOp::Map { f, args } => own(format!("{} {}", f.name(), regs(args))),
        RowOp::Fused { f, args } => own(format!("{} {}", f.name(), regs(args))),
        RowOp::Slope { of } => own(format!("slope of r{of}")),
        RowOp::Reduce { f, row } => own(format!("{} over i of r{row}", f.name())),
        RowOp::ArgMax { row } => own(format!("argmax over i of r{row}")),
        RowOp::Store { arg: a, at, value, .. } => format!("{} = r{value}", address(arg(*a), at)),
        RowOp::Accumulate { f, arg: a, value } => {
            let place = if rows.instrs[*value as usize].row { "[i]" } else { "" };
            format!("{}{place} {}= r{value}", arg(*a), f.name())
        }
    }
}
