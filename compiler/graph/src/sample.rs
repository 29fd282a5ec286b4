//! Well-typed graphs drawn from a seed, for the tests of this and other crates: small axes, names that occur twice, every operation.

use crate::build::Builder;
use crate::entity::{AxisId, Value};
use crate::graph::{Graph, Origin, Output, Region};
use crate::op::{Attention, Distribution, Loop, LoopKind, MapFn, Op, Port, Random, ReduceFn, Scalar};
use crate::route;
use crate::shape::{DType, Shape, Ty};
use crate::verify;

/// A verified graph of about `size` nodes. The same arguments give the same graph.
pub fn graph(seed: u64, size: usize) -> Graph {
    let mut g = Graph::default();
    for (name, n) in [("seq", 4), ("model", 6), ("head", 2), ("key", 3), ("src", 4), ("head", 3), ("wide", 8), ("depth", 2), ("a b", 3)] {
        g.axis(name, n);
    }
    let mut draw = Draw { state: seed };
    let mut region = Region::default();
    let mut maker = Maker { draw: &mut draw, ports: 0 };
    {
        let mut b = Builder::over(&mut g.axes, std::mem::take(&mut region));
        for dtype in [DType::F32, DType::F32, DType::I32, DType::Bool] {
            maker.port(&mut b, dtype);
        }
        maker.fill(&mut b, size, 2);
        region = b.region;
    }
    g.region = region;
    let readable: Vec<Value> =
        (0..g.region.nodes.len()).map(|i| Value(i as u32)).filter(|&v| !verify::is_multiple(&g.region.node(v).op)).collect();
    for i in 0..3 {
        let value = readable[readable.len() - 1 - maker.draw.below(readable.len().min(8))];
        let order: Vec<AxisId> = maker.draw.shuffled(&g.region.ty(value).shape);
        g.outputs.push(Output { port: Port { name: format!("out.{i}"), order }, value, update: false });
    }
    let params: Vec<(Port, Ty)> =
        g.region.nodes.iter().filter_map(|n| if let Op::Param(p) = &n.op { Some((p.clone(), n.ty.clone())) } else { None }).collect();
    for (port, ty) in params {
        if let Some(&value) = readable.iter().rev().find(|&&v| *g.region.ty(v) == ty) {
            g.outputs.push(Output { port, value, update: true });
        }
    }
    g
}

/// SplitMix64.
struct Draw {
    state: u64,
}

impl Draw {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        if items.is_empty() { None } else { Some(items[self.below(items.len())]) }
    }

    fn shuffled(&mut self, shape: &Shape) -> Vec<AxisId> {
        let mut axes: Vec<AxisId> = shape.iter().collect();
        for i in (1..axes.len()).rev() {
            axes.swap(i, self.below(i + 1));
        }
        axes
    }
}

struct Maker<'d> {
    draw: &'d mut Draw,
    ports: usize,
}

