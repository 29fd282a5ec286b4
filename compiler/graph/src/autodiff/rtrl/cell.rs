//! The step of a scan with its arguments in lists instead of numbers.

use super::super::loops::unify_arguments;
use crate::entity::Value;
use crate::graph::Region;
use crate::op::Loop;

/// A step. Arguments stand in `region`; each has the value outside that it stands for.
#[derive(Clone)]
pub(super) struct Cell {
    /// The step.
    pub(super) region: Region,
    /// New states, then collected values.
    pub(super) results: Vec<Value>,
    /// States; the argument is missing where no step reads it.
    pub(super) carries: Vec<(Option<Value>, Value)>,
    /// Given step by step.
    pub(super) stacked: Vec<(Value, Value)>,
    /// The same in all steps.
    pub(super) fixed: Vec<(Value, Value)>,
}

impl Cell {
    /// The step of a loop that has these operands.
    pub(super) fn of(l: &Loop, inputs: &[Value]) -> Self {
        let mut region = l.body.clone();
        let arguments = unify_arguments(&mut region);
        let results = std::mem::take(&mut region.results);
        let at = |i: usize| arguments.get(&(i as u32)).copied();
        let carries = (0..l.carries).map(|i| (at(i), inputs[i])).collect();
        let pairs = |range: std::ops::Range<usize>| range.filter_map(|i| Some((at(i)?, inputs[i]))).collect();
        let stacked = pairs(l.carries..l.carries + l.stacked);
        let fixed = pairs(l.carries + l.stacked..inputs.len());
        Cell { region, results, carries, stacked, fixed }
    }
}
