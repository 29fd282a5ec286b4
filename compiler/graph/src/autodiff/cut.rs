//! Minimum cut of a directed graph with capacities (Dinic's algorithm): small graphs, exact, deterministic.

use std::collections::VecDeque;

/// A capacity that no cut contains.
pub(super) const NEVER: u64 = u64::MAX / 8;

/// Directed edges with capacities between numbered places.
pub(super) struct Flow {
    edges: Vec<Edge>,
    out: Vec<Vec<usize>>,
}

/// An edge and, at the next even or odd index, its opposite.
struct Edge {
    to: usize,
    left: u64,
}

impl Flow {
    /// No edges between `places` places.
    pub(super) fn new(places: usize) -> Self {
        Flow { edges: Vec::new(), out: vec![Vec::new(); places] }
    }

    /// An edge.
    pub(super) fn edge(&mut self, from: usize, to: usize, capacity: u64) {
        self.out[from].push(self.edges.len());
        self.edges.push(Edge { to, left: capacity });
        self.out[to].push(self.edges.len());
        self.edges.push(Edge { to: from, left: 0 });
    }

    /// The places from which `sink` can be reached once the flow from `source` is greatest: of all least cuts the one next to `sink`.
    pub(super) fn sink_side(mut self, source: usize, sink: usize) -> Vec<bool> {
        loop {
            let levels = self.levels(source);
            if levels[sink] == usize::MAX {
                return self.reaching(sink);
            }
            let mut next = vec![0; self.out.len()];
            while self.push(source, sink, &levels, &mut next) {}
        }
    }

    /// Distance from the source along edges with capacity left.
    fn levels(&self, source: usize) -> Vec<usize> {
        let mut levels = vec![usize::MAX; self.out.len()];
        levels[source] = 0;
        let mut queue = VecDeque::from([source]);
        while let Some(place) = queue.pop_front() {
            for &e in &self.out[place] {
                let edge = &self.edges[e];
                if edge.left > 0 && levels[edge.to] == usize::MAX {
                    levels[edge.to] = levels[place] + 1;
                    queue.push_back(edge.to);
                }
            }
        }
        levels
    }

    /// Sends flow along one path of rising levels; `next` remembers edges found useless.
    fn push(&mut self, source: usize, sink: usize, levels: &[usize], next: &mut [usize]) -> bool {
        let mut path: Vec<usize> = Vec::new();
        let mut place = source;
        while place != sink {
            if let Some(&e) = self.out[place].get(next[place]) {
                let edge = &self.edges[e];
                if edge.left > 0 && levels[edge.to] == levels[place] + 1 {
                    path.push(e);
                    place = edge.to;
                } else {
                    next[place] += 1;
                }
            } else {
                let Some(e) = path.pop() else { return false };
                place = self.edges[e ^ 1].to;
                next[place] += 1;
            }
        }
        let amount = path.iter().map(|&e| self.edges[e].left).min().unwrap_or(0);
        for e in path {
            self.edges[e].left -= amount;
            self.edges[e ^ 1].left = self.edges[e ^ 1].left.saturating_add(amount);
        }
        true
    }

    /// The places from which the sink can be reached along edges with capacity left.
    fn reaching(&self, sink: usize) -> Vec<bool> {
        let mut side = vec![false; self.out.len()];
        side[sink] = true;
        let mut queue = VecDeque::from([sink]);
        while let Some(place) = queue.pop_front() {
            for &e in &self.out[place] {
                let from = self.edges[e].to;
                if self.edges[e ^ 1].left > 0 && !side[from] {
                    side[from] = true;
                    queue.push_back(from);
                }
            }
        }
        side
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_least_cuts_the_one_next_to_the_sink_is_taken() {
        let mut flow = Flow::new(4);
        for (from, to) in [(0, 1), (1, 2), (2, 3)] {
            flow.edge(from, to, 5);
        }
        assert_eq!(flow.sink_side(0, 3), [false, false, false, true]);
    }

    #[test]
    fn a_cut_goes_through_the_narrow_edges() {
        // 0 -> {1, 2} -> 3 -> {4, 5} -> 6, narrow between 3 and its successors.
        let mut flow = Flow::new(7);
        for (from, to, capacity) in
            [(0, 1, NEVER), (0, 2, NEVER), (1, 3, 9), (2, 3, 9), (3, 4, 2), (3, 5, 3), (1, 4, 1), (4, 6, NEVER), (5, 6, NEVER)]
        {
            flow.edge(from, to, capacity);
        }
        assert_eq!(flow.sink_side(0, 6), [false, false, false, false, true, true, true]);
    }

    #[test]
    fn flow_is_sent_back_where_a_path_was_chosen_badly() {
        let mut flow = Flow::new(4);
        for (from, to, capacity) in [(0, 1, 1), (0, 2, 1), (1, 2, 1), (1, 3, 1), (2, 3, 1)] {
            flow.edge(from, to, capacity);
        }
        assert_eq!(flow.sink_side(0, 3), [false, false, false, true]);
    }
}
