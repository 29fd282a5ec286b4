//! Attention and its gradient, by the definition: the score matrix is written out.
//!
//! With `s = scale * q @key k`, `p = softmax(s masked, over: source)`:
//! `mix = p @source v`; for the cotangent `g` of the mix, `dv = p @query g`, `dp = g @value v`, `row = sum(g * mix, over: value)`,
//! `ds = p * (dp - row)`, `dq = scale * ds @source k`, `dk = scale * ds @query q`.
//! A query that sees nothing has mix 0, log sum exp `-inf` and gradients 0.

use super::array::{Cells, Named, fault};
use super::map::zip;
use super::number::Real;
use super::reduce::{dot, each_row, row_log_sum_exp, softmax_rows};
use crate::backend::ExecError;
use ogive_graph::{Attention, Axis, Shape};

/// Mix and log sum exp.
pub(super) fn attend(a: &Attention, inputs: &[&Cells], table: &[Axis]) -> Result<Vec<Cells>, ExecError> {
    match *inputs {
        [Cells::F32(q), Cells::F32(k), Cells::F32(v)] => forward(a, [q, k, v], table).map(|r| r.map(Cells::F32).into()),
        [Cells::F64(q), Cells::F64(k), Cells::F64(v)] => forward(a, [q, k, v], table).map(|r| r.map(Cells::F64).into()),
        _ => Err(fault("attend of operands that do not fit")),
    }
}

/// Cotangents of q, k and v. Inputs q, k, v, mix, log sum exp, cotangent of the mix.
pub(super) fn attend_grad(a: &Attention, inputs: &[&Cells], table: &[Axis]) -> Result<Vec<Cells>, ExecError> {
    match *inputs {
        [Cells::F32(q), Cells::F32(k), Cells::F32(v), Cells::F32(m), Cells::F32(l), Cells::F32(g)] => {
            backward(a, [q, k, v, m, l, g], table).map(|r| r.map(Cells::F32).into())
        }
        [Cells::F64(q), Cells::F64(k), Cells::F64(v), Cells::F64(m), Cells::F64(l), Cells::F64(g)] => {
            backward(a, [q, k, v, m, l, g], table).map(|r| r.map(Cells::F64).into())
        }
        _ => Err(fault("attend_grad of operands that do not fit")),
    }
}

/// Scaled scores, `-inf` where the query does not see the source.
fn scores<T: Real>(a: &Attention, q: &Named<T>, k: &Named<T>, table: &[Axis]) -> Result<Named<T>, ExecError> {
    let scale = T::of(a.scale);
    let mut scores = dot(q, k, &[a.key], table)?.mapped(|s| s * scale);
    if let Some(offset) = a.causal {
        let (query, source) = (scores.dim(a.query)?, scores.dim(a.source)?);
        for (at, score) in scores.cells.indexed_iter_mut() {
            if at[source] as i64 > (at[query] as i64).saturating_add(offset) {
                *score = T::LOWEST;
            }
        }
    }
    Ok(scores)
}

fn forward<T: Real>(a: &Attention, [q, k, v]: [&Named<T>; 3], table: &[Axis]) -> Result<[Named<T>; 2], ExecError> {
    let scores = scores(a, q, k, table)?;
    let share = softmax_rows(&scores, &[a.source], table)?;
    Ok([dot(&share, v, &[a.source], table)?, each_row(&scores, &[a.source], table, row_log_sum_exp)?])
}

fn backward<T: Real>(a: &Attention, [q, k, v, mix, total, g]: [&Named<T>; 6], table: &[Axis]) -> Result<[Named<T>; 3], ExecError> {
    let scores = scores(a, q, k, table)?;
    let axes = Shape::of(scores.axes.iter().copied());
    let axes = axes.axes();
    let share = zip(&scores, total, axes, table, |s, l| if s == T::LOWEST { T::zero() } else { (s - l).exponential() })?;
    let row = each_row(&zip(g, mix, &g.axes, table, |g, m| g * m)?, &[a.value], table, |row| row.sum())?;
    let slope = zip(&dot(g, v, &[a.value], table)?, &row, axes, table, |d, r| d - r)?;
    let scale = T::of(a.scale);
    let slope = zip(&share, &slope, axes, table, |p, d| p * d * scale)?;
    Ok([dot(&slope, k, &[a.source], table)?, dot(&slope, q, &[a.query], table)?, dot(&share, g, &[a.query], table)?])
}
