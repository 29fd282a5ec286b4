//! Bodies of instances as nodes of a region.

use super::types::{Parameter, joined};
use super::{Dim, port_node};
use crate::hir::{Instance, InstanceId, Op, Program};
use crate::source::Span;
use ogive_graph::{AxisId, Builder, DType, MapFn, Op as Primitive, Origin, Random, Shape, Ty, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A parameter by instance and position.
pub(super) type Key = (InstanceId, u32);

/// An inner value that has a name.
pub(super) struct Tapped {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) value: Value,
    /// Declared dims, with those of repetitions in front.
    pub(super) dims: Vec<AxisId>,
}

/// State of lowering one region.
pub(super) struct Inline<'p, 'g> {
    pub(super) program: &'p Program,
    pub(super) float: DType,
    pub(super) builder: Builder<'g>,
    /// Parameters that this region has a value for.
    pub(super) known: BTreeMap<Key, Value>,
    /// States before the step of the cell that is being lowered.
    pub(super) prevs: Vec<Value>,
    /// Positions in the loops around this region: scalars that keep their random numbers apart.
    pub(super) iterations: Vec<Value>,
    /// Tells apart the calls that lead here: an instance that two calls share draws for each of them.
    call: u64,
    /// Paths of instances.
    paths: Vec<Arc<str>>,
    /// Where the lines of each file begin.
    lines: Vec<Vec<u32>>,
}

impl<'p, 'g> Inline<'p, 'g> {
    pub(super) fn new(program: &'p Program, float: DType, builder: Builder<'g>) -> Self {
        let paths = program.instances.iter().map(|i| i.path.as_str().into()).collect();
        let lines = program.sources.files.iter().map(|f| starts(&f.text)).collect();
        Inline { program, float, builder, known: BTreeMap::new(), prevs: Vec::new(), iterations: Vec::new(), call: SITE, paths, lines }
    }

    /// The float type that was chosen, for F32.
    pub(super) fn dtype(&self, dtype: DType) -> DType {
        if dtype.is_float() { self.float } else { dtype }
    }

    /// An input of the graph, with what describes it.
    pub(super) fn input(
        &mut self,
        name: &str,
        order: Vec<AxisId>,
        dtype: DType,
        domain: Option<AxisId>,
        span: Span,
    ) -> (Value, String, Vec<AxisId>, DType, Option<AxisId>) {
        let dtype = self.dtype(dtype);
        let (op, ty) = port_node(Primitive::Input, name, &order, dtype);
        self.builder.origin = self.origin(InstanceId(0), span);
        (self.builder.add_as(op, &[], Some(&ty)), name.to_owned(), order, dtype, domain)
    }

    fn origin(&self, id: InstanceId, span: Span) -> Origin {
        let file = span.file.0 as usize;
        let name: Arc<str> = self.program.sources.files.get(file).map_or_else(|| "".into(), |s| s.name.clone());
        let line = self.lines.get(file).map_or(0, |starts| starts.partition_point(|s| *s <= span.start));
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        Origin { path: Arc::clone(&self.paths[id.index()]), file: name, span: (span.start, span.end), line }
    }

    /// Nodes to come belong to an instance, wherever the last ones stood.
    pub(super) fn within(&mut self, id: InstanceId) {
        self.builder.origin.path = Arc::clone(&self.paths[id.index()]);
    }

    /// The body of an instance on given inputs: its outputs, for a cell with its new states behind them, and every tap in it.
    pub(super) fn instance(&mut self, id: InstanceId, inputs: &[Value]) -> (Vec<Value>, Vec<Tapped>) {
        let program = self.program;
        let instance = program.instance(id);
        let mut taps = Vec::new();
        let step = super::scan::needed(program, instance, &super::scan::step(instance));
        let results = self.body(id, instance, inputs, &step, &mut taps);
        for tap in &instance.taps {
            if let Some(value) = results[tap.node.index()].first() {
                let path = instance.path.clone();
                taps.push(Tapped { path, name: tap.name.clone(), value: *value, dims: tap.dims.clone() });
            }
        }
        let output = |node: crate::hir::NodeId| results[node.index()].first().copied();
        let ends = instance.outputs.iter().map(|o| o.node).chain(instance.states.iter().map(|s| s.next));
        let outputs = ends.filter_map(output).collect();
        (outputs, taps)
    }

