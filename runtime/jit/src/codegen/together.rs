//! Emits a loop over elements that computes several instructions at once.

use super::emit::Emitter;
use super::lanes::LANES;
use super::layout::Home;
use super::runs::read;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value, types};
use ogive_graph::kernel::{Reg, RowOp};
use ogive_graph::{DType, MapFn, ReduceFn};

/// Registers of four elements that a step computes side by side.
const PARTS: u64 = 2;
/// Elements of a step.
const STEP: u64 = PARTS * LANES;
/// Instructions of all steps together up to which there is no loop.
const UNROLLED: u64 = 64;

/// Elements of one step: registers of four, or a single one.
#[derive(Clone, Copy)]
enum Width {
    Lanes(u64),
    Single,
}

/// Where a step is: the loop's counter, and elements beyond it.
#[derive(Clone, Copy)]
struct At {
    counter: Option<Value>,
    beyond: u64,
}

/// What a loop reads and writes.
struct Body<'r> {
    run: &'r [Reg],
    /// Per register: where a row that others computed begins.
    from: Vec<Option<Value>>,
    /// Per register: a scalar, and it in every lane.
    scalar: Vec<Option<(Value, Value)>>,
    /// Per register: where it goes, or what it is added to.
    to: Vec<Option<Value>>,
    /// First position of every row of positions.
    first: Vec<Option<Value>>,
    /// Reductions.
    folds: Vec<(Reg, ReduceFn)>,
}

