//! Whether nodes fit into one row program, and which axes its rows have.

use super::{domain_of, reduction};
use crate::entity::{AxisId, Value};
use crate::graph::{Graph, Region};
use crate::op::{MapFn, Op};
use crate::schedule::layout::Layout;
use crate::shape::Shape;

/// Longest row that is kept whole so that a later instruction can read it again.
pub(super) const LONGEST_ROW: u64 = 1 << 15;

/// Most effort, in additions, of what is computed once for each row from other values than the row's own.
const AHEAD: u64 = 24;

/// Domain of a set of row operations and the axes of its rows, if the operations fix them; `None` where no row program holds them all.
pub fn fit(graph: &Graph, region: &Region, layout: &Layout, members: &[Value]) -> Option<(Shape, Option<Shape>)> {
    let domain = members.iter().map(|&v| domain_of(region, v)).max_by_key(Shape::rank)?;
    let mut allowed: Option<Vec<Shape>> = None;
    let mut demand = |options: Vec<Shape>| {
        let kept: Vec<Shape> = match &allowed {
            None => options,
            Some(old) => old.iter().filter(|s| options.contains(s)).cloned().collect(),
        };
        let possible = !kept.is_empty();
        allowed = Some(kept);
        possible
    };
    let consumed = |v: Value| members.iter().any(|&m| m > v && region.node(m).inputs.contains(&v));
    let mut reduces_rows = false;
    let mut scalars = false;
    for &v in members {
        let own = domain_of(region, v);
        if own != domain {
            if !domain.contains_all(&own) {
                return None;
            }
            scalars = true;
            if !demand(vec![domain.minus(&own)]) {
                return None;
            }
        }
        let Some((f, over)) = reduction(region, v) else { continue };
        if own != domain {
            // A scalar of the row can only be folded over all rows.
            if over != own || f.is_none() || consumed(v) {
                return None;
            }
            continue;
        }
        let to_row = over.clone();
        let whole = over == domain;
        let fits_row = graph.elements(&to_row) <= LONGEST_ROW;
        if consumed(v) || f.is_none() {
            if (!fits_row && consumed(v)) || !demand(vec![to_row]) {
                return None;
            }
            reduces_rows = true;
        } else if !whole && !demand(vec![to_row, domain.minus(&over)]) {
            return None;
        }
    }
    if scalars && ahead(region, members, &domain) > AHEAD {
        return None;
    }
    let Some(options) = allowed else { return Some((domain, None)) };
    let last = innermost(region, layout, members, &domain);
    let by_layout = options.iter().find(|s| last.is_some_and(|a| s.contains(a)));
    let inner = by_layout.or(options.first()).cloned()?;
    // Rows across memory are slower than one more pass over it.
    if members.len() > 1 && (scalars || reduces_rows) && by_layout.is_none() {
        return None;
    }
    Some((domain, Some(inner)))
}

/// Effort, for each row, of scalars that need nothing of the row: one at a time they cost what many at once cost in a kernel of their own.
fn ahead(region: &Region, members: &[Value], domain: &Shape) -> u64 {
    let mut of_row: Vec<Value> = Vec::new();
    let mut total = 0;
    for &v in members {
        let node = region.node(v);
        if domain_of(region, v) == *domain || node.inputs.iter().any(|i| of_row.contains(i)) {
            of_row.push(v);
            continue;
        }
        total += match &node.op {
            Op::Map(MapFn::Exp | MapFn::Log | MapFn::Tanh | MapFn::Sigmoid | MapFn::Erf | MapFn::Sin | MapFn::Cos | MapFn::Pow) => 8,
            _ => 1,
        };
    }
    total
}

/// The axis that varies fastest in memory over the domain.
pub fn innermost(region: &Region, layout: &Layout, members: &[Value], domain: &Shape) -> Option<AxisId> {
    lead(region, layout, members, domain).into_iter().next_back()
}

/// The domain's axes in the order of the member or operand that covers it.
pub fn lead(region: &Region, layout: &Layout, members: &[Value], domain: &Shape) -> Vec<AxisId> {
    let random = members.iter().find_map(|&v| match &region.node(v).op {
        Op::Random(r) if region.ty(v).shape == *domain => Some(r.order.clone()),
        _ => None,
    });
    if let Some(order) = random {
        return order;
    }
    let covers = |v: Value| region.ty(v).shape == *domain;
    let outside = members.iter().flat_map(|&m| region.node(m).inputs.iter().copied()).find(|&v| covers(v) && !members.contains(&v));
    let inside = || members.iter().copied().find(|&v| covers(v));
    match outside.or_else(inside) {
        Some(v) => layout.orders[v.index()].clone(),
        None => domain.iter().collect(),
    }
}
