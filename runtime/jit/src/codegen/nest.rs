//! Small tools of the emitter: calls, loops, arithmetic on addresses.

use super::emit::Emitter;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, BlockArg, InstBuilder, MemFlagsData, Signature, Type, Value, types};

/// Loads and stores of memory that is there.
pub(super) fn flags() -> MemFlagsData {
    MemFlagsData::trusted().with_aligned_false()
}

trait Unaligned {
    fn with_aligned_false(self) -> Self;
}

impl Unaligned for MemFlagsData {
    fn with_aligned_false(self) -> Self {
        MemFlagsData::new().with_notrap()
    }
}

impl Emitter<'_> {
    /// An i64 constant.
    pub(super) fn int(&mut self, value: i64) -> Value {
        self.b.ins().iconst(types::I64, value)
    }

    /// `base + offset` bytes.
    pub(super) fn beyond(&mut self, base: Value, offset: i64) -> Value {
        if offset == 0 { base } else { self.b.ins().iadd_imm_s(base, offset) }
    }

    /// `value * factor`.
    pub(super) fn times(&mut self, value: Value, factor: i64) -> Value {
        match factor {
            1 => value,
            f if f > 0 && (f as u64).is_power_of_two() => self.b.ins().ishl_imm_u(value, i64::from(f.trailing_zeros())),
            f => self.b.ins().imul_imm_s(value, f),
        }
    }

    /// Calls a function at a fixed address. Parameters are pointer-sized unless their values are i32.
    pub(super) fn call(&mut self, address: *const u8, args: &[Value], result: Option<Type>) -> Option<Value> {
        let kinds: Vec<Type> = args.iter().map(|&a| self.b.func.dfg.value_type(a)).collect();
        let key = (kinds.clone(), result);
        let signature = match self.signatures.iter().find(|(k, _)| *k == key) {
            Some(&(_, s)) => s,
            None => {
                let mut signature = Signature::new(self.convention);
                signature.params.extend(kinds.iter().map(|&k| AbiParam::new(k)));
                signature.returns.extend(result.map(AbiParam::new));
                let s = self.b.import_signature(signature);
                self.signatures.push((key, s));
                s
            }
        };
        let callee = self.int(address as i64);
        let call = self.b.ins().call_indirect(signature, callee, args);
        result.map(|_| self.b.inst_results(call)[0])
    }

    /// A loop over `from, from + step, ... < to`; the body gets the counter.
    pub(super) fn count(
        &mut self,
        from: Value,
        to: Value,
        step: i64,
        body: &mut dyn FnMut(&mut Self, Value) -> Result<(), String>,
    ) -> Result<(), String> {
        let (head, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.append_block_param(head, types::I64);
        self.b.ins().jump(head, &[BlockArg::Value(from)]);
        self.b.switch_to_block(head);
        let counter = self.b.block_params(head)[0];
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, counter, to);
        self.b.ins().brif(more, inside, &[], after, &[]);
        self.b.switch_to_block(inside);
        body(self, counter)?;
        let next = self.b.ins().iadd_imm_s(counter, step);
        self.b.ins().jump(head, &[BlockArg::Value(next)]);
        self.b.switch_to_block(after);
        Ok(())
    }

    /// Walks all inner dims but the last: the body gets the element number in the row and one offset (in elements) per list of strides.
    pub(super) fn walk(
        &mut self,
        strides: &[&[i64]],
        body: &mut dyn FnMut(&mut Self, Value, &[Value]) -> Result<(), String>,
    ) -> Result<(), String> {
        let sizes: Vec<u64> = self.rows.inner.clone();
        let leading = sizes.len().saturating_sub(1);
        let zero = self.int(0);
        self.walk_dim(0, leading, &sizes, strides, zero, &vec![zero; strides.len()], body)
    }

    fn walk_dim(
        &mut self,
        dim: usize,
        leading: usize,
        sizes: &[u64],
        strides: &[&[i64]],
        element: Value,
        offsets: &[Value],
        body: &mut dyn FnMut(&mut Self, Value, &[Value]) -> Result<(), String>,
    ) -> Result<(), String> {
        if dim == leading {
            return body(self, element, offsets);
        }
        let behind: u64 = sizes[dim + 1..].iter().product();
        let (from, to) = (self.int(0), self.int(sizes[dim] as i64));
        self.count(from, to, 1, &mut |e, i| {
            let step = e.times(i, behind as i64);
            let element = e.b.ins().iadd(element, step);
            let mut moved = Vec::new();
            for (s, &offset) in strides.iter().zip(offsets) {
                let step = e.times(i, s[dim]);
                moved.push(e.b.ins().iadd(offset, step));
            }
            e.walk_dim(dim + 1, leading, sizes, strides, element, &moved, body)
        })
    }
}