impl Emitter<'_> {
    /// Emits a loop that computes `run` on the tile.
    pub(super) fn together(&mut self, run: &[Reg]) -> Result<(), String> {
        let body = self.body(run)?;
        let mut totals = Vec::new();
        for &(r, f) in &body.folds {
            let identity = self.identity(f, self.dtype(r));
            let lanes = self.splat(DType::F32, identity);
            totals.extend([lanes; PARTS as usize]);
        }
        let start = At { counter: None, beyond: 0 };
        let totals = match self.known {
            Some(n) => {
                let steps = n / STEP;
                if steps * run.len() as u64 <= UNROLLED {
                    for i in 0..steps {
                        self.step(&body, Width::Lanes(PARTS), At { beyond: i * STEP, ..start }, &mut totals)?;
                    }
                } else {
                    let (from, to) = (self.int(0), self.int((steps * STEP) as i64));
                    totals = self.fold(from, to, STEP, totals, &mut |e, i, totals| {
                        e.step(&body, Width::Lanes(PARTS), At { counter: Some(i), ..start }, totals)
                    })?;
                }
                let mut done = steps * STEP;
                if n - done >= LANES {
                    self.step(&body, Width::Lanes(1), At { beyond: done, ..start }, &mut totals)?;
                    done += LANES;
                }
                let mut totals = self.across(&body, &totals);
                for i in done..n {
                    self.step(&body, Width::Single, At { beyond: i, ..start }, &mut totals)?;
                }
                totals
            }
            None => {
                let (from, to) = (self.int(0), self.tile_len);
                let whole = self.b.ins().band_imm_s(to, -(STEP as i64));
                let totals = self.fold(from, whole, STEP, totals, &mut |e, i, totals| {
                    e.step(&body, Width::Lanes(PARTS), At { counter: Some(i), ..start }, totals)
                })?;
                let totals = self.across(&body, &totals);
                self.fold(whole, to, 1, totals, &mut |e, i, totals| e.step(&body, Width::Single, At { counter: Some(i), ..start }, totals))?
            }
        };
        for (&(r, f), mut total) in body.folds.iter().zip(totals) {
            let to = self.place(r)?;
            if self.tile_at.is_some() {
                let before = self.b.ins().load(types::F32, super::nest::flags(), to, 0);
                total = self.combine(f, DType::F32, before, total);
            } else {
                self.scalars[r as usize] = Some(total);
            }
            self.b.ins().store(super::nest::flags(), total, to, 0);
        }
        Ok(())
    }

    fn body<'r>(&mut self, run: &'r [Reg]) -> Result<Body<'r>, String> {
        let (rows, home) = (self.rows, &self.layout.home);
        let none = vec![None; rows.instrs.len()];
        let mut body = Body { run, from: none.clone(), scalar: vec![None; none.len()], to: none.clone(), first: none, folds: Vec::new() };
        for &r in run {
            if home[r as usize] == Home::Inside {
                continue;
            }
            for operand in read(rows, home, self.op(r)) {
                let i = operand as usize;
                if !self.is_row(operand) {
                    let scalar = self.scalar(operand)?;
                    if body.scalar[i].is_none() {
                        body.scalar[i] = Some((scalar, self.splat(self.dtype(operand), scalar)));
                    }
                } else if !run.contains(&operand) && body.from[i].is_none() {
                    body.from[i] = Some(self.place(operand)?);
                }
            }
            match self.op(r) {
                RowOp::Reduce { f, .. } => body.folds.push((r, *f)),
                RowOp::Store { value, .. } if home[*value as usize] == Home::Memory(r) => {}
                RowOp::Store { .. } => body.to[r as usize] = Some(self.address(r)?),
                RowOp::Accumulate { .. } => {
                    let base = self.base[r as usize].ok_or_else(|| format!("%{r} has no address"))?;
                    body.to[r as usize] = Some(self.at_tile(base, 4));
                }
                op => {
                    if let RowOp::Iota { .. } = op {
                        let first = self.address(r)?;
                        body.first[r as usize] = Some(self.b.ins().ireduce(types::I32, first));
                    }
                    if home[r as usize] != Home::Register {
                        body.to[r as usize] = Some(self.place(r)?);
                    }
                }
            }
        }
        Ok(body)
    }

    /// One step of a loop; `totals` are the reductions so far.
    fn step(&mut self, body: &Body<'_>, width: Width, at: At, totals: &mut [Value]) -> Result<(), String> {
        let mut held: Vec<Option<Vec<Value>>> = vec![None; self.rows.instrs.len()];
        let single = matches!(width, Width::Single);
        let mut fold = 0;
        for &r in body.run {
            if self.layout.home[r as usize] == Home::Inside {
                continue;
            }
            let op = self.op(r);
            let inner = match op {
                RowOp::Reduce { row: value, .. } | RowOp::Accumulate { value, .. } => self.layout.home[*value as usize] == Home::Inside,
                _ => false,
            };
            let mut operands = Vec::new();
            for operand in read(self.rows, &self.layout.home, op) {
                operands.push(self.held(body, width, at, operand, &mut held)?);
            }
            let mut values = Vec::new();
            for part in 0..parts(width) {
                let args: Vec<Value> = operands.iter().map(|o| o[part.min(o.len() - 1)]).collect();
                values.push(match op {
                    RowOp::Map { f, args: regs } => {
                        let operand = self.dtype(if *f == MapFn::Where { regs[1] } else { regs[0] });
                        self.map_lanes(*f, operand, self.dtype(r), single, &args)?
                    }
                    RowOp::Fused { f, .. } => self.fused_lanes(*f, &args)?,
                    RowOp::Iota { at: access } => self.positions(body, r, access.inner[0], single, at, part),
                    RowOp::Store { .. } => args[0],
                    RowOp::Accumulate { .. } => {
                        let (to, offset) = self.element(body.to[r as usize], at, 4, part)?;
                        let before = self.load_lanes(DType::F32, single, to, offset);
                        if inner { self.mul_add(args[0], args[1], before) } else { self.b.ins().fadd(before, args[0]) }
                    }
                    RowOp::Reduce { f, .. } => {
                        let total = &mut totals[if single { fold } else { fold * PARTS as usize + part }];
                        let before = *total;
                        *total = match f {
                            ReduceFn::Sum if inner => self.mul_add(args[0], args[1], before),
                            ReduceFn::Sum => self.b.ins().fadd(before, args[0]),
                            _ => self.extreme_lanes(*f, single, before, args[0]),
                        };
                        continue;
                    }
                    _ => return Err(format!("%{r} in a loop")),
                });
            }
            if let RowOp::Reduce { .. } = op {
                fold += 1;
                continue;
            }
            if let Some(to) = body.to[r as usize] {
                let dtype = if let RowOp::Store { value, .. } = op { self.dtype(*value) } else { self.dtype(r) };
                for (part, &value) in values.iter().enumerate() {
                    let (to, offset) = self.element(Some(to), at, dtype.bytes() as i64, part)?;
                    self.store_lanes(dtype, single, value, to, offset);
                }
            }
            held[r as usize] = Some(values);
        }
        Ok(())
    }

    /// An operand's elements: computed in this step, a scalar, or read once.
    fn held(&mut self, body: &Body<'_>, width: Width, at: At, r: Reg, held: &mut [Option<Vec<Value>>]) -> Result<Vec<Value>, String> {
        let i = r as usize;
        let single = matches!(width, Width::Single);
        if let Some((scalar, lanes)) = body.scalar[i] {
            return Ok(vec![if single { scalar } else { lanes }]);
        }
        if let Some(values) = &held[i] {
            return Ok(values.clone());
        }
        let mut values = Vec::new();
        for part in 0..parts(width) {
            let (from, offset) = self.element(body.from[i], at, self.bytes(r), part)?;
            values.push(self.load_lanes(self.dtype(r), single, from, offset));
        }
        held[i] = Some(values.clone());
        Ok(values)
    }

    /// Address and offset of a step's part.
    fn element(&mut self, base: Option<Value>, at: At, unit: i64, part: usize) -> Result<(Value, i32), String> {
        let base = base.ok_or("a row of a loop has no place")?;
        let base = match at.counter {
            Some(i) => {
                let step = self.times(i, unit);
                self.b.ins().iadd(base, step)
            }
            None => base,
        };
        let offset = i32::try_from((at.beyond + part as u64 * LANES) as i64 * unit).map_err(|_| "a row is too long")?;
        Ok((base, offset))
    }

    fn positions(&mut self, body: &Body<'_>, r: Reg, stride: i64, single: bool, at: At, part: usize) -> Value {
        let stride = stride as i32;
        let mut first = body.first[r as usize].unwrap_or(self.tile_len);
        if let Some(i) = at.counter {
            let i = self.b.ins().ireduce(types::I32, i);
            let step = self.b.ins().imul_imm_s(i, i64::from(stride));
            first = self.b.ins().iadd(first, step);
        }
        let beyond = (at.beyond + part as u64 * LANES) as i64 * i64::from(stride);
        let first = self.b.ins().iadd_imm_s(first, beyond);
        if single {
            return first;
        }
        let (first, ramp) = (self.b.ins().splat(types::I32X4, first), self.ramp(stride));
        self.b.ins().iadd(first, ramp)
    }

    /// The lanes of every reduction made one.
    fn across(&mut self, body: &Body<'_>, totals: &[Value]) -> Vec<Value> {
        let mut out = Vec::new();
        for (i, &(_, f)) in body.folds.iter().enumerate() {
            let mut parts = totals[i * PARTS as usize..(i + 1) * PARTS as usize].iter();
            let Some(&first) = parts.next() else { continue };
            let all = parts.fold(first, |all, &part| match f {
                ReduceFn::Sum => self.b.ins().fadd(all, part),
                _ => self.extreme_lanes(f, false, all, part),
            });
            let lanes: Vec<Value> = (0..LANES as u8).map(|lane| self.b.ins().extractlane(all, lane)).collect();
            let (a, b) = (self.combine(f, DType::F32, lanes[0], lanes[2]), self.combine(f, DType::F32, lanes[1], lanes[3]));
            out.push(self.combine(f, DType::F32, a, b));
        }
        out
    }

    /// A loop that hands values from step to step; gives the last.
    fn fold(
        &mut self,
        from: Value,
        to: Value,
        step: u64,
        carried: Vec<Value>,
        body: &mut dyn FnMut(&mut Self, Value, &mut Vec<Value>) -> Result<(), String>,
    ) -> Result<Vec<Value>, String> {
        let (inside, after) = (self.b.create_block(), self.b.create_block());
        self.b.append_block_param(inside, types::I64);
        for &value in &carried {
            let kind = self.b.func.dfg.value_type(value);
            self.b.append_block_param(inside, kind);
            self.b.append_block_param(after, kind);
        }
        let pass = |values: &[Value]| values.iter().map(|&v| BlockArg::Value(v)).collect::<Vec<_>>();
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, from, to);
        let mut first = vec![BlockArg::Value(from)];
        first.extend(pass(&carried));
        self.b.ins().brif(more, inside, &first, after, &pass(&carried));
        self.b.switch_to_block(inside);
        let params = self.b.block_params(inside).to_vec();
        let mut values = params[1..].to_vec();
        body(self, params[0], &mut values)?;
        let next = self.b.ins().iadd_imm_s(params[0], step as i64);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, next, to);
        let mut again = vec![BlockArg::Value(next)];
        again.extend(pass(&values));
        self.b.ins().brif(more, inside, &again, after, &pass(&values));
        self.b.switch_to_block(after);
        Ok(self.b.block_params(after).to_vec())
    }
}

fn parts(width: Width) -> usize {
    match width {
        Width::Lanes(parts) => parts as usize,
        Width::Single => 1,
    }
}
