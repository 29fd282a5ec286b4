//! Every primitive on every instruction set that this machine has, against plain f64.

mod floats;
mod rows;
mod wholes;

use super::{Primitive, Primitives};
use std::mem::transmute;

/// Lengths around the sixteen lanes, and longer.
pub(super) const LENGTHS: &[usize] = &[0, 1, 2, 7, 15, 16, 17, 31, 33, 64, 65, 100, 513];

/// Runs `(n, dst, a)`.
pub(super) fn call1<T: Copy, U: Copy>(p: Primitive, a: &[T], fill: U) -> Vec<U> {
    let mut dst = vec![fill; a.len()];
    // Safety: the signature is that of the method that gave `p`; the slices hold n elements.
    unsafe {
        let f: unsafe extern "C" fn(usize, *mut U, *const T) = transmute(p.address);
        f(a.len(), dst.as_mut_ptr(), a.as_ptr());
    }
    dst
}

/// Runs `(n, dst, a, b)`.
pub(super) fn call2<T: Copy, U: Copy>(p: Primitive, n: usize, a: &[T], b: &[T], fill: U) -> Vec<U> {
    let mut dst = vec![fill; n];
    // Safety: as in `call1`.
    unsafe {
        let f: unsafe extern "C" fn(usize, *mut U, *const T, *const T) = transmute(p.address);
        f(n, dst.as_mut_ptr(), a.as_ptr(), b.as_ptr());
    }
    dst
}

/// Runs `(n, dst, a, b, c)`.
pub(super) fn call3<C: Copy, T: Copy>(p: Primitive, n: usize, a: &[C], b: &[T], c: &[T], fill: T) -> Vec<T> {
    let mut dst = vec![fill; n];
    // Safety: as in `call1`.
    unsafe {
        let f: unsafe extern "C" fn(usize, *mut T, *const C, *const T, *const T) = transmute(p.address);
        f(n, dst.as_mut_ptr(), a.as_ptr(), b.as_ptr(), c.as_ptr());
    }
    dst
}

/// Runs `(n, a) -> U`.
pub(super) fn reduce<T: Copy, U>(p: Primitive, a: &[T]) -> U {
    // Safety: as in `call1`.
    unsafe {
        let f: unsafe extern "C" fn(usize, *const T) -> U = transmute(p.address);
        f(a.len(), a.as_ptr())
    }
}

/// Numbers in `[low, high)`, the same every time.
pub(super) fn numbers(n: usize, seed: u32, low: f32, high: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(12_345);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        low + (high - low) * ((state >> 8) as f32 / 16_777_216.0)
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// Distance in units in the last place of the rounded reference; equal infinities and NaN are at distance 0.
pub(super) fn ulps(found: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if found.to_bits() == rounded.to_bits() || (found.is_nan() && exact.is_nan()) {
        return 0.0;
    }
    if !found.is_finite() || !rounded.is_finite() {
        return f64::INFINITY;
    }
    let magnitude = rounded.abs().max(f32::MIN_POSITIVE);
    let unit = f64::from(f32::from_bits(magnitude.to_bits() + 1)) - f64::from(magnitude);
    (f64::from(found) - exact).abs() / unit
}

#[test]
fn sets_are_chosen_by_name_and_the_best_comes_first() {
    let best = Primitives::select(None).map(Primitives::name);
    assert_eq!(best, Primitives::all().next().map(Primitives::name));
    assert_eq!(Primitives::select(Some("portable")).map(Primitives::name), Some("portable"));
    assert!(Primitives::select(Some("vector unit")).is_none());
}
