//! How far apart two runs of one program may lie: as far as its own rounding drives single from double precision, and some more.

use crate::check::Results;
use ogive_runtime::Tensor;
use std::collections::BTreeMap;

/// How much further than the reference in single precision another way may lie from double precision.
const MORE: f64 = 32.0;

/// What is known of the rounding of one program.
#[derive(Debug)]
pub(super) struct Rounding {
    /// Per tensor, the largest difference of single and double precision.
    error: BTreeMap<String, f64>,
    /// The largest number of all.
    largest: f64,
}

fn finite_largest(t: &Tensor) -> f64 {
    t.to_f64().iter().filter(|x| x.is_finite()).fold(0.0, |m, x| f64::max(m, x.abs()))
}

impl Rounding {
    /// Of a program that ran in both.
    pub(super) fn new(single: &Results, double: &Results) -> Self {
        let pairs = double.iter().filter_map(|(name, d)| Some((name, d, single.get(name)?)));
        let error = pairs.map(|(name, d, s)| {
            let apart = d.to_f64().into_iter().zip(s.to_f64()).map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() });
            (name.clone(), apart.filter(|x| x.is_finite()).fold(0.0, f64::max))
        });
        let largest = double.values().map(finite_largest).fold(0.0, f64::max);
        // Where every number cancels to zero nothing is known of the size of what cancels: cotangents and inputs are about one.
        Rounding { error: error.collect(), largest: if largest == 0.0 { 1.0 } else { largest } }
    }

    /// The same program computed in another way, whose rounding may be larger.
    pub(super) fn or(&self, single: &Results, double: &Results) -> Self {
        let mut other = Rounding::new(single, double);
        for (name, error) in &self.error {
            other.error.entry(name.clone()).and_modify(|e| *e = e.max(*error)).or_insert(*error);
        }
        Rounding { largest: self.largest, ..other }
    }

    /// Largest error of any tensor, relative to its largest element.
    pub(super) fn worst(&self, double: &Results) -> f64 {
        let relative = |(name, t): (&String, &Tensor)| {
            self.error.get(name).copied().unwrap_or(0.0) / (finite_largest(t) + 1e-3 * self.largest + f64::MIN_POSITIVE)
        };
        double.iter().map(relative).fold(0.0, f64::max)
    }

    /// By how much an element of a tensor may be off, where the unit of rounding is `unit` times that of single precision. A function of size 1
    /// may be off by two units in its last place, and a slope such as `1 - tanh^2` doubles that: 4.8e-7, however small the slope itself.
    /// A tensor that is zero because its terms cancel (the gradient of a softmax over one position) is what their rounding leaves.
    pub(super) fn allowed(&self, name: &str, exact: &Tensor, unit: f64) -> f64 {
        let error = self.error.get(name).copied().unwrap_or(0.0);
        let own = finite_largest(exact);
        let terms = if own <= 1e-9 * self.largest { 1e-5 } else { 5e-7 };
        unit * (MORE * error + 8e-6 * own + terms * self.largest) + f64::MIN_POSITIVE
    }

    /// The first element that is further off.
    pub(super) fn apart(&self, found: &Results, exact: &Results, unit: f64) -> Result<(), String> {
        if !found.keys().eq(exact.keys()) {
            return Err(format!("gives {:?} where {:?} belong", found.keys(), exact.keys()));
        }
        for (name, exact) in exact {
            let found = &found[name];
            if found.dims != exact.dims {
                return Err(format!("`{name}` has dims {:?} where {:?} belong", found.dims, exact.dims));
            }
            let allowed = if exact.dtype().is_float() { self.allowed(name, exact, unit) } else { 0.0 };
            for (i, (f, e)) in found.to_f64().into_iter().zip(exact.to_f64()).enumerate() {
                let off = if f == e { 0.0 } else { (f - e).abs() };
                if off.is_nan() || off > allowed {
                    return Err(format!("`{name}`[{i}] is {f:e} where {e:e} belongs; {allowed:.2e} is allowed"));
                }
            }
        }
        Ok(())
    }
}

/// Whether all floats are finite.
pub(super) fn all_finite(results: &Results) -> bool {
    results.values().all(|t| t.to_f64().iter().all(|x| x.is_finite()))
}
