//! Emits the function of a row program: chunk, rows, passes, tiles.

use super::layout::{Home, Layout};
use super::nest::flags;
use super::runs::Part;
use super::{out_of_range, random_key};
use crate::primitives::{Primitives, RandomKey};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{BlockArg, InstBuilder, SigRef, Type, Value, types};
use cranelift_codegen::isa::{CallConv, TargetIsa};
use cranelift_frontend::FunctionBuilder;
use ogive_graph::kernel::{Access, Reg, RowOp, Rows};
use ogive_graph::{DType, MapFn, ReduceFn, Scalar};

/// State of the emission of one function.
pub(super) struct Emitter<'a> {
    pub(super) b: FunctionBuilder<'a>,
    pub(super) rows: &'a Rows,
    pub(super) layout: &'a Layout,
    pub(super) primitives: &'static Primitives,
    pub(super) convention: CallConv,
    pub(super) signatures: Vec<((Vec<Type>, Option<Type>), SigRef)>,
    pub(super) args: Vec<Value>,
    pub(super) scratch: Value,
    context: Value,
    /// Per instruction: address of its access in this row (position, for iota and random).
    pub(super) base: Vec<Option<Value>>,
    /// Address of a scalar picked from memory in this row.
    pub(super) picked: Vec<Option<Value>>,
    /// Offset in scratch of extra scalars: keys of random numbers, starts of positions.
    pub(super) extra: Vec<u64>,
    /// Memory of the next row: addresses and bytes.
    pub(super) ahead: Vec<(Value, i64)>,
    /// Row instructions emitted for this row.
    pub(super) done: usize,
    /// First element of the tile.
    pub(super) tile_at: Option<Value>,
    /// Elements of the tile.
    pub(super) tile_len: Value,
    /// They, where every tile has as many.
    pub(super) known: Option<u64>,
    /// Scalars of this row that are at hand.
    pub(super) scalars: Vec<Option<Value>>,
    /// Whether the machine multiplies and adds at once, as the primitives then do.
    pub(super) fma: bool,
}

/// Emits the function; gives the bytes of scratch that it uses.
pub(super) fn function(
    mut b: FunctionBuilder<'_>,
    rows: &Rows,
    layout: &Layout,
    primitives: &'static Primitives,
    isa: &dyn TargetIsa,
) -> Result<u64, String> {
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let params: Vec<Value> = b.block_params(entry).to_vec();
    let mut scratch_bytes = layout.scratch;
    let extra = rows
        .instrs
        .iter()
        .map(|i| {
            let at = scratch_bytes;
            let inputs = match &i.op {
                RowOp::Random { inputs, .. } => 32 + 4 * inputs.len() as u64,
                RowOp::Iota { .. } | RowOp::Pick { .. } => 8,
                _ => 0,
            };
            scratch_bytes += inputs.div_ceil(16) * 16;
            at
        })
        .collect();
    let mut args = Vec::new();
    for i in 0..rows.args.len() {
        args.push(b.ins().load(types::I64, flags(), params[0], i as i32 * 8));
    }
    let tile_len = b.ins().iconst(types::I64, 0);
    let count = rows.instrs.len();
    let mut e = Emitter {
        b,
        rows,
        layout,
        primitives,
        convention: isa.default_call_conv(),
        signatures: Vec::new(),
        args,
        scratch: params[3],
        context: params[4],
        base: vec![None; count],
        picked: vec![None; count],
        extra,
        ahead: Vec::new(),
        done: 0,
        tile_at: None,
        tile_len,
        known: None,
        scalars: vec![None; count],
        fma: primitives.name() != "portable" && isa.isa_flags().iter().any(|f| f.name == "has_fma" && f.as_bool() == Some(true)),
    };
    e.prepare(params[1])?;
    e.count(params[1], params[2], 1, &mut |e, row| e.row(row))?;
    e.b.ins().return_(&[]);
    e.b.seal_all_blocks();
    e.b.finalize(isa.frontend_config());
    Ok(scratch_bytes)
}

/// Type of an element in registers.
pub(super) fn element_type(dtype: DType) -> Type {
    match dtype {
        DType::F32 => types::F32,
        DType::F64 => types::F64,
        DType::I32 => types::I32,
        DType::Bool => types::I8,
    }
}

