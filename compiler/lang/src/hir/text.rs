//! The instance tree as text: shapes, parameter counts, equations.

use super::{Instance, Program};
use crate::hir::{Init, InitKind};
use ogive_graph::{AxisId, DType};
use std::fmt::Write;

/// Prints an elaborated program: dims, then each instance with its inputs, parameters, outputs and number of parameters.
pub fn print(program: &Program) -> String {
    let mut out = String::new();
    let total = program.parameters().map_or_else(|| "unknown".into(), grouped);
    let _ = writeln!(out, "{} {} ({total} parameters)", word(program.root()), program.name);
    for (i, instance) in program.instances.iter().enumerate() {
        // instances of the objective hang on the root without being called by it
        if i == 0 || !instance.path.is_empty() {
            one(program, instance, &mut out);
        }
    }
    out
}

fn word(instance: &Instance) -> &'static str {
    match instance.kind {
        crate::syntax::BlockKind::Block => "block",
        crate::syntax::BlockKind::Cell => "cell",
        crate::syntax::BlockKind::Model => "model",
    }
}

fn one(program: &Program, instance: &Instance, out: &mut String) {
    let depth = if instance.path.is_empty() { 0 } else { instance.path.split('.').filter(|p| p.parse::<u32>().is_err()).count() };
    let pad = "  ".repeat(depth);
    if !instance.path.is_empty() {
        let count = instance.params.iter().try_fold(0u64, |n, p| n.checked_add(program.elements(instance, p)?));
        let count = count.map_or_else(|| "unknown".into(), grouped);
        let times = if instance.applications > 1 { format!(" x{}", instance.applications) } else { String::new() };
        let _ = writeln!(out, "{pad}{}: {}{times} ({count} parameters)", instance.path, instance.block);
    }
    for port in &instance.inputs {
        let batch = if port.lifted { program.batch } else { None };
        let dims: Vec<AxisId> = batch.into_iter().chain(port.dims.iter().copied()).collect();
        let _ = writeln!(out, "{pad}  in    {}: {}{}", port.name, sizes(program, &dims), kind(program, port.dtype, port.domain));
    }
    for param in &instance.params {
        let dims: Vec<AxisId> = instance.stacks.iter().chain(&param.dims).copied().collect();
        let _ = writeln!(out, "{pad}  param {}: {} ~ {}", param.name, sizes(program, &dims), init(&param.init));
    }
    for output in &instance.outputs {
        let dtype = instance.body[output.node.index()].ty.dtype;
        let _ = writeln!(out, "{pad}  out   {}: {}{}", output.name, sizes(program, &output.dims), kind(program, dtype, output.domain));
    }
    for tap in &instance.taps {
        let dtype = instance.body[tap.node.index()].ty.dtype;
        let _ = writeln!(out, "{pad}  tap   {}: {}{}", tap.name, sizes(program, &tap.dims), kind(program, dtype, None));
    }
}

fn kind(program: &Program, dtype: DType, domain: Option<AxisId>) -> String {
    match (dtype, domain) {
        (DType::F32 | DType::F64, _) => String::new(),
        (DType::Bool, _) => " bool".into(),
        (DType::I32, None) => " int".into(),
        (DType::I32, Some(axis)) => format!(" in {}", program.name_of(axis)),
    }
}

/// `[seq 256, model 412]`; a dim without a size shows its name only.
pub fn sizes(program: &Program, dims: &[AxisId]) -> String {
    let each: Vec<String> = dims
        .iter()
        .map(|&a| match program.size_of(a) {
            Some(size) => format!("{} {size}", program.name_of(a)),
            None => program.name_of(a).to_string(),
        })
        .collect();
    format!("[{}]", each.join(", "))
}

/// `normal(0.02)`.
pub fn init(init: &Init) -> String {
    let base = match init.kind {
        InitKind::Constant(0.0) => "zeros".to_string(),
        InitKind::Constant(1.0) => "ones".to_string(),
        InitKind::Constant(c) => format!("constant({c})"),
        InitKind::Normal { std } => format!("normal({std})"),
        InitKind::TruncatedNormal { std } => format!("truncated_normal({std})"),
        InitKind::Uniform { lo, hi } => format!("uniform({lo}, {hi})"),
    };
    if init.equal_norms.is_empty() { base } else { format!("{base} |> equal_norms") }
}

/// `47_260_120`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(super::grouped(47_260_120), "47_260_120");
        assert_eq!(super::grouped(999), "999");
        assert_eq!(super::grouped(1_000), "1_000");
    }
}
