//! Operations by name, so that a test can say which of them no case covers.

use super::Made;
use ogive_graph::{Op, Region};
use std::collections::BTreeSet;

/// One list for the name of each operation, the set of all names, and a match that the compiler holds to be exhaustive.
macro_rules! kinds {
    ($($name:literal => $pattern:pat,)*) => {
        /// Every operation's name.
        pub const ALL: &[&str] = &[$($name),*];

        /// The name of an operation.
        pub fn of(op: &Op) -> &'static str {
            match op {
                $($pattern => $name,)*
            }
        }
    };
}

kinds! {
    "input" => Op::Input(_),
    "param" => Op::Param(_),
    "argument" => Op::Argument(_),
    "const" => Op::Const(_),
    "iota" => Op::Iota(_),
    "random" => Op::Random(_),
    "map" => Op::Map(_),
    "reduce" => Op::Reduce(..),
    "argmax" => Op::ArgMax(_),
    "contract" => Op::Contract(_),
    "solve" => Op::Solve { .. },
    "rename" => Op::Rename(_),
    "split" => Op::Split { .. },
    "merge" => Op::Merge { .. },
    "slice" => Op::Slice { .. },
    "pad" => Op::Pad { .. },
    "concat" => Op::Concat { .. },
    "gather" => Op::Gather(_),
    "scatter_add" => Op::ScatterAdd { .. },
    "top" => Op::TopK { .. },
    "route" => Op::Route { .. },
    "routed" => Op::Routed { .. },
    "routed_outer" => Op::RoutedOuter { .. },
    "softmax" => Op::Softmax(_),
    "logsumexp" => Op::LogSumExp(_),
    "attend" => Op::Attend(_),
    "attend_grad" => Op::AttendGrad(_),
    "loop" => Op::Loop(_),
    "project" => Op::Project(_),
}

/// What a graph uses: operations, and `map NAME` and `reduce NAME` for their functions.
pub fn used(made: &Made) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    visit(&made.graph.region, &mut names);
    names
}

fn visit(region: &Region, names: &mut BTreeSet<String>) {
    for node in &region.nodes {
        names.insert(of(&node.op).into());
        match &node.op {
            Op::Map(f) => drop(names.insert(format!("map {}", f.name()))),
            Op::Reduce(f, _) => drop(names.insert(format!("reduce {}", f.name()))),
            Op::Loop(l) => visit(&l.body, names),
            _ => {}
        }
    }
}
