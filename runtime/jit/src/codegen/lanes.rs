//! Element-wise functions in registers: of four elements, or of one.
//!
//! They do what the primitives of the same names do. A truth value is a lane of ones or zeros, or where there is one element a byte.

use super::emit::{Emitter, element_type};
use super::nest::flags;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};
use ogive_graph::kernel::FusedFn;
use ogive_graph::{DType, MapFn, ReduceFn};

/// Elements of a register.
pub(super) const LANES: u64 = 4;

/// Whether the function is one of those here.
pub(super) fn known(f: MapFn, operand: DType, result: DType) -> bool {
    use DType::{Bool, F32, I32};
    use MapFn::*;
    match f {
        Neg | Abs | Sqrt | Rsqrt | Recip | Relu | Div => operand == F32,
        Add | Sub | Mul => matches!(operand, F32 | I32),
        Max | Min => operand == F32,
        Eq | Ne | Lt | Le | Gt | Ge => matches!(operand, F32 | I32),
        And | Or | Not => operand == Bool,
        Where | StopGradient => operand != DType::F64,
        Cast => operand == result && operand != DType::F64 || matches!((operand, result), (I32 | Bool, F32) | (Bool, I32)),
        Sign | Exp | Log | Sin | Cos | Tanh | Sigmoid | Erf | Floor | Pow | Mod => false,
    }
}

/// The type of a register of so many elements.
fn kind(dtype: DType, single: bool) -> Type {
    match dtype {
        _ if single => element_type(dtype),
        DType::F32 | DType::F64 => types::F32X4,
        DType::I32 | DType::Bool => types::I32X4,
    }
}

