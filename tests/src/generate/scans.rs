//! Scans of cells by chance.

use super::program::{Block, Dims, Given, Node, dims};
use super::scope::Scope;

impl Scope<'_> {
    /// A cell by chance, forward or backward, lifted over further dims.
    pub(super) fn scan(&mut self) -> Option<()> {
        if self.level > 1 || self.is_cell() || !self.allows("seq") {
            return None;
        }
        let count = 1 + self.chance.below(2);
        let inputs: Vec<Given> = (0..count)
            .map(|i| {
                let mut of = self.some_dims();
                of.retain(|d| !d.starts_with("seq"));
                Given { name: format!("x_{i}"), dims: of, domain: None }
            })
            .collect();
        let of = inputs[0].dims.clone();
        let matrix = self.chance.percent(35);
        let block = self.inner("cell", inputs, &["seq", "seq2"], |scope| {
            let mut states = Vec::new();
            for _ in 0..1 + scope.chance.below(2) {
                let mut of = if scope.chance.percent(50) { of.clone() } else { scope.some_dims() };
                of.retain(|d| !d.contains('~'));
                states.push((scope.state(&of), of));
            }
            if matrix && scope.allows_all(&["key", "width"]) {
                scope.delta_rule();
            }
            for _ in 0..scope.chance.below(2) {
                scope.construct();
            }
            for (state, of) in states {
                let value = scope.expression(&of, 3);
                let text = *scope.chance.one(&["tanh(#)", "0.5 * prev S + 0.5 * tanh(#)", "0.8 * prev S + #", "sigmoid(#) * prev S + 0.3"]);
                scope.define(&state, Node::of(of, &text.replace("prev S", &format!("prev {state}")), [value]));
            }
            let of = scope.wanted();
            scope.output("y", &of, 2);
            // what the step is lifted over reaches its result
            let given = scope.block.inputs[0].dims.clone();
            let all: Vec<String> = given.iter().cloned().collect();
            let read = if all.is_empty() { "x_0".to_owned() } else { format!("mean(x_0, over: [{}])", all.join(", ")) };
            if let Some(last) = scope.block.body.last_mut() {
                last.value = Node::of(of, &format!("# + 0.1 * {read}"), [last.value.clone()]);
            }
        });
        let mut extra = self.part_of(&dims(&["head", "front"]));
        extra.retain(|d| self.allows(d) && !block_has(&block, d));
        let mut arguments = Vec::new();
        for (i, given) in block.inputs.iter().enumerate() {
            let mut with = given.dims.clone();
            if i == 0 || self.chance.percent(75) {
                with.insert("seq".into());
            }
            if i == 0 {
                with.extend(extra.iter().cloned());
            }
            if !self.fits(&with) {
                return None;
            }
            arguments.push(self.expression(&with, 1));
        }
        let mut of = block.outputs[0].1.clone();
        of.insert("seq".into());
        of.extend(extra.iter().cloned());
        if !self.fits(&of) {
            return None;
        }
        let live = block.live();
        let states = extra.is_empty() && self.chance.percent(25) && block.states.iter().all(|s| live.contains(&s.name));
        let mut results: Dims = block.outputs[0].1.clone();
        if states {
            results.extend(block.states.iter().flat_map(|s| s.dims.iter().cloned()));
        }
        let backward = if self.chance.percent(25) { " backward" } else { "" };
        let holes = vec!["#"; arguments.len()].join(", ");
        let text = format!("scan {}({holes}{}){backward} along seq", block.name, self.labels(&block, &results));
        let y = self.fresh("y");
        let mut names = vec![(y.clone(), of.clone())];
        let mut left = y;
        if states {
            for state in &block.states {
                let name = self.fresh("last");
                names.push((name, state.dims.clone()));
            }
            left = format!("({})", names.iter().map(|n| n.0.clone()).collect::<Vec<_>>().join(", "));
        }
        self.state_that(left, names, Node::of(of, &text, arguments), true);
        Some(())
    }

    /// A matrix that is corrected towards what should be read from it.
    fn delta_rule(&mut self) {
        let (key, value) = (dims(&["key"]), dims(&["width"]));
        let state = self.state(&dims(&["key", "width"]));
        let k = self.expression(&key, 1);
        let k = self.equation(Node::of(key.clone(), "unit_norm(# + 0.1, over: key, epsilon: 0.01)", [k]));
        let v = self.expression(&value, 1);
        let v = self.equation(v);
        let rate = self.expression(&Dims::new(), 1);
        let rate = self.equation(Node::of(Dims::new(), "sigmoid(#)", [rate]));
        let text = format!("prev {state} + # * # * (# - # @key prev {state})");
        let made = Node::of(dims(&["key", "width"]), &text, [rate, k.clone(), v, k]);
        self.define(&state, made);
        let read = self.expression(&key, 1);
        self.equation(Node::of(value, &format!("# @key {state}"), [read]));
    }
}

/// Whether a block's own names include a dim.
pub(super) fn block_has(block: &Block, dim: &str) -> bool {
    let inside = block.body.iter().flat_map(|s| super::program::words(&s.value.text()).map(str::to_owned).collect::<Vec<_>>());
    let dims = block.params.iter().map(|p| &p.1).chain(block.inputs.iter().map(|g| &g.dims)).chain(block.states.iter().map(|s| &s.dims));
    dims.flatten().any(|d| d == dim) || block.outputs.iter().any(|o| o.1.contains(dim)) || inside.into_iter().any(|w| w == dim)
}
