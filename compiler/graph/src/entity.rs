//! Ids of the graph: `u32` newtypes whose `Display` is what the textual form prints.

use std::fmt;

/// An axis of a [`crate::Graph`]: an entry of its axis table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AxisId(pub u32);

/// The result of a node of one [`crate::Region`]. Meaningful only within that region.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Value(pub u32);

impl AxisId {
    /// Position in the axis table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl Value {
    /// Position in the region's nodes.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}
