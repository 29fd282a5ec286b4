//! Places buffers in the arena: two buffers share bytes only when no step needs both. Buffers made outside a loop and touched inside live for
//! the whole loop.

use crate::plan::{Place, Plan, Slot, Step};
use std::collections::BTreeMap;

/// Alignment of every buffer in bytes.
pub const ALIGN: u64 = 64;
/// Distance in bytes of addresses that the first-level cache keeps in the same place.
const PAGE: u64 = 4096;
/// Bytes by which buffers of whole pages are set apart.
const SKEW: u64 = 5 * ALIGN;

/// Computes lifetimes and offsets; `scopes` has, per buffer, the loops around the place that made it.
pub fn place(plan: &mut Plan, scopes: &[Vec<u32>]) {
    let mut walk = Walk { now: 0, lives: vec![None; plan.buffers.len()], ranges: BTreeMap::new(), touched: Vec::new() };
    walk.steps(&plan.steps, &mut Vec::new());
    walk.extend(scopes);
    for (buffer, life) in plan.buffers.iter_mut().zip(&walk.lives) {
        buffer.life = life.unwrap_or((0, 0));
    }
    plan.arena = space(plan, |p| matches!(p, Place::Arena(_)), Place::Arena);
    plan.local = space(plan, |p| matches!(p, Place::Local(_)), Place::Local);
}

/// Gives the buffers of one space their offsets; the size of the space.
fn space(plan: &mut Plan, of: fn(Place) -> bool, at: fn(u64) -> Place) -> u64 {
    let mut order: Vec<usize> = (0..plan.buffers.len()).filter(|&i| of(plan.buffers[i].place)).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(plan.buffers[i].bytes()), plan.buffers[i].life.0, i));
    let (mut placed, mut all): (Vec<usize>, u64) = (Vec::new(), 0);
    for i in order {
        let offset = lowest_gap(plan, &placed, i);
        plan.buffers[i].place = at(offset);
        all = all.max(offset + rounded(plan.buffers[i].bytes()));
        placed.push(i);
    }
    all
}

/// Space of a buffer. What fills whole pages gets some lines more: buffers that are walked side by side would otherwise compete for the same
/// lines of the caches.
fn rounded(bytes: u64) -> u64 {
    let skew = if bytes > 0 && bytes.is_multiple_of(PAGE) { SKEW } else { 0 };
    bytes.div_ceil(ALIGN) * ALIGN + skew
}

/// Lowest offset at which buffer `i` meets no buffer that is alive at the same time.
fn lowest_gap(plan: &Plan, placed: &[usize], i: usize) -> u64 {
    let life = plan.buffers[i].life;
    let size = rounded(plan.buffers[i].bytes());
    let mut taken: Vec<(u64, u64)> = placed
        .iter()
        .map(|&j| &plan.buffers[j])
        .filter(|b| b.life.0 <= life.1 && life.0 <= b.life.1)
        .filter_map(|b| match b.place {
            Place::Arena(at) | Place::Local(at) => Some((at, at + rounded(b.bytes()))),
            _ => None,
        })
        .collect();
    taken.sort_unstable();
    let mut offset = 0;
    for (from, to) in taken {
        if offset + size <= from {
            break;
        }
        offset = offset.max(to);
    }
    offset
}

struct Walk {
    now: u32,
    lives: Vec<Option<(u32, u32)>>,
    /// First and last step of each loop.
    ranges: BTreeMap<u32, (u32, u32)>,
    /// Buffer and the loops around a step that touches it.
    touched: Vec<(u32, Vec<u32>)>,
}

impl Walk {
    fn steps(&mut self, steps: &[Step], path: &mut Vec<u32>) {
        for step in steps {
            match step {
                Step::Launch { args, .. } => {
                    self.now += 1;
                    for Slot { buffer, .. } in args {
                        let life = self.lives[*buffer as usize].get_or_insert((self.now, self.now));
                        life.1 = self.now;
                        if !path.is_empty() {
                            self.touched.push((*buffer, path.clone()));
                        }
                    }
                }
                Step::Loop { id, body, .. } => {
                    self.now += 1;
                    let first = self.now;
                    path.push(*id);
                    self.steps(body, path);
                    path.pop();
                    self.now += 1;
                    self.ranges.insert(*id, (first, self.now));
                }
            }
        }
    }

    fn extend(&mut self, scopes: &[Vec<u32>]) {
        for (buffer, path) in &self.touched {
            let own = &scopes[*buffer as usize];
            let Some(outer) = path.iter().find(|id| !own.contains(id)) else { continue };
            let (Some(range), Some(life)) = (self.ranges.get(outer), self.lives[*buffer as usize].as_mut()) else { continue };
            life.0 = life.0.min(range.0);
            life.1 = life.1.max(range.1);
        }
    }
}
