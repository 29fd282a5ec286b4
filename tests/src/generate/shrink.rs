//! A smaller program that fails in the same way.

use super::program::{Dims, Given, Node, Part, Program};

/// Most trials of smaller programs.
const TRIALS: usize = 600;

/// Takes away what can be taken away while the program still fails: equations become parameters, expressions one of their parts, a name or a
/// number, dims smaller.
pub fn shrink(program: &Program, fails: impl Fn(&Program) -> bool) -> Program {
    let mut now = program.clone();
    let mut left = TRIALS;
    loop {
        let mut smaller = false;
        let mut step = 0;
        loop {
            // candidates are made anew after each success, so that they follow from what is left
            let Some(candidate) = candidates(&now).nth(step) else { break };
            if left == 0 {
                return now;
            }
            if weight(&candidate) < weight(&now) {
                left -= 1;
                if fails(&candidate) {
                    now = candidate;
                    smaller = true;
                    continue;
                }
            }
            step += 1;
        }
        if !smaller {
            return now;
        }
    }
}

/// What is to become less: the text, then the sizes.
fn weight(program: &Program) -> (usize, u64) {
    (program.text().lines().map(|l| l.trim().len() + 4).sum::<usize>(), program.sizes.values().sum())
}

fn candidates(program: &Program) -> impl Iterator<Item = Program> + '_ {
    experiment(program).chain(outputs(program)).chain(statements(program)).chain(expressions(program)).chain(sizes(program))
}

/// No experiment, or a simpler line of it.
fn experiment(program: &Program) -> impl Iterator<Item = Program> + '_ {
    let lines = program.experiment.as_deref().unwrap_or_default();
    let without = program.experiment.as_ref().map(|_| Program { experiment: None, ..program.clone() });
    let simpler = lines.iter().enumerate().flat_map(|(l, line)| (1..line.len()).rev().map(move |n| (l, n)));
    without.into_iter().chain(simpler.map(move |(l, n)| {
        let mut p = program.clone();
        if let Some(lines) = &mut p.experiment {
            lines[l].drain(..n);
        }
        p
    }))
}

/// A new tensor in place of something. What is run is given it where gradients go forward in time: of what is read step by step, parameters
/// have another gradient by their nature.
fn stand_in(program: &mut Program, b: usize, name: &str, dims: &Dims) {
    let given = program.gradient.is_some() && b + 1 == program.blocks.len();
    let block = &mut program.blocks[b];
    if given {
        block.inputs.push(Given { name: name.to_owned(), dims: dims.clone(), domain: None });
    } else {
        block.params.push((name.to_owned(), dims.clone()));
    }
}

/// Fewer outputs of what is run.
fn outputs(program: &Program) -> impl Iterator<Item = Program> + '_ {
    let last = program.blocks.len() - 1;
    let count = program.blocks[last].outputs.len();
    (0..if count > 1 { count } else { 0 }).map(move |i| {
        let mut p = program.clone();
        p.blocks[last].outputs.remove(i);
        p
    })
}

/// An equation less: its names become parameters.
fn statements(program: &Program) -> impl Iterator<Item = Program> + '_ {
    let all = program.blocks.iter().enumerate().rev().flat_map(|(b, block)| (0..block.body.len()).rev().map(move |s| (b, s)));
    all.map(move |(b, s)| {
        let mut p = program.clone();
        let statement = p.blocks[b].body.remove(s);
        if statement.plain {
            for (name, dims) in statement.names {
                let block = &p.blocks[b];
                let given = block.outputs.iter().any(|o| o.0 == name) || block.states.iter().any(|s| s.name == name);
                if given {
                    // an output stays an equation, of a parameter
                    let param = format!("P_{name}");
                    stand_in(&mut p, b, &param, &dims);
                    let value = Node::name(&param, &dims);
                    p.blocks[b].body.push(super::program::Statement { left: name.clone(), names: vec![(name, dims)], value, plain: false });
                } else {
                    stand_in(&mut p, b, &name, &dims);
                }
            }
        }
        p
    })
}

/// Paths to the expressions of a node, itself first.
fn paths(node: &Node, at: &[usize], out: &mut Vec<Vec<usize>>) {
    out.push(at.to_vec());
    for (i, part) in node.parts.iter().enumerate() {
        if let Part::Hole(inner) = part {
            let mut next = at.to_vec();
            next.push(i);
            paths(inner, &next, out);
        }
    }
}

fn at<'n>(node: &'n Node, path: &[usize]) -> &'n Node {
    path.iter().fold(node, |node, &i| if let Part::Hole(inner) = &node.parts[i] { inner } else { node })
}

fn put(node: &mut Node, path: &[usize], new: Node) {
    match path.split_first() {
        None => *node = new,
        Some((&i, rest)) => {
            if let Part::Hole(inner) = &mut node.parts[i] {
                put(inner, rest, new);
            }
        }
    }
}

/// An expression less: one of its parts of the same dims stands for it, or a parameter.
fn expressions(program: &Program) -> impl Iterator<Item = Program> + '_ {
    let mut edits: Vec<(usize, usize, Vec<usize>, Option<Node>)> = Vec::new();
    for (b, block) in program.blocks.iter().enumerate().rev() {
        for (s, statement) in block.body.iter().enumerate() {
            let mut all = Vec::new();
            paths(&statement.value, &[], &mut all);
            for path in all {
                let node = at(&statement.value, &path);
                if !node.is_compound() {
                    continue;
                }
                let mut inner = Vec::new();
                paths(node, &[], &mut inner);
                let same = inner.iter().skip(1).map(|p| at(node, p)).filter(|n| n.dims == node.dims);
                edits.extend(same.map(|n| (b, s, path.clone(), Some(n.clone()))));
                if (!path.is_empty() || statement.plain) && !node.dims.iter().any(|d| d.contains('~')) {
                    edits.push((b, s, path.clone(), None));
                }
            }
        }
    }
    edits.into_iter().map(move |(b, s, path, new)| {
        let mut p = program.clone();
        let dims = at(&p.blocks[b].body[s].value, &path).dims.clone();
        let new = new.unwrap_or_else(|| {
            let name = format!("P_{}", p.blocks[b].params.len() + p.blocks[b].inputs.len());
            stand_in(&mut p, b, &name, &dims);
            Node::name(&name, &dims)
        });
        put(&mut p.blocks[b].body[s].value, &path, new);
        p
    })
}

/// A dim less large.
fn sizes(program: &Program) -> impl Iterator<Item = Program> + '_ {
    program.sizes.iter().flat_map(move |(dim, &size)| {
        let mut smaller: Vec<u64> = vec![1, 2, size / 2, size - 1];
        smaller.retain(|&s| s > 0 && s < size);
        smaller.dedup();
        smaller.into_iter().map(move |s| {
            let mut p = program.clone();
            p.sizes.insert(dim.clone(), s);
            p
        })
    })
}
