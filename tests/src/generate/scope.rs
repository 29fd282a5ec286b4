//! A block under construction: what its expressions may name.

use super::chance::Chance;
use super::program::{Block, Dims, Given, Node, Program, State, Statement, size};

/// Most elements of one tensor.
const ELEMENTS: u64 = 700;

/// A block that is being written.
pub(super) struct Scope<'p> {
    /// Where random choices come from.
    pub chance: &'p mut Chance,
    /// The file so far.
    pub program: &'p mut Program,
    /// The block so far.
    pub block: Block,
    /// What can be named, with its dims: texts such as `h` and `prev W`.
    pub values: Vec<(String, Dims)>,
    /// Inputs that hold positions: name, dims, and the dim they are positions of.
    pub positions: Vec<(String, Dims, String)>,
    /// Dims that may occur.
    pub allowed: Vec<String>,
    /// How many blocks stand around this one.
    pub level: usize,
    /// Whether the block that is run is given nothing more.
    pub closed: bool,
    /// Whether no scan goes backward.
    pub forward_only: bool,
    /// Whether units of a cell may read each other, a few of them.
    pub mixes: bool,
    made: usize,
}

impl<'p> Scope<'p> {
    /// A block without equations yet.
    pub(super) fn new(
        chance: &'p mut Chance,
        program: &'p mut Program,
        kind: &'static str,
        name: String,
        inputs: Vec<Given>,
        allowed: Vec<String>,
        level: usize,
    ) -> Self {
        let values = inputs.iter().filter(|g| g.domain.is_none()).map(|g| (g.name.clone(), g.dims.clone())).collect();
        let positions = inputs.iter().filter_map(|g| Some((g.name.clone(), g.dims.clone(), g.domain.clone()?))).collect();
        let block = Block { kind, name, inputs, params: Vec::new(), states: Vec::new(), body: Vec::new(), outputs: Vec::new() };
        Scope { chance, program, block, values, positions, allowed, level, closed: false, forward_only: false, mixes: true, made: 0 }
    }

    /// A name that nothing has yet.
    pub(super) fn fresh(&mut self, of: &str) -> String {
        self.made += 1;
        format!("{of}_{}", self.made)
    }

    /// Whether the block is a step.
    pub(super) fn is_cell(&self) -> bool {
        self.block.kind == "cell"
    }

    /// Whether a dim may occur.
    pub(super) fn allows(&self, dim: &str) -> bool {
        self.allowed.iter().any(|d| d == dim)
    }

    /// Whether all of several dims may.
    pub(super) fn allows_all(&self, dims: &[&str]) -> bool {
        dims.iter().all(|d| self.allows(d))
    }

    /// The size of a dim.
    pub(super) fn size(&self, dim: &str) -> u64 {
        size(&self.program.sizes, dim)
    }

    /// The number of elements.
    pub(super) fn elements(&self, dims: &Dims) -> u64 {
        dims.iter().map(|d| self.size(d)).product()
    }

    /// Whether a tensor may be that large.
    pub(super) fn fits(&self, dims: &Dims) -> bool {
        self.elements(dims) <= ELEMENTS && dims.len() <= 5
    }

    /// Dims by chance: none to three.
    pub(super) fn some_dims(&mut self) -> Dims {
        let mut out = Dims::new();
        for _ in 0..[0, 1, 1, 2, 2, 2, 3, 3][self.chance.below(8)] {
            let dim = self.chance.one(&self.allowed).clone();
            let mut with = out.clone();
            with.insert(dim);
            if self.fits(&with) {
                out = with;
            }
        }
        out
    }

    /// A part of some dims.
    pub(super) fn part_of(&mut self, of: &Dims) -> Dims {
        of.iter().filter(|_| self.chance.percent(55)).cloned().collect()
    }

    /// A dim that a tensor does not have, nor anything like it, and could have.
    pub(super) fn other_than(&mut self, taken: &Dims) -> Option<String> {
        for _ in 0..8 {
            let dim = self.chance.one(&self.allowed).clone();
            let mut with = taken.clone();
            if with.insert(dim.clone()) && self.fits(&with) {
                return Some(dim);
            }
        }
        None
    }

    /// A parameter or, in what is run, an input.
    pub(super) fn leaf(&mut self, dims: &Dims) -> Node {
        let input = self.block.kind == "model" && self.chance.percent(40) && !self.closed;
        let name = self.fresh(if input { "x" } else { "W" });
        if input {
            self.block.inputs.push(Given { name: name.clone(), dims: dims.clone(), domain: None });
        } else {
            self.block.params.push((name.clone(), dims.clone()));
        }
        if self.chance.percent(60) {
            self.values.push((name.clone(), dims.clone()));
        }
        Node::name(&name, dims)
    }

    /// A state, with a name that has no equation yet.
    pub(super) fn state(&mut self, dims: &Dims) -> String {
        let name = self.fresh("S");
        let start = ["0", "0", "0.5", "param ~ normal(1)"][self.chance.below(4)].to_owned();
        self.block.states.push(State { name: name.clone(), dims: dims.clone(), start });
        self.values.push((format!("prev {name}"), dims.clone()));
        name
    }

    /// An equation for a float tensor with a new name.
    pub(super) fn equation(&mut self, value: Node) -> Node {
        let name = self.fresh("v");
        self.define(&name, value);
        let dims = self.values.last().map(|v| v.1.clone()).unwrap_or_default();
        Node::name(&name, &dims)
    }

    /// An equation for a given name.
    pub(super) fn define(&mut self, name: &str, value: Node) {
        let dims = value.dims.clone();
        self.block.body.push(Statement { left: name.to_owned(), names: vec![(name.to_owned(), dims.clone())], value, plain: true });
        self.values.push((name.to_owned(), dims));
    }

    /// A statement of another kind.
    pub(super) fn state_that(&mut self, left: String, names: Vec<(String, Dims)>, value: Node, plain: bool) {
        if plain {
            self.values.extend(names.iter().cloned());
        }
        self.block.body.push(Statement { left, names, value, plain });
    }
}