impl Maker<'_> {
    fn some_axes(&mut self, b: &Builder<'_>, most: usize) -> Vec<AxisId> {
        let shape: Shape = (0..self.draw.below(most + 1)).map(|_| AxisId(self.draw.below(b.axes.len().min(9)) as u32)).collect();
        self.draw.shuffled(&shape)
    }

    fn port(&mut self, b: &mut Builder<'_>, dtype: DType) -> Value {
        let order = self.some_axes(b, 3);
        let ty = Ty::new(dtype, order.iter().copied().collect());
        self.ports += 1;
        let name = format!("port.{}", self.ports);
        let port = Port { name, order };
        b.add_as(if self.draw.below(2) == 0 { Op::Input(port) } else { Op::Param(port) }, &[], Some(&ty))
    }

    fn fill(&mut self, b: &mut Builder<'_>, size: usize, depth: usize) {
        let end = b.region.nodes.len() + size;
        for _ in 0..size * 20 {
            if b.region.nodes.len() >= end {
                break;
            }
            let line = self.draw.below(40) as u32;
            b.origin = match line {
                0..5 => Origin::default(),
                _ => {
                    Origin { path: format!("layer.{}", line % 3).into(), file: "specs/some file.arch".into(), span: (line, line * 2), line }
                }
            };
            let before = b.region.nodes.len();
            self.one(b, depth);
            let small = |b: &Builder<'_>, v: usize| {
                let shape = &b.region.nodes[v].ty.shape;
                shape.rank() <= 5 && shape.iter().map(|a| b.axes[a.index()].size).product::<u64>() <= 2000
            };
            if (before..b.region.nodes.len()).any(|v| !small(b, v)) {
                b.region.nodes.truncate(before);
            }
        }
    }

    /// A readable value that satisfies the condition.
    fn value(&mut self, b: &Builder<'_>, accept: impl Fn(&Ty) -> bool) -> Option<Value> {
        let fits = |n: &crate::graph::Node| accept(&n.ty) && !verify::is_multiple(&n.op);
        let found: Vec<Value> = b.region.nodes.iter().enumerate().filter(|(_, n)| fits(n)).map(|(i, _)| Value(i as u32)).collect();
        self.draw.of(&found)
    }

    fn axes_of(&mut self, b: &Builder<'_>, value: Value) -> Vec<AxisId> {
        let shape = b.shape(value).clone();
        let mut axes = self.draw.shuffled(&shape);
        axes.truncate(1 + self.draw.below(axes.len()));
        axes
    }

    fn one(&mut self, b: &mut Builder<'_>, depth: usize) -> Option<()> {
        let float = |t: &Ty| t.dtype == DType::F32;
        let wide = |t: &Ty| t.dtype == DType::F32 && !t.shape.is_scalar();
        let int = |t: &Ty| t.dtype == DType::I32;
        match self.draw.below(28) {
            0 => {
                let dtype = [DType::F32, DType::I32, DType::Bool, DType::F64][self.draw.below(4)];
                let scalar = match dtype {
                    DType::I32 => Scalar::Int(self.draw.below(7) as i32 - 3),
                    DType::Bool => Scalar::Bool(self.draw.below(2) == 0),
                    _ => Scalar::Float([0.0, 1.0, -1.0, 0.5, 3.25, f64::NEG_INFINITY, -0.0, f64::NAN, 1e30][self.draw.below(9)]),
                };
                b.add_as(Op::Const(scalar), &[], Some(&Ty::scalar(dtype)));
            }
            1 => {
                let axis = AxisId(self.draw.below(9) as u32);
                b.add(Op::Iota(axis), &[]);
            }
            2 => {
                let inputs: Vec<Value> = self.value(b, |t| int(t) && t.shape.is_scalar()).into_iter().collect();
                let distribution = if self.draw.below(2) == 0 { Distribution::Uniform } else { Distribution::Normal };
                let random = Random { distribution, site: self.draw.next(), order: self.some_axes(b, 2) };
                let ty = Ty::new(DType::F32, random.order.iter().copied().collect());
                b.add_as(Op::Random(random), &inputs, Some(&ty));
            }
            3..9 => self.map(b)?,
            9 => {
                let x = self.value(b, wide)?;
                let over = self.axes_of(b, x);
                let f = self.draw.of(ReduceFn::ALL)?;
                b.add(Op::Reduce(f, over), &[x]);
            }
            10 => {
                let x = self.value(b, wide)?;
                let axis = self.axes_of(b, x)[0];
                b.add(Op::ArgMax(axis), &[x]);
            }
            11 | 12 => {
                let x = self.value(b, wide)?;
                let axis = self.axes_of(b, x)[0];
                let y = self.value(b, |t| float(t) && t.shape.contains(axis))?;
                b.add(Op::Contract(vec![axis]), &[x, y]);
            }
            26 | 27 => {
                let matrix = self.value(b, wide)?;
                let row = self.axes_of(b, matrix)[0];
                let col = self.partner(b, row, Shape::scalar())?;
                if !b.shape(matrix).contains(col) || col == row {
                    return None;
                }
                let side = self.value(b, |t| float(t) && t.shape.contains(row) && !t.shape.contains(col))?;
                b.add(Op::Solve { row, col, transposed: self.draw.below(2) == 0 }, &[matrix, side]);
            }
            13 => {
                let x = self.value(b, wide)?;
                let axis = self.axes_of(b, x)[0];
                let to = self.partner(b, axis, b.shape(x).clone())?;
                b.add(Op::Rename(vec![(axis, to)]), &[x]);
            }
            14 => {
                let (model, key, head) = (AxisId(1), AxisId(3), AxisId(2));
                let x = self.value(b, |t| t.shape.contains(model) && !t.shape.contains(key) && !t.shape.contains(head))?;
                let parts = if self.draw.below(2) == 0 { vec![key, head] } else { vec![head, key] };
                b.add(Op::Split { axis: model, into: parts }, &[x]);
            }
            15 => {
                let (model, key, head) = (AxisId(1), AxisId(3), AxisId(2));
                let x = self.value(b, |t| t.shape.contains(key) && t.shape.contains(head) && !t.shape.contains(model))?;
                b.add(Op::Merge { from: vec![head, key], into: model }, &[x]);
            }
            16 => {
                let (large, small) = (AxisId(6), AxisId(0));
                let pad = self.draw.below(2) == 0;
                let (from, to) = if pad { (small, large) } else { (large, small) };
                let x = self.value(b, |t| t.shape.contains(from) && !t.shape.contains(to))?;
                let start = self.draw.below(5) as u64;
                let op = if pad { Op::Pad { axis: from, start, into: to } } else { Op::Slice { axis: from, start, into: to } };
                b.add(op, &[x]);
            }
            17 => {
                let (seq, src, wide) = (AxisId(0), AxisId(4), AxisId(6));
                let x = self.value(b, |t| t.shape.contains(seq) && !t.shape.contains(wide) && !t.shape.contains(src))?;
                let rest = b.ty(x).clone();
                let y = self.value(b, |t| t.dtype == rest.dtype && t.shape == rest.shape.without(seq).with(src)).or(Some(x))?;
                let second = if y == x { seq } else { src };
                b.add(Op::Concat { axes: vec![seq, second], into: wide }, &[x, y]);
            }
            18 => {
                let x = self.value(b, wide)?;
                let axis = self.axes_of(b, x)[0];
                let i = self.value(b, |t| int(t) && !t.shape.contains(axis))?;
                b.add(Op::Gather(axis), &[x, i]);
            }
            19 => {
                let i = self.value(b, int)?;
                let shape = b.shape(i).clone();
                let x = self.value(b, |t| float(t) && t.shape.contains_all(&shape))?;
                let axis = AxisId(self.draw.below(9) as u32);
                if b.shape(x).contains(axis) {
                    return None;
                }
                let rest = b.shape(x).minus(&shape);
                let keep = self.draw.shuffled(&rest);
                b.add(Op::ScatterAdd { axis, keep }, &[i, x]);
            }
            20 => {
                let x = self.value(b, wide)?;
                let over = self.axes_of(b, x);
                b.add(if self.draw.below(2) == 0 { Op::Softmax(over) } else { Op::LogSumExp(over) }, &[x]);
            }
            21 => self.attend(b)?,
            22 => self.top(b)?,
            23 => self.routed(b)?,
            _ => self.repeat(b, depth)?,
        }
        Some(())
    }

    /// Another axis of the same size that is not in the shape.
    fn partner(&mut self, b: &Builder<'_>, axis: AxisId, shape: Shape) -> Option<AxisId> {
        let size = b.axes[axis.index()].size;
        let found: Vec<AxisId> = (0..9).map(AxisId).filter(|&a| b.axes[a.index()].size == size && !shape.contains(a)).collect();
        self.draw.of(&found)
    }

    fn map(&mut self, b: &mut Builder<'_>) -> Option<()> {
        let f = self.draw.of(MapFn::ALL)?;
        use MapFn::{Abs, Add, And, Cast, Eq, Ge, Gt, Le, Lt, Max, Min, Mul, Ne, Neg, Not, Or, Relu, Sign, StopGradient, Sub, Where};
        let dtype = match f {
            Not | And | Or => DType::Bool,
            Neg | Abs | Sign | Relu | Add | Sub | Mul | Max | Min | Eq | Ne | Lt | Le | Gt | Ge if self.draw.below(4) == 0 => DType::I32,
            _ => DType::F32,
        };
        let mut inputs: Vec<Value> = Vec::new();
        for i in 0..f.arity() {
            let wanted = if f == Where && i == 0 { DType::Bool } else { dtype };
            inputs.push(self.value(b, |t| t.dtype == wanted || (matches!(f, Cast | StopGradient)))?);
        }
        if f == Cast {
            let to = [DType::F32, DType::I32, DType::Bool][self.draw.below(3)];
            let ty = Ty::new(to, b.shape(inputs[0]).clone());
            b.add_as(Op::Map(f), &inputs, Some(&ty));
        } else {
            b.map(f, &inputs);
        }
        Some(())
    }

    /// A selection along one axis of a value, or of a sum along an axis of each part.
    fn top(&mut self, b: &mut Builder<'_>) -> Option<()> {
        let float = |t: &Ty| t.dtype == DType::F32 && !t.shape.is_scalar();
        let x = self.value(b, float)?;
        let mut over = self.axes_of(b, x);
        let mut inputs = vec![x];
        if self.draw.below(2) == 0 {
            over.truncate(1);
            let first = over[0];
            if !b.shape(x).without(first).is_scalar() {
                let y = self.value(b, |t| float(t) && !t.shape.contains(first))?;
                let second = self.axes_of(b, y)[0];
                if !b.shape(x).contains(second) {
                    inputs.push(y);
                    over.push(second);
                }
            }
        }
        let shape = inputs.iter().fold(Shape::scalar(), |s, &v| s.union(b.shape(v)));
        let into = self.smaller(b, &over, &shape)?;
        b.add(Op::TopK { over, into }, &inputs);
        Some(())
    }

    /// An axis that is not in the shape, of no more positions than the axes together.
    fn smaller(&mut self, b: &Builder<'_>, axes: &[AxisId], shape: &Shape) -> Option<AxisId> {
        let most: u64 = axes.iter().map(|a| b.axes[a.index()].size).product();
        let found: Vec<AxisId> = (0..9).map(AxisId).filter(|&a| b.axes[a.index()].size <= most && !shape.contains(a)).collect();
        self.draw.of(&found)
    }

    /// A contraction with weights at selected positions, and sometimes the like of its gradient.
    fn routed(&mut self, b: &mut Builder<'_>) -> Option<()> {
        let float = |t: &Ty| t.dtype == DType::F32;
        let score = self.value(b, |t| float(t) && !t.shape.is_scalar())?;
        let axis = self.axes_of(b, score)[0];
        let w = self.value(b, |t| float(t) && t.shape.contains(axis))?;
        let x = self.value(b, |t| float(t) && !t.shape.contains(axis))?;
        let shape = b.shape(score).clone();
        let into = self.smaller(b, &[axis], &shape)?;
        let positions = b.add(Op::TopK { over: vec![axis], into }, &[score]);
        let chosen = b.shape(w).without(axis).union(b.shape(positions));
        let mut over = self.draw.shuffled(&b.shape(x).intersection(&chosen));
        over.truncate(self.draw.below(over.len() + 1));
        let y = route::routed(b, x, w, positions, axis, &over);
        if self.draw.below(2) == 0 {
            let mut keep = self.draw.shuffled(&b.shape(x).union(b.shape(y)));
            keep.truncate(self.draw.below(keep.len() + 1));
            route::routed_outer(b, x, y, positions, axis, &keep);
        }
        Some(())
    }

    fn attend(&mut self, b: &mut Builder<'_>) -> Option<()> {
        let (query, source, key, value) = (AxisId(0), AxisId(4), AxisId(3), AxisId(8));
        let q = self.value(b, |t| {
            t.dtype == DType::F32
                && t.shape.contains(query)
                && t.shape.contains(key)
                && !t.shape.contains(source)
                && !t.shape.contains(value)
        })?;
        let k = b.add(Op::Rename(vec![(query, source)]), &[q]);
        let v = b.add(Op::Rename(vec![(key, value)]), &[k]);
        let causal = [None, Some(0), Some(2)][self.draw.below(3)];
        let a = Attention { query, source, key, value, scale: 0.5, causal };
        let results = b.add_many(Op::Attend(a.clone()), &[q, k, v]);
        if self.draw.below(2) == 0 {
            b.add_many(Op::AttendGrad(a), &[q, k, v, results[0], results[1], results[0]]);
        }
        Some(())
    }

    fn repeat(&mut self, b: &mut Builder<'_>, depth: usize) -> Option<()> {
        if depth == 0 {
            return None;
        }
        let axis = if self.draw.below(2) == 0 { AxisId(7) } else { AxisId(0) };
        let mut inputs = Vec::new();
        let carries = 1 + self.draw.below(2);
        for _ in 0..carries {
            inputs.push(self.value(b, |t| t.dtype == DType::F32 && !t.shape.contains(axis))?);
        }
        let stacked: Vec<Value> = self.value(b, |t| t.shape.contains(axis)).into_iter().collect();
        inputs.extend(&stacked);
        for _ in 0..self.draw.below(3) {
            inputs.push(self.value(b, |_| true)?);
        }
        let types: Vec<Ty> = inputs.iter().map(|&v| b.ty(v).clone()).collect();
        let mut inner = Builder::new(b.axes);
        for (i, ty) in types.iter().enumerate() {
            let is_stacked = i >= carries && i < carries + stacked.len();
            let ty = Ty::new(ty.dtype, if is_stacked { ty.shape.without(axis) } else { ty.shape.clone() });
            inner.add_as(Op::Argument(i as u32), &[], Some(&ty));
        }
        self.fill(&mut inner, 6, depth - 1);
        let mut results = Vec::new();
        for (i, ty) in types[..carries].iter().enumerate() {
            let found: Vec<Value> = (0..inner.region.nodes.len() as u32)
                .map(Value)
                .filter(|&v| inner.ty(v) == ty && !verify::is_multiple(&inner.region.node(v).op))
                .collect();
            results.push(found.last().copied().unwrap_or(Value(i as u32)));
        }
        for _ in 0..self.draw.below(3) {
            results.extend(self.value(&inner, |t| !t.shape.contains(axis)));
        }
        let mut body = inner.region;
        body.results = results;
        let kind = if axis == AxisId(7) { LoopKind::Repeat } else { LoopKind::Scan };
        let l = Loop { kind, axis, reverse: self.draw.below(3) == 0, carries, stacked: stacked.len(), body };
        b.repeat(l, &inputs);
        Some(())
    }
}
