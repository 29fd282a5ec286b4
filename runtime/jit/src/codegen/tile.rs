//! Emits single instructions on a tile or a scalar.

use super::emit::{Emitter, element_type};
use super::lanes::known;
use super::layout::{Home, streams};
use super::nest::flags;
use crate::primitives::Three;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use ogive_graph::kernel::{Access, FusedFn, Reg, RowOp};
use ogive_graph::{DType, MapFn, ReduceFn};

impl Emitter<'_> {
    /// Emits one instruction.
    pub(super) fn instr(&mut self, r: Reg) -> Result<(), String> {
        match self.op(r) {
            RowOp::Const(_) => Ok(()),
            RowOp::Load { at, .. } => {
                if matches!(self.layout.home[r as usize], Home::Memory(access) if access == r) {
                    return Ok(());
                }
                let from = self.address(r)?;
                self.load(r, from, at)
            }
            RowOp::Pick { at, index, stride, size, site, .. } => self.pick(r, at, *index, *stride, *size, *site),
            RowOp::Element { row, index, site } => {
                let index = self.place(*index)?;
                let index = self.checked(index, self.rows.inner_len(), *site);
                let row = self.place(*row)?;
                let step = self.times(index, self.bytes(r));
                let from = self.b.ins().iadd(row, step);
                self.move_one(r, from)
            }
            RowOp::Iota { at } => self.iota(r, at),
            RowOp::Random { distribution, site, inputs, at } => {
                let key = self.key(r, *site, inputs)?;
                let (dst, first) = (self.place(r)?, self.address(r)?);
                let address = self.primitives.random(*distribution).address;
                if !self.is_row(r) {
                    let one = self.int(1);
                    self.call(address, &[one, dst, key, first], None);
                    return Ok(());
                }
                self.numbered(r, dst, first, at, &mut |e, n, dst, first| {
                    e.call(address, &[n, dst, key, first], None);
                    Ok(())
                })
            }
            RowOp::Map { f, args } => self.map(r, *f, args),
            RowOp::Fused { f, args } => self.fused(r, *f, args),
            // Written by the gelu before it.
            RowOp::Slope { .. } => Ok(()),
            RowOp::Reduce { f, row } => self.reduce(r, *f, *row),
            RowOp::ArgMax { row } => {
                let dst = self.place(r)?;
                if !self.is_row(*row) {
                    let zero = self.b.ins().iconst(types::I32, 0);
                    self.b.ins().store(flags(), zero, dst, 0);
                    return Ok(());
                }
                if self.dtype(*row) != DType::F32 {
                    return Err(format!("argmax of {}", self.dtype(*row)));
                }
                let (n, from) = (self.tile_len, self.place(*row)?);
                let address = self.primitives.argmax().address;
                if let Some(value) = self.call(address, &[n, from], Some(types::I32)) {
                    self.b.ins().store(flags(), value, dst, 0);
                }
                Ok(())
            }
            RowOp::Store { at, value, .. } => self.store(r, at, *value),
            RowOp::Accumulate { f, value, .. } => self.accumulate(r, *f, *value),
        }
    }

    /// Address of the instruction's access (or its first position), at the tile.
    pub(super) fn address(&mut self, r: Reg) -> Result<Value, String> {
        let base = self.base[r as usize].ok_or_else(|| format!("%{r} has no address"))?;
        let (at, unit) = match self.op(r) {
            RowOp::Load { at, .. } | RowOp::Pick { at, .. } => (at, self.bytes(r)),
            RowOp::Store { at, value, .. } => (at, self.bytes(*value)),
            RowOp::Iota { at } | RowOp::Random { at, .. } => (at, 1),
            _ => return Ok(base),
        };
        Ok(match at.inner.as_slice() {
            [stride] if *stride != 0 => self.at_tile(base, stride * unit),
            _ => base,
        })
    }

    fn move_one(&mut self, r: Reg, from: Value) -> Result<(), String> {
        let kind = element_type(self.dtype(r));
        let value = self.b.ins().load(kind, flags(), from, 0);
        let to = self.place(r)?;
        self.b.ins().store(flags(), value, to, 0);
        Ok(())
    }

    /// Fills a row register from strided memory.
    fn load(&mut self, r: Reg, from: Value, at: &Access) -> Result<(), String> {
        let dtype = self.dtype(r);
        let (dst, unit) = (self.place(r)?, self.bytes(r));
        let stride = at.inner.last().copied().unwrap_or(0);
        self.walk(&[&at.inner], &mut |e, element, offsets| {
            let (n, to, start) = e.part(dst, from, element, offsets[0], unit);
            match stride {
                1 => e.call(e.primitives.copy(dtype).address, &[n, to, start], None),
                0 => e.call(e.primitives.fill(dtype).address, &[n, to, start], None),
                s => {
                    let s = e.int(s);
                    e.call(e.primitives.load_strided(dtype).address, &[n, to, start, s], None)
                }
            };
            Ok(())
        })
    }

    /// Length and addresses of the innermost run at `element` of the row and `offset` of the memory.
    fn part(&mut self, dst: Value, memory: Value, element: Value, offset: Value, unit: i64) -> (Value, Value, Value) {
        if self.rows.inner.len() <= 1 {
            return (self.tile_len, dst, memory);
        }
        let n = self.int(self.rows.inner.last().copied().unwrap_or(1) as i64);
        let (a, b) = (self.times(element, unit), self.times(offset, unit));
        (n, self.b.ins().iadd(dst, a), self.b.ins().iadd(memory, b))
    }

    /// Runs `body` on innermost runs whose elements are numbered consecutively, or on single elements.
    fn numbered(
        &mut self,
        r: Reg,
        dst: Value,
        first: Value,
        at: &Access,
        body: &mut dyn FnMut(&mut Self, Value, Value, Value) -> Result<(), String>,
    ) -> Result<(), String> {
        let unit = self.bytes(r);
        let stride = at.inner.last().copied().unwrap_or(0);
        self.walk(&[&at.inner], &mut |e, element, offsets| {
            let n = if e.rows.inner.len() <= 1 { e.tile_len } else { e.int(e.rows.inner.last().copied().unwrap_or(1) as i64) };
            let step = e.times(element, unit);
            let to = e.b.ins().iadd(dst, step);
            let start = e.b.ins().iadd(first, offsets[0]);
            if stride == 1 {
                return body(e, n, to, start);
            }
            let zero = e.int(0);
            e.count(zero, n, 1, &mut |e, j| {
                let (a, b, one) = (e.times(j, unit), e.times(j, stride), e.int(1));
                let (to, number) = (e.b.ins().iadd(to, a), e.b.ins().iadd(start, b));
                body(e, one, to, number)
            })
        })
    }

    fn iota(&mut self, r: Reg, at: &Access) -> Result<(), String> {
        let (dst, first) = (self.place(r)?, self.address(r)?);
        if !self.is_row(r) {
            let value = self.b.ins().ireduce(types::I32, first);
            self.b.ins().store(flags(), value, dst, 0);
            return Ok(());
        }
        let start = self.beyond(self.scratch, self.extra[r as usize] as i64);
        let address = self.primitives.iota().address;
        self.numbered(r, dst, first, at, &mut |e, n, dst, first| {
            let value = e.b.ins().ireduce(types::I32, first);
            e.b.ins().store(flags(), value, start, 0);
            e.call(address, &[n, dst, start], None);
            Ok(())
        })
    }

    fn pick(&mut self, r: Reg, at: &Access, index: Reg, stride: i64, size: u64, site: u32) -> Result<(), String> {
        let unit = self.bytes(r);
        let from = self.address(r)?;
        if !self.is_row(index) {
            let index = self.place(index)?;
            let index = self.checked(index, size, site);
            let step = self.times(index, stride * unit);
            let from = self.b.ins().iadd(from, step);
            if self.is_row(r) {
                return self.load(r, from, at);
            }
            self.picked[r as usize] = Some(from);
            return Ok(());
        }
        let (dst, positions) = (self.place(r)?, self.place(index)?);
        let kind = element_type(self.dtype(r));
        let last = at.inner.last().copied().unwrap_or(0);
        self.walk(&[&at.inner], &mut |e, element, offsets| {
            let n = if e.rows.inner.len() <= 1 { e.tile_len } else { e.int(e.rows.inner.last().copied().unwrap_or(1) as i64) };
            let zero = e.int(0);
            e.count(zero, n, 1, &mut |e, j| {
                let number = e.b.ins().iadd(element, j);
                let step = e.times(number, 4);
                let position = e.b.ins().iadd(positions, step);
                let index = e.checked(position, size, site);
                let (along, inner) = (e.times(index, stride), e.times(j, last));
                let offset = e.b.ins().iadd(along, inner);
                let offset = e.b.ins().iadd(offset, offsets[0]);
                let step = e.times(offset, unit);
                let address = e.b.ins().iadd(from, step);
                let value = e.b.ins().load(kind, flags(), address, 0);
                let step = e.times(number, unit);
                let to = e.b.ins().iadd(dst, step);
                e.b.ins().store(flags(), value, to, 0);
                Ok(())
            })
        })
    }

    fn map(&mut self, r: Reg, f: MapFn, args: &[Reg]) -> Result<(), String> {
        if self.layout.home[r as usize] == Home::Inside {
            return Ok(());
        }
        let operand = self.dtype(if f == MapFn::Where { args[1] } else { args[0] });
        if !self.is_row(r) && known(f, operand, self.dtype(r)) {
            let values = args.iter().map(|&a| self.scalar(a)).collect::<Result<Vec<_>, _>>()?;
            let value = self.map_lanes(f, operand, self.dtype(r), true, &values)?;
            return self.keep(r, value);
        }
        let n = if self.is_row(r) { self.tile_len } else { self.int(1) };
        let mut operands = vec![n, self.place(r)?];
        for &a in args {
            operands.push(self.place(a)?);
        }
        let address = match f {
            MapFn::StopGradient => self.primitives.copy(self.dtype(r)).address,
            _ => self.map_address(f, r, args)?,
        };
        self.call(address, &operands, None);
        Ok(())
    }

    /// A scalar of the row, for those who want its value and those who want its place.
    fn keep(&mut self, r: Reg, value: Value) -> Result<(), String> {
        let to = self.place(r)?;
        self.b.ins().store(flags(), value, to, 0);
        self.scalars[r as usize] = Some(value);
        Ok(())
    }

    fn fused(&mut self, r: Reg, f: FusedFn, args: &[Reg]) -> Result<(), String> {
        if !self.is_row(r) && matches!(f, FusedFn::MulAdd | FusedFn::SubMul) {
            let values = args.iter().map(|&a| self.scalar(a)).collect::<Result<Vec<_>, _>>()?;
            let value = self.fused_lanes(f, &values)?;
            return self.keep(r, value);
        }
        let mut scalar = [false; 3];
        for (s, &a) in scalar.iter_mut().zip(args) {
            *s = !self.is_row(a);
        }
        let mut operands = vec![self.tile_len, self.place(r)?];
        let primitive = match f {
            FusedFn::MulAdd => self.primitives.three(Three::Fma, scalar),
            FusedFn::SubMul => self.primitives.three(Three::SubScale, scalar),
            FusedFn::GeluSlope => self.primitives.gelu_slope(),
            FusedFn::Gelu => match self.rows.instrs.get(r as usize + 1) {
                Some(next) if next.op == (RowOp::Slope { of: r }) => {
                    operands.push(self.place(r + 1)?);
                    self.primitives.gelu_pair()
                }
                _ => self.primitives.gelu(),
            },
        };
        for &a in args {
            operands.push(self.place(a)?);
        }
        self.call(primitive.address, &operands, None);
        Ok(())
    }

    fn reduce(&mut self, r: Reg, f: ReduceFn, row: Reg) -> Result<(), String> {
        let dtype = self.dtype(r);
        let kind = element_type(dtype);
        let dst = self.place(r)?;
        if !self.is_row(row) {
            let from = self.place(row)?;
            return self.move_one(r, from);
        }
        let n = self.tile_len;
        let value = match (self.layout.home[row as usize], self.op(row)) {
            (Home::Inside, RowOp::Map { args, .. }) => {
                let (a, b) = (self.place(args[0])?, self.place(args[1])?);
                self.call(self.primitives.dot().address, &[n, a, b], Some(kind))
            }
            _ => {
                let from = self.place(row)?;
                let primitive = self.primitives.reduce(f, dtype).ok_or_else(|| format!("no primitive for {} of {dtype}", f.name()))?;
                self.call(primitive.address, &[n, from], Some(kind))
            }
        };
        let Some(mut value) = value else { return Ok(()) };
        if self.tile_at.is_some() {
            let before = self.b.ins().load(kind, flags(), dst, 0);
            value = self.combine(f, dtype, before, value);
        }
        self.b.ins().store(flags(), value, dst, 0);
        Ok(())
    }

    fn accumulate(&mut self, r: Reg, f: ReduceFn, value: Reg) -> Result<(), String> {
        let dtype = self.dtype(r);
        let base = self.base[r as usize].ok_or_else(|| format!("%{r} has no address"))?;
        if !self.is_row(value) {
            let kind = element_type(dtype);
            let from = self.place(value)?;
            let new = self.b.ins().load(kind, flags(), from, 0);
            let before = self.b.ins().load(kind, flags(), base, 0);
            let together = self.combine(f, dtype, before, new);
            self.b.ins().store(flags(), together, base, 0);
            return Ok(());
        }
        let n = self.tile_len;
        let dst = self.at_tile(base, dtype.bytes() as i64);
        if let (Home::Inside, RowOp::Map { args, .. }) = (self.layout.home[value as usize], self.op(value)) {
            let (mut a, mut b) = (args[0], args[1]);
            if !self.is_row(a) {
                std::mem::swap(&mut a, &mut b);
            }
            let whole = self.is_row(b);
            let primitive = if whole { self.primitives.accumulate_product() } else { self.primitives.accumulate_scaled() };
            let (a, b) = (self.place(a)?, self.place(b)?);
            self.call(primitive.address, &[n, dst, a, b], None);
            return Ok(());
        }
        let from = self.place(value)?;
        let primitive = self.primitives.accumulate(f, dtype).ok_or_else(|| format!("no primitive to fold {dtype}"))?;
        self.call(primitive.address, &[n, dst, from], None);
        Ok(())
    }

    fn store(&mut self, r: Reg, at: &Access, value: Reg) -> Result<(), String> {
        if matches!(self.layout.home[value as usize], Home::Memory(access) if access == r) {
            return Ok(());
        }
        let dtype = self.dtype(value);
        let unit = self.bytes(value);
        let spreads = at.inner.iter().any(|&s| s != 0);
        let to = self.address(r)?;
        let from = self.place(value)?;
        if !spreads {
            let kind = element_type(dtype);
            let element = self.b.ins().load(kind, flags(), from, 0);
            self.b.ins().store(flags(), element, to, 0);
            return Ok(());
        }
        let last = at.inner.last().copied().unwrap_or(0);
        let row = self.is_row(value);
        self.walk(&[&at.inner], &mut |e, element, offsets| {
            let (n, start, memory) = e.part(from, to, element, offsets[0], unit);
            match (row, last) {
                (true, 1) if streams(e.rows, r) => e.call(e.primitives.stream().address, &[n, memory, start], None),
                (true, 1) => e.call(e.primitives.copy(dtype).address, &[n, memory, start], None),
                (true, s) => {
                    let s = e.int(s);
                    e.call(e.primitives.store_strided(dtype).address, &[n, memory, start, s], None)
                }
                (false, 1) => e.call(e.primitives.fill(dtype).address, &[n, memory, from], None),
                (false, s) => {
                    let zero = e.int(0);
                    let kind = element_type(dtype);
                    let scalar = e.b.ins().load(kind, flags(), from, 0);
                    e.count(zero, n, 1, &mut |e, j| {
                        let step = e.times(j, s * unit);
                        let address = e.b.ins().iadd(memory, step);
                        e.b.ins().store(flags(), scalar, address, 0);
                        Ok(())
                    })?;
                    None
                }
            };
            Ok(())
        })
    }
}