impl<'a> Emitter<'a> {
    pub(super) fn op(&self, r: Reg) -> &'a RowOp {
        &self.rows.instrs[r as usize].op
    }

    pub(super) fn dtype(&self, r: Reg) -> DType {
        self.rows.instrs[r as usize].dtype
    }

    pub(super) fn bytes(&self, r: Reg) -> i64 {
        self.dtype(r).bytes() as i64
    }

    pub(super) fn is_row(&self, r: Reg) -> bool {
        self.rows.instrs[r as usize].row
    }

    /// Once per call: constants, and accumulators at their identity.
    fn prepare(&mut self, first: Value) -> Result<(), String> {
        for r in 0..self.rows.instrs.len() as Reg {
            match self.op(r) {
                RowOp::Const(scalar) => {
                    let value = self.constant(*scalar, self.dtype(r));
                    let at = self.place(r)?;
                    self.b.ins().store(flags(), value, at, 0);
                }
                RowOp::Accumulate { f, arg, value } => {
                    let dtype = self.dtype(r);
                    let len = if self.is_row(*value) { self.rows.inner_len() } else { 1 } as i64;
                    let chunk = self.b.ins().udiv_imm_u(first, self.rows.rows_per_chunk() as i64);
                    let step = self.times(chunk, len * dtype.bytes() as i64);
                    let base = self.b.ins().iadd(self.args[*arg as usize], step);
                    self.base[r as usize] = Some(base);
                    let identity = self.identity(*f, dtype);
                    self.b.ins().store(flags(), identity, base, 0);
                    let (dst, n) = (self.beyond(base, dtype.bytes() as i64), self.int(len - 1));
                    let fill = self.primitives.fill(dtype).address;
                    self.call(fill, &[n, dst, base], None);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn constant(&mut self, scalar: Scalar, dtype: DType) -> Value {
        match (scalar, dtype) {
            #[allow(clippy::cast_possible_truncation, reason = "constants of f32 nodes are rounded")]
            (Scalar::Float(x), _) => self.b.ins().f32const(x as f32),
            (Scalar::Int(x), _) => self.b.ins().iconst(types::I32, i64::from(x.cast_unsigned())),
            (Scalar::Bool(x), _) => self.b.ins().iconst(types::I8, i64::from(x)),
        }
    }

    pub(super) fn identity(&mut self, f: ReduceFn, dtype: DType) -> Value {
        let (float, int, truth) = match f {
            ReduceFn::Sum => (0.0, 0, 0),
            ReduceFn::Max => (f32::NEG_INFINITY, i32::MIN, 0),
            ReduceFn::Min => (f32::INFINITY, i32::MAX, 1),
        };
        match dtype {
            DType::F32 | DType::F64 => self.b.ins().f32const(float),
            DType::I32 => self.b.ins().iconst(types::I32, i64::from(int.cast_unsigned())),
            DType::Bool => self.b.ins().iconst(types::I8, truth),
        }
    }

    /// `f(a, b)` of scalars in registers.
    pub(super) fn combine(&mut self, f: ReduceFn, dtype: DType, a: Value, b: Value) -> Value {
        match (f, dtype) {
            (ReduceFn::Sum, DType::F32 | DType::F64) => self.b.ins().fadd(a, b),
            (ReduceFn::Sum, DType::I32) => self.b.ins().iadd(a, b),
            (ReduceFn::Max, DType::F32 | DType::F64) => self.extreme(FloatCC::GreaterThan, a, b),
            (ReduceFn::Min, DType::F32 | DType::F64) => self.extreme(FloatCC::LessThan, a, b),
            (ReduceFn::Max, DType::I32) => self.b.ins().smax(a, b),
            (ReduceFn::Min, DType::I32) => self.b.ins().smin(a, b),
            (ReduceFn::Sum | ReduceFn::Max, DType::Bool) => self.b.ins().bor(a, b),
            (ReduceFn::Min, DType::Bool) => self.b.ins().band(a, b),
        }
    }

    /// The larger or smaller of two floats; NaN if either is.
    fn extreme(&mut self, better: FloatCC, a: Value, b: Value) -> Value {
        let first = self.b.ins().fcmp(better, a, b);
        let nan = self.b.ins().fcmp(FloatCC::Unordered, a, a);
        let keep = self.b.ins().bor(first, nan);
        self.b.ins().select(keep, a, b)
    }

    /// One row: addresses, then passes.
    fn row(&mut self, row: Value) -> Result<(), String> {
        let rows = self.rows;
        let blocks = rows.blocks();
        let mut rest = row;
        let mut block = None;
        if rows.block.is_some() {
            block = Some(self.b.ins().urem_imm_u(rest, blocks as i64));
            rest = self.b.ins().udiv_imm_u(rest, blocks as i64);
        }
        let mut index = vec![rest; rows.outer.len()];
        for (d, &size) in rows.outer.iter().enumerate().rev() {
            if d > 0 {
                index[d] = self.b.ins().urem_imm_u(rest, size as i64);
                rest = self.b.ins().udiv_imm_u(rest, size as i64);
            } else {
                index[d] = rest;
            }
        }
        let first = block.map(|b| self.times(b, rows.block.unwrap_or(1) as i64));
        for r in 0..rows.instrs.len() as Reg {
            let (start, at, unit): (Option<Value>, &Access, i64) = match self.op(r) {
                RowOp::Load { arg, at } | RowOp::Pick { arg, at, .. } => (Some(self.args[*arg as usize]), at, self.bytes(r)),
                RowOp::Store { arg, at, value, .. } => (Some(self.args[*arg as usize]), at, self.bytes(*value)),
                RowOp::Iota { at } | RowOp::Random { at, .. } => (None, at, 1),
                _ => continue,
            };
            let mut address = match start {
                Some(start) => start,
                None => self.int(0),
            };
            for (&i, &stride) in index.iter().zip(&at.outer) {
                if stride != 0 {
                    let step = self.times(i, stride * unit);
                    address = self.b.ins().iadd(address, step);
                }
            }
            if let (Some(first), [stride]) = (first, at.inner.as_slice())
                && *stride != 0
            {
                let step = self.times(first, stride * unit);
                address = self.b.ins().iadd(address, step);
            }
            self.base[r as usize] = Some(address);
        }
        self.ahead = self.next_row();
        self.next_rows(row);
        let len = match (first, rows.block) {
            (Some(first), Some(block)) => {
                let all = self.int(rows.inner_len() as i64);
                let left = self.b.ins().isub(all, first);
                let most = self.int(block as i64);
                let less = self.b.ins().icmp(IntCC::UnsignedLessThan, left, most);
                self.b.ins().select(less, left, most)
            }
            _ => self.int(rows.inner_len() as i64),
        };
        self.done = 0;
        self.scalars.fill(None);
        for ((scalars, tiles), parts) in self.layout.passes.iter().zip(&self.layout.parts) {
            self.tile_at = None;
            self.tile_len = self.int(1);
            for &r in scalars {
                self.instr(r)?;
            }
            if !tiles.is_empty() {
                self.pass(tiles, parts, len)?;
            }
        }
        Ok(())
    }

    /// The row instructions of a pass, tile by tile.
    fn pass(&mut self, instrs: &[Reg], parts: &[Part], len: Value) -> Result<(), String> {
        if self.layout.tile >= self.rows.row_len() {
            self.tile_at = None;
            self.tile_len = len;
            self.known = self.rows.block.is_none().then(|| self.rows.inner_len());
            for part in parts {
                self.look_ahead(part.instrs().len());
                self.compute(part)?;
            }
            return Ok(());
        }
        for &r in instrs {
            if let RowOp::Reduce { f, .. } = self.op(r) {
                let identity = self.identity(*f, self.dtype(r));
                let at = self.place(r)?;
                self.b.ins().store(flags(), identity, at, 0);
            }
        }
        let (zero, tile) = (self.int(0), self.layout.tile as i64);
        self.known = None;
        let at_hand = self.scalars.clone();
        self.count(zero, len, tile, &mut |e, at| {
            let left = e.b.ins().isub(len, at);
            let most = e.int(tile);
            let less = e.b.ins().icmp(IntCC::UnsignedLessThan, left, most);
            e.tile_len = e.b.ins().select(less, left, most);
            e.tile_at = Some(at);
            parts.iter().try_for_each(|part| e.compute(part))
        })?;
        // What was loaded in the loop is not at hand behind it.
        self.scalars = at_hand;
        Ok(())
    }

    fn compute(&mut self, part: &Part) -> Result<(), String> {
        match part {
            Part::Loop(run) => self.together(run),
            Part::Call(r) => self.instr(*r),
        }
    }

    /// A scalar's value.
    pub(super) fn scalar(&mut self, r: Reg) -> Result<Value, String> {
        if let Some(value) = self.scalars[r as usize] {
            return Ok(value);
        }
        let dtype = self.dtype(r);
        let value = match self.op(r) {
            RowOp::Const(scalar) => self.constant(*scalar, dtype),
            _ => {
                let at = self.place(r)?;
                self.b.ins().load(element_type(dtype), flags(), at, 0)
            }
        };
        self.scalars[r as usize] = Some(value);
        Ok(value)
    }

    /// Address of a register's elements: its tile, its scalar, or the memory it was read from or goes to.
    pub(super) fn place(&mut self, r: Reg) -> Result<Value, String> {
        let scratch = |e: &mut Self, offset: u64| e.beyond(e.scratch, offset as i64);
        match self.layout.home[r as usize] {
            Home::Scratch(offset) => {
                if let Some(picked) = self.picked[r as usize]
                    && !self.is_row(r)
                {
                    return Ok(picked);
                }
                Ok(scratch(self, offset))
            }
            Home::Whole(offset) => {
                let start = scratch(self, offset);
                let bytes = self.bytes(r);
                Ok(self.at_tile(start, bytes))
            }
            Home::Memory(access) => {
                let base = self.base[access as usize].ok_or_else(|| format!("%{access} has no address"))?;
                let bytes = self.bytes(r);
                Ok(if self.is_row(r) { self.at_tile(base, bytes) } else { base })
            }
            Home::None | Home::Inside | Home::Register => Err(format!("%{r} ({:?}) has no place", self.op(r))),
        }
    }

    /// `base` moved to the tile.
    pub(super) fn at_tile(&mut self, base: Value, unit: i64) -> Value {
        match self.tile_at {
            None => base,
            Some(at) => {
                let step = self.times(at, unit);
                self.b.ins().iadd(base, step)
            }
        }
    }

    /// An index in memory as an i64, checked against `size`: 0, and a note, where it is out of range.
    pub(super) fn checked(&mut self, at: Value, size: u64, site: u32) -> Value {
        let index = self.b.ins().load(types::I32, flags(), at, 0);
        let wide = self.b.ins().uextend(types::I64, index);
        let fits = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, wide, size as i64);
        let (bad, done) = (self.b.create_block(), self.b.create_block());
        self.b.append_block_param(done, types::I64);
        self.b.set_cold_block(bad);
        self.b.ins().brif(fits, done, &[BlockArg::Value(wide)], bad, &[]);
        self.b.switch_to_block(bad);
        let site = self.b.ins().iconst(types::I32, i64::from(site));
        let context = self.context;
        self.call(out_of_range as *const u8, &[context, site, index], None);
        let zero = self.int(0);
        self.b.ins().jump(done, &[BlockArg::Value(zero)]);
        self.b.switch_to_block(done);
        self.b.block_params(done)[0]
    }

    /// Makes the key of a stream of random numbers; gives its address.
    pub(super) fn key(&mut self, r: Reg, site: u64, inputs: &[Reg]) -> Result<Value, String> {
        let start = self.extra[r as usize] as i64;
        let list = self.beyond(self.scratch, start + 32);
        for (i, &input) in inputs.iter().enumerate() {
            let from = self.place(input)?;
            let value = self.b.ins().load(types::I32, flags(), from, 0);
            self.b.ins().store(flags(), value, list, i as i32 * 4);
        }
        let key = self.beyond(self.scratch, start);
        debug_assert!(size_of::<RandomKey>() <= 32);
        let (site, count, context) = (self.int(site.cast_signed()), self.int(inputs.len() as i64), self.context);
        self.call(random_key as *const u8, &[context, site, count, list, key], None);
        Ok(key)
    }

    /// The primitive of an element-wise function.
    pub(super) fn map_address(&self, f: MapFn, r: Reg, args: &[Reg]) -> Result<*const u8, String> {
        let operand = if f == MapFn::Where { self.dtype(args[1]) } else { self.dtype(args[0]) };
        let mut scalar = [false; 3];
        if self.is_row(r) {
            for (s, &a) in scalar.iter_mut().zip(args) {
                *s = !self.is_row(a);
            }
        }
        let found = self.primitives.map(f, operand, self.dtype(r), scalar);
        found.map(|p| p.address).ok_or_else(|| format!("no primitive for {} of {operand}", f.name()))
    }
}