impl Emitter<'_> {
    /// The elements of `dtype` at an address.
    pub(super) fn load_lanes(&mut self, dtype: DType, single: bool, at: Value, offset: i32) -> Value {
        if single || dtype != DType::Bool {
            return self.b.ins().load(kind(dtype, single), flags(), at, offset);
        }
        let bytes = self.b.ins().load(types::I32, flags(), at, offset);
        let bytes = self.b.ins().scalar_to_vector(types::I32X4, bytes);
        let bytes = self.cast(types::I8X16, bytes);
        let words = self.b.ins().uwiden_low(bytes);
        let lanes = self.b.ins().uwiden_low(words);
        let zero = self.b.ins().iconst(types::I32, 0);
        let zero = self.b.ins().splat(types::I32X4, zero);
        self.b.ins().icmp(IntCC::NotEqual, lanes, zero)
    }

    /// Writes elements of `dtype`.
    pub(super) fn store_lanes(&mut self, dtype: DType, single: bool, value: Value, at: Value, offset: i32) {
        let value = if single || dtype != DType::Bool {
            value
        } else {
            let words = self.b.ins().snarrow(value, value);
            let bytes = self.b.ins().snarrow(words, words);
            let four = self.cast(types::I32X4, bytes);
            let four = self.b.ins().extractlane(four, 0);
            self.b.ins().band_imm_u(four, 0x0101_0101)
        };
        self.b.ins().store(flags(), value, at, offset);
    }

    /// The same bits as another type of vector.
    fn cast(&mut self, to: Type, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == to {
            return value;
        }
        self.b.ins().bitcast(to, MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little), value)
    }

    /// A scalar in every lane.
    pub(super) fn splat(&mut self, dtype: DType, scalar: Value) -> Value {
        match dtype {
            DType::F32 | DType::F64 => self.b.ins().splat(types::F32X4, scalar),
            DType::I32 => self.b.ins().splat(types::I32X4, scalar),
            DType::Bool => {
                let lane = self.b.ins().bmask(types::I32, scalar);
                self.b.ins().splat(types::I32X4, lane)
            }
        }
    }

    /// 0, 1, 2, 3 times `step`.
    pub(super) fn ramp(&mut self, step: i32) -> Value {
        let bytes: Vec<u8> = (0..LANES as i32).flat_map(|i| (i.wrapping_mul(step)).to_le_bytes()).collect();
        let constant = self.b.func.dfg.constants.insert(bytes.into());
        self.b.ins().vconst(types::I32X4, constant)
    }

    /// A number in every element.
    fn number(&mut self, x: f32, single: bool) -> Value {
        let x = self.b.ins().f32const(x);
        if single { x } else { self.b.ins().splat(types::F32X4, x) }
    }

    /// `then` where `mask`, else `other`.
    fn choose(&mut self, single: bool, mask: Value, then: Value, other: Value) -> Value {
        if single {
            return self.b.ins().select(mask, then, other);
        }
        let mask = self.cast(self.b.func.dfg.value_type(then), mask);
        self.b.ins().bitselect(mask, then, other)
    }

    /// `a * b + c`, rounded once where the primitives do so.
    pub(super) fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.fma {
            return self.b.ins().fma(a, b, c);
        }
        let product = self.b.ins().fmul(a, b);
        self.b.ins().fadd(product, c)
    }

    /// The greater or the lesser of two f32; NaN where either is.
    pub(super) fn extreme_lanes(&mut self, f: ReduceFn, single: bool, a: Value, b: Value) -> Value {
        // This form is one instruction of the machine, which hands on NaN in b; that in a needs the selection.
        let better =
            if f == ReduceFn::Max { self.b.ins().fcmp(FloatCC::LessThan, b, a) } else { self.b.ins().fcmp(FloatCC::LessThan, a, b) };
        let best = self.choose(single, better, a, b);
        let sound = self.b.ins().fcmp(FloatCC::Equal, a, a);
        self.choose(single, sound, best, a)
    }

    /// A fused function.
    pub(super) fn fused_lanes(&mut self, f: FusedFn, args: &[Value]) -> Result<Value, String> {
        match f {
            FusedFn::MulAdd => Ok(self.mul_add(args[0], args[1], args[2])),
            FusedFn::SubMul => {
                let difference = self.b.ins().fsub(args[0], args[1]);
                Ok(self.b.ins().fmul(difference, args[2]))
            }
            FusedFn::Gelu | FusedFn::GeluSlope => Err(format!("{} in a loop", f.name())),
        }
    }

    /// A function that [`known`] admits.
    pub(super) fn map_lanes(&mut self, f: MapFn, operand: DType, result: DType, single: bool, args: &[Value]) -> Result<Value, String> {
        use MapFn::*;
        let a = args[0];
        let b = args.get(1).copied().unwrap_or(a);
        let float = operand == DType::F32;
        Ok(match f {
            Neg => self.b.ins().fneg(a),
            Abs => self.b.ins().fabs(a),
            Sqrt => self.b.ins().sqrt(a),
            Rsqrt | Recip => {
                let below = if f == Rsqrt { self.b.ins().sqrt(a) } else { a };
                let one = self.number(1.0, single);
                self.b.ins().fdiv(one, below)
            }
            Relu => {
                let zero = self.number(0.0, single);
                let negative = self.b.ins().fcmp(FloatCC::LessThan, a, zero);
                self.choose(single, negative, zero, a)
            }
            Add if float => self.b.ins().fadd(a, b),
            Sub if float => self.b.ins().fsub(a, b),
            Mul if float => self.b.ins().fmul(a, b),
            Add => self.b.ins().iadd(a, b),
            Sub => self.b.ins().isub(a, b),
            Mul => self.b.ins().imul(a, b),
            Div => self.b.ins().fdiv(a, b),
            Max => self.extreme_lanes(ReduceFn::Max, single, a, b),
            Min => self.extreme_lanes(ReduceFn::Min, single, a, b),
            Eq | Ne | Lt | Le | Gt | Ge => self.compare(f, float, a, b),
            And => self.b.ins().band(a, b),
            Or => self.b.ins().bor(a, b),
            Not if single => self.b.ins().bxor_imm_u(a, 1),
            Not => self.b.ins().bnot(a),
            Where => self.choose(single, a, b, args[2]),
            StopGradient => a,
            Cast => self.cast_lanes(operand, result, single, a),
            _ => return Err(format!("{} in a loop", f.name())),
        })
    }

    fn compare(&mut self, f: MapFn, float: bool, a: Value, b: Value) -> Value {
        let (of_float, of_int) = match f {
            MapFn::Eq => (FloatCC::Equal, IntCC::Equal),
            MapFn::Ne => (FloatCC::NotEqual, IntCC::NotEqual),
            MapFn::Lt => (FloatCC::LessThan, IntCC::SignedLessThan),
            MapFn::Le => (FloatCC::LessThanOrEqual, IntCC::SignedLessThanOrEqual),
            MapFn::Gt => (FloatCC::GreaterThan, IntCC::SignedGreaterThan),
            _ => (FloatCC::GreaterThanOrEqual, IntCC::SignedGreaterThanOrEqual),
        };
        if float { self.b.ins().fcmp(of_float, a, b) } else { self.b.ins().icmp(of_int, a, b) }
    }

    fn cast_lanes(&mut self, from: DType, to: DType, single: bool, a: Value) -> Value {
        match (from, to) {
            (DType::I32, DType::F32) => self.b.ins().fcvt_from_sint(kind(to, single), a),
            (DType::Bool, DType::F32) => {
                let (one, zero) = (self.number(1.0, single), self.number(0.0, single));
                self.choose(single, a, one, zero)
            }
            (DType::Bool, DType::I32) if single => self.b.ins().uextend(types::I32, a),
            (DType::Bool, DType::I32) => {
                let one = self.b.ins().iconst(types::I32, 1);
                let one = self.b.ins().splat(types::I32X4, one);
                self.b.ins().band(a, one)
            }
            _ => a,
        }
    }
}