    /// Nodes in order; each has the values that it gives (several for calls, none where it is not needed).
    pub(super) fn body(
        &mut self,
        id: InstanceId,
        instance: &Instance,
        inputs: &[Value],
        needed: &[bool],
        taps: &mut Vec<Tapped>,
    ) -> Vec<Vec<Value>> {
        let mut results: Vec<Vec<Value>> = Vec::with_capacity(instance.body.len());
        let program = self.program;
        let call = self.call;
        for (index, node) in instance.body.iter().enumerate() {
            if !needed[index] {
                results.push(Vec::new());
                continue;
            }
            let operands: Vec<Value> = node.inputs.iter().filter_map(|n| results[n.index()].first().copied()).collect();
            self.builder.origin = self.origin(id, node.span);
            self.call = site(call, &instance.block, index);
            let values = match &node.op {
                Op::Input(i) => vec![inputs[*i as usize]],
                Op::Param(i) => vec![self.param(id, instance, *i)],
                Op::Primitive(op) => vec![self.primitive(op, &operands, &node.ty)],
                Op::Top { over, slot } => vec![self.top(over, *slot, &operands)],
                Op::Routed { axis, over } => {
                    let own = &instance.body[node.inputs[2].index()].ty.shape;
                    vec![self.routed(*axis, over, &operands, own)]
                }
                Op::RandomLike(distribution) => vec![self.random(*distribution, operands[0])],
                Op::Spread => vec![self.widened(operands[0], &node.ty.shape)],
                Op::Prev(i) => vec![self.prevs[*i as usize]],
                Op::Call(callee) => {
                    let (given, states) = operands.split_at(program.instance(*callee).inputs.len());
                    let outside = std::mem::replace(&mut self.prevs, states.to_vec());
                    let (values, inner) = self.instance(*callee, given);
                    self.prevs = outside;
                    taps.extend(inner);
                    values
                }
                Op::Starts(callee) => {
                    // what is missing is not read
                    let blank = self.builder.int(0);
                    let given = |n: &crate::hir::NodeId| results[n.index()].first().copied().unwrap_or(blank);
                    let given: Vec<Value> = node.inputs.iter().map(given).collect();
                    self.starts(*callee, &given)
                }
                Op::Scan { instance, axis, reverse } => {
                    let (values, inner) = self.scan(*instance, *axis, *reverse, &operands);
                    taps.extend(inner);
                    values
                }
                Op::Repeat { instance, axis, .. } => {
                    let (values, inner) = self.repeat(*instance, *axis, &operands);
                    taps.extend(inner);
                    values
                }
                Op::Project(i) => node.inputs.first().and_then(|n| results[n.index()].get(*i as usize)).copied().into_iter().collect(),
            };
            results.push(values);
        }
        self.call = call;
        results
    }

    /// A parameter; at the top it enters the graph here.
    fn param(&mut self, id: InstanceId, instance: &Instance, index: u32) -> Value {
        if let Some(&value) = self.known.get(&(id, index)) {
            return value;
        }
        let param = &instance.params[index as usize];
        let order: Vec<AxisId> = instance.stacks.iter().chain(&param.dims).copied().collect();
        let (op, ty) = port_node(Primitive::Param, &joined(&instance.path, &param.name), &order, self.float);
        let origin = self.origin(id, param.span);
        let before = std::mem::replace(&mut self.builder.origin, origin);
        let value = self.builder.add_as(op, &[], Some(&ty));
        self.builder.origin = before;
        self.known.insert((id, index), value);
        value
    }

