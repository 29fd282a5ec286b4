//! Results of two back ends side by side.

use super::Results;
use crate::cases::Class;
use ogive_runtime::Tensor;

/// By how much an f32 result may differ from the exact one, relative to the element and, one tenth of it, to the largest of its tensor.
pub fn tolerance(class: Class) -> f64 {
    match class {
        Class::Exact => 0.0,
        Class::Elementary => 4e-7,
        Class::Sum => 3e-6,
        Class::Composite => 1.5e-5,
        Class::Deep => 4e-5,
    }
}

/// Where results lie further apart than `tolerance`, in words. Results without a float must be equal.
///
/// # Errors
/// The element that is furthest off.
pub fn apart(found: &Results, exact: &Results, tolerance: f64) -> Result<(), String> {
    if !found.keys().eq(exact.keys()) {
        return Err(format!("results {:?} against {:?}", found.keys(), exact.keys()));
    }
    for (name, exact) in exact {
        tensors(&found[name], exact, tolerance).map_err(|why| format!("`{name}` {why}"))?;
    }
    Ok(())
}

fn tensors(found: &Tensor, exact: &Tensor, tolerance: f64) -> Result<(), String> {
    if found.dims != exact.dims {
        return Err(format!("has dims {:?} against {:?}", found.dims, exact.dims));
    }
    let tolerance = if exact.dtype().is_float() { tolerance } else { 0.0 };
    let (found, exact) = (values(found), values(exact));
    let largest = exact.iter().filter(|x| x.is_finite()).fold(0.0f64, |m, x| m.max(x.abs()));
    let mut worst = (0.0, 0);
    for (i, (&f, &e)) in found.iter().zip(&exact).enumerate() {
        let same = f.to_bits() == e.to_bits() || f == e || (f.is_nan() && e.is_nan());
        let excess = if same { 0.0 } else { (f - e).abs() - tolerance * e.abs().max(0.1 * largest) };
        let excess = if excess.is_nan() { f64::INFINITY } else { excess };
        if excess > worst.0 {
            worst = (excess, i);
        }
    }
    if worst.0 > 0.0 {
        let i = worst.1;
        return Err(format!("[{i}] is {} where {} belongs; the largest is {largest}", found[i], exact[i]));
    }
    Ok(())
}

/// Elements as f64.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_f64()
}
