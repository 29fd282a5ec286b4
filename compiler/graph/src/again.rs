//! Cheap functions of one large value are computed again where they are wanted after a product, a scan or the like: what they are computed of
//! lies in memory until then, and so need not they. A gradient wants `2 x` and `x - mean` where the forward pass left x.

use crate::Graph;
use crate::build::Builder;
use crate::entity::Value;
use crate::fuse::late::{LARGE, is_cheap, levels};
use crate::fuse::{Class, class};
use crate::graph::{Node, Region};
use crate::op::Op;
use crate::rewrite::{self, Frame, Frames, New, Rewrite};

/// Most functions computed again for one operand.
const MOST: usize = 4;

/// Computes such functions again.
pub fn again(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Again { frames: Frames::default(), levels: Vec::new(), least: LARGE })
}

/// As [`again`], however small the values.
pub fn again_always(graph: &Graph) -> Graph {
    rewrite::graph(graph, &mut Again { frames: Frames::default(), levels: Vec::new(), least: 0 })
}

struct Again {
    /// Elements from which on a value is large.
    least: u64,
    frames: Frames,
    /// Of each open region: how many operations that are kernels of their own come before a node.
    levels: Vec<Vec<u32>>,
}

impl Rewrite for Again {
    fn enter(&mut self, region: &Region, read: &[Value]) {
        self.frames.enter(region, read);
        self.levels.push(levels(region));
    }

    fn leave(&mut self) {
        self.frames.leave();
        self.levels.pop();
    }

    fn node(&mut self, b: &mut Builder<'_>, node: Node, old: Value) -> New {
        let (levels, least) = (self.levels.last().map_or(&[][..], Vec::as_slice), self.least);
        self.frames.node(b, node, |frame, b, node| {
            if !matches!(node.op, Op::Map(_) | Op::Reduce(..)) {
                return None;
            }
            let level = levels[old.index()];
            let mut node = node.clone();
            let mut changed = false;
            for (input, &v) in node.inputs.iter_mut().zip(&frame.old.node(old).inputs) {
                if wanted(frame, b, levels, level, v, least) {
                    *input = copy(frame, b, levels, level, v, least, &mut MOST.clone());
                    changed = true;
                }
            }
            changed.then(|| b.region.push(node))
        })
    }
}

/// Whether a reader at `level` should compute a value itself.
fn wanted(frame: &Frame, b: &Builder<'_>, levels: &[u32], level: u32, v: Value, least: u64) -> bool {
    levels[v.index()] < level && !in_memory(frame, v) && is_cheap(b.axes, &frame.old, v, least)
}

/// The value once more.
fn copy(frame: &Frame, b: &mut Builder<'_>, levels: &[u32], level: u32, v: Value, least: u64, left: &mut usize) -> Value {
    if *left == 0 || !wanted(frame, b, levels, level, v, least) {
        return frame.stands_for(v);
    }
    *left -= 1;
    let mut node = frame.old.node(v).clone();
    node.inputs = node.inputs.iter().map(|&x| copy(frame, b, levels, level, x, least, left)).collect();
    b.region.push(node)
}

/// Whether a value lies in memory whoever reads it.
fn in_memory(frame: &Frame, v: Value) -> bool {
    frame.readers(v).iter().any(|r| r.is_none_or(|r| class(&frame.old, r) != Class::Row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{dce::dce, parse::parse, sample, text::print_plain, verify::verify};

    fn after(size: u64, rest: &str) -> String {
        let head = format!(
            "axis t = {size}\naxis a = 512\naxis c = 512\n%0 = input x : f32[t, a]\n%1 = input w : f32[a, c]\n%2 = input m : f32[t]\n\
             %3 = tanh %0 : f32[t, a]\n%4 = sub %3, %2 : f32[t, a]\n%5 = contract %3, %1 over [a] : f32[t, c]\n"
        );
        let graph = parse(&format!("{head}{rest}")).unwrap_or_else(|e| panic!("{e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{}", e[0]));
        let new = dce(&again(&graph));
        verify(&new).unwrap_or_else(|e| panic!("{}\n{}", e[0], print_plain(&new)));
        print_plain(&new)
    }

    const NEAR_AND_FAR: &str = "%6 = exp %4 : f32[t, a]\n%7 = rename %5 [c as a] : f32[t, a]\n%8 = mul %7, %4 : f32[t, a]\n\
        output n [t, a] = %6\noutput f [t, a] = %8\n";

    #[test]
    fn a_reader_behind_a_product_computes_it_again() {
        assert_eq!(after(512, NEAR_AND_FAR).matches("= sub").count(), 2);
    }

    #[test]
    fn small_values_and_those_in_memory_stay() {
        assert_eq!(after(4, NEAR_AND_FAR).matches("= sub").count(), 1);
        assert_eq!(after(512, &format!("{NEAR_AND_FAR}output all [t, a] = %4\n")).matches("= sub").count(), 1);
    }

    #[test]
    fn what_stays_is_well_formed() {
        let mut changed = 0;
        for seed in 0..300 {
            let graph = sample::graph(seed, 50);
            let new = again_always(&graph);
            changed += u32::from(new != graph);
            verify(&new).unwrap_or_else(|e| panic!("{seed}: {}\n{}", e[0], print_plain(&new)));
        }
        assert!(changed > 0);
    }
}