    /// The value of a parameter in this region, for a loop inside it.
    pub(super) fn param_of(&mut self, key: Key) -> Value {
        let program = self.program;
        self.param(key.0, program.instance(key.0), key.1)
    }

    fn primitive(&mut self, op: &Primitive, operands: &[Value], ty: &Ty) -> Value {
        let dtype = self.dtype(ty.dtype);
        match op {
            Primitive::Map(MapFn::Cast) => self.builder.cast(operands[0], dtype),
            Primitive::Concat { axes, .. } => {
                let own: Vec<Shape> = operands.iter().zip(axes).map(|(v, a)| self.builder.shape(*v).without(*a)).collect();
                let rest = own.iter().fold(Shape::scalar(), |s, o| s.union(o));
                let wide: Vec<Value> = operands.iter().zip(axes).map(|(v, a)| self.widened(*v, &rest.with(*a))).collect();
                self.builder.add(op.clone(), &wide)
            }
            _ => {
                if let Primitive::Merge { from, into } = op {
                    // The batch may have another size than the one that the spec was elaborated with.
                    let axes = &mut self.builder.axes;
                    axes[into.index()].size = from.iter().map(|a| axes[a.index()].size).product();
                }
                let given = Ty::new(dtype, ty.shape.clone());
                self.builder.add_as(op.clone(), operands, Some(&given))
            }
        }
    }

    fn random(&mut self, distribution: ogive_graph::Distribution, like: Value) -> Value {
        let order: Vec<AxisId> = self.builder.shape(like).iter().collect();
        let shape = Shape::of(order.iter().copied());
        let site = self.call;
        let given = Ty::new(self.float, shape);
        let iterations = self.iterations.clone();
        self.builder.add_as(Primitive::Random(Random { distribution, site, order }), &iterations, Some(&given))
    }

    /// A value with at least the given axes, the same along those that it lacks.
    pub(super) fn widened(&mut self, value: Value, shape: &Shape) -> Value {
        let missing: Vec<AxisId> = shape.iter().filter(|a| !self.builder.shape(value).contains(*a)).collect();
        missing.into_iter().fold(value, |wide, axis| {
            let position = self.builder.add(Primitive::Iota(axis), &[]);
            let zero = self.builder.int(0);
            let always = self.builder.map(MapFn::Ge, &[position, zero]);
            self.builder.map(MapFn::Where, &[always, wide, wide])
        })
    }

    /// Every parameter of the program, whether the graph reads it or not.
    pub(super) fn params(&self) -> Vec<Parameter> {
        let program = self.program;
        let dim = |a: &AxisId| Dim { name: program.name_of(*a).to_owned(), size: program.size_of(*a).unwrap_or(1) };
        let of = |instance: &Instance| {
            let params = instance.params.iter().map(|p| Parameter {
                name: joined(&instance.path, &p.name),
                dims: instance.stacks.iter().chain(&p.dims).map(dim).collect(),
                stacked: instance.stacks.len(),
                init: p.init.clone(),
            });
            params.collect::<Vec<_>>()
        };
        program.instances.iter().flat_map(of).collect()
    }
}

/// Byte positions at which lines begin.
fn starts(text: &str) -> Vec<u32> {
    let after = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| u32::try_from(i + 1).unwrap_or(u32::MAX));
    std::iter::once(0).chain(after).collect()
}

/// Start of the hashes that name sites of random numbers.
const SITE: u64 = 0xcbf2_9ce4_8422_2325;

/// Names a place within the calls that lead to it: by the block and which of its operations it is, so that neither where a file lies nor how it
/// is laid out changes what is drawn.
fn site(call: u64, block: &str, index: usize) -> u64 {
    let named = hash(call, block.bytes().chain([0xff]));
    hash(named, (index as u64).to_le_bytes())
}

/// FNV-1a, continued: the same on every machine.
fn hash(start: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}
