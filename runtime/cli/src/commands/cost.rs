//! `ogive cost`: parameters, operations and memory, side by side, without running or allocating anything.

mod blocks;
mod convention;

use super::graph::failed;
use crate::args::{Convention, Cost, Matched};
use crate::exit::Exit;
use crate::{load, output, which};
use ogive::stages::{self, Elaborated, StageError, Subject};
use ogive_graph::cost::{self, Counting};
use ogive_graph::formula::Formula;
use ogive_graph::pipeline::Scans;
use ogive_graph::{AxisId, Graph};
use ogive_lang::hir::Program;
use ogive_lang::{Settings, Spec};

use blocks::Block;
use convention::Counted;

/// Costs of one model or experiment.
struct Costed {
    name: String,
    parameters: u64,
    parameter_formula: Formula,
    macs: u128,
    /// Positions that `macs` is for: batch times sequence.
    tokens: u64,
    mac_formula: Formula,
    memory: Memory,
    /// How the states of scans move, and how scans are computed.
    scans: Vec<String>,
    details: Option<Details>,
}

/// What only `--tree` and `--convention` show.
struct Details {
    program: Program,
    blocks: Vec<Block>,
    counted: Vec<Counted>,
}

/// Which details to find out; each needs the gradients.
#[derive(Clone, Copy, Default)]
struct Asked {
    tree: bool,
    convention: Option<Convention>,
}

/// Bytes.
struct Memory {
    parameters: u64,
    /// Moments and averages; only experiments have an optimiser.
    optimizer: Option<u64>,
    /// Everything between: activations, and for experiments gradients.
    arena: u64,
    ports: u64,
}

impl Memory {
    fn peak(&self) -> u64 {
        self.parameters + self.optimizer.unwrap_or(0) + self.arena + self.ports
    }
}

pub(crate) fn run(args: &Cost) -> Result<(), Exit> {
    if let (Some(what), Some(vary)) = (args.matched, &args.vary) {
        return super::equal::run(args, what, vary);
    }
    let asked = Asked { tree: args.tree, convention: args.convention };
    let mut all = Vec::new();
    for path in load::spec_files(&args.specs)? {
        let spec = load::load_clean(&path, &args.overrides)?;
        let subjects = match args.which.of {
            Some(_) => vec![which::subject(&spec, &args.which)?],
            None => which::subjects(&spec),
        };
        // A model that only an experiment gives sizes to is costed there.
        for subject in &subjects {
            let mut settings = load::settings(&args.overrides, false)?;
            if matches!(subject, Subject::Experiment(_)) {
                settings.dims.insert("vocab".to_owned(), 256);
            }
            match costed(&spec, subject, &settings, asked, args.scans.asked()) {
                Ok(Some(cost)) => all.push(cost),
                Ok(None) if subjects.len() > 1 => output::detail(format!("{}: sizes are open", subject.name())),
                Ok(None) => {
                    let elaborated = stages::elaborated(&spec, subject, &settings);
                    let error = elaborated.and_then(|e| e.lower().map(|_| ())).err();
                    return Err(error.map_or(Exit::Spec, |e| failed(e, &spec)));
                }
                Err(exit) => return Err(exit),
            }
        }
    }
    if output::json() {
        output::result(serde_json::Value::Array(all.iter().map(|c| json(c, asked)).collect()).to_string());
    } else {
        print(&all, asked);
    }
    Ok(())
}

/// Multiply-accumulates of the forward pass of an experiment for one token.
pub(crate) fn macs_per_token(spec: &Spec, name: &str, set: &[(String, String)], vocab: u64) -> Option<u64> {
    let settings = Settings { set: set.to_vec(), dims: [("vocab".to_owned(), vocab)].into(), training: false };
    let costed = costed(spec, &Subject::Experiment(name.to_owned()), &settings, Asked::default(), Scans::PLAIN).ok()??;
    u64::try_from(costed.macs / u128::from(costed.tokens.max(1))).ok()
}

/// One number of a subject; `None` where it has no such with these settings.
pub(crate) fn measure(spec: &Spec, subject: &Subject, settings: &Settings, what: Matched) -> Result<u128, StageError> {
    let elaborated = stages::elaborated(spec, subject, settings)?;
    let lowered = elaborated.lower()?;
    let parameters = lowered.params.iter().fold(0u64, |n, p| n.saturating_add(p.elements()));
    if what == Matched::Params {
        return Ok(u128::from(parameters));
    }
    let forward = stages::final_graph(&elaborated, false, Scans::PLAIN)?;
    if what == Matched::Memory {
        return memory(&elaborated, parameters, Scans::default()).map(|m| u128::from(m.peak()));
    }
    let positions = positions(&lowered.graph, elaborated.program());
    let tokens = positions.iter().fold(1u64, |n, a| n.saturating_mul(lowered.graph.size(*a)));
    Ok(cost::cost(&forward, &Counting::of(&forward)).total.macs.number / u128::from(tokens.max(1)))
}

/// `None` where a dim has no size.
fn costed(spec: &Spec, subject: &Subject, settings: &Settings, asked: Asked, scans: Scans) -> Result<Option<Costed>, Exit> {
    if let Subject::Block(name) = subject {
        let (open, found) = ogive_lang::elaborate::open_block(spec, name, settings);
        match open {
            Some(program) if !program.open_dims().is_empty() => return Ok(None),
            Some(_) => {}
            None => {
                load::clean::<Program>((None, found), &spec.sources)?;
            }
        }
    }
    let elaborated = stages::elaborated(spec, subject, settings).map_err(|e| failed(e, spec))?;
    let lowered = elaborated.lower().map_err(|e| failed(e, spec))?;
    let forward = stages::final_graph(&elaborated, false, Scans::PLAIN).map_err(|e| failed(e, spec))?;
    let program = elaborated.program();
    let counting = Counting::of(&lowered.graph);
    let mut parameter_formula = Formula::default();
    for instance in &program.instances {
        for param in &instance.params {
            let dims = instance.stacks.iter().chain(&param.dims);
            parameter_formula += &dims.fold(Formula::number(1), |f, a| &f * &counting.symbols[a.index()]);
        }
    }
    let positions = positions(&lowered.graph, program);
    let total = cost::cost(&forward, &Counting::of(&forward)).total.macs;
    let symbols = cost::symbols(&forward);
    let mac_formula = positions.iter().fold(total.formula, |f, a| over(&f, &symbols[a.index()]));
    let tokens = positions.iter().fold(1u64, |n, a| n.saturating_mul(lowered.graph.size(*a)));
    let parameters = lowered.params.iter().fold(0u64, |n, p| n.saturating_add(p.elements()));
    Ok(Some(Costed {
        name: subject.name().to_owned(),
        parameters,
        parameter_formula,
        macs: total.number,
        tokens,
        mac_formula,
        scans: stages::transitions(&elaborated, scans).map_err(|e| failed(e, spec))?,
        memory: memory(&elaborated, parameters, scans).map_err(|e| failed(e, spec))?,
        details: details(spec, &elaborated, &forward, asked, scans).map_err(|e| failed(e, spec))?,
    }))
}

fn details(spec: &Spec, elaborated: &Elaborated, forward: &Graph, asked: Asked, scans: Scans) -> Result<Option<Details>, StageError> {
    if !asked.tree && asked.convention.is_none() {
        return Ok(None);
    }
    let program = elaborated.program();
    let blocks = blocks::blocks(elaborated, forward, scans)?;
    let sequences = forward.axes.iter().find(|a| a.name == "batch").map_or(1, |a| a.size);
    let counted = asked.convention.map(|c| convention::counted(c, spec, program, &blocks, sequences)).unwrap_or_default();
    Ok(Some(Details { program: program.clone(), blocks, counted }))
}

/// Formula over the name of an axis.
fn over(formula: &Formula, symbol: &Formula) -> Formula {
    match &symbol.names()[..] {
        [name] => formula * &Formula::reciprocal(name),
        _ => formula.clone(),
    }
}

/// Axes whose positions are tokens: the batch and `seq`.
fn positions(graph: &Graph, program: &Program) -> Vec<AxisId> {
    let root = program.root();
    let seq = root.dims.iter().find(|(name, axis)| name == "seq" && root.inputs.iter().any(|p| p.dims.contains(axis)));
    let batch = graph.axes.iter().position(|a| a.name == "batch").map(|i| AxisId(i as u32));
    batch.into_iter().chain(seq.map(|s| s.1)).collect()
}

fn memory(elaborated: &Elaborated, parameters: u64, scans: Scans) -> Result<Memory, StageError> {
    let (graph, optimizer) = match elaborated {
        Elaborated::Program(_) => (stages::given_graph(elaborated, false, scans)?, None),
        Elaborated::Experiment(_) => {
            let graph = stages::given_graph(elaborated, true, scans)?;
            (graph, Some(0))
        }
    };
    let plan = ogive_jit::plan(&graph, &stages::options(scans)).map_err(|e| StageError::Other(e.to_string()))?;
    let store: u64 = plan.params.iter().map(ogive_graph::plan::PortInfo::bytes).sum();
    let ports = plan.inputs.iter().chain(&plan.outputs).map(ogive_graph::plan::PortInfo::bytes).sum();
    let parameters = 4 * parameters;
    Ok(Memory { parameters, optimizer: optimizer.map(|_: u64| store.saturating_sub(parameters)), arena: plan.arena, ports })
}

fn print(all: &[Costed], asked: Asked) {
    if all.is_empty() {
        output::note("nothing to cost: no model has sizes for all of its dims; give them with --set");
        return;
    }
    let mut rows = vec![
        ["", "parameters", "MACs/token", "parameters (bytes)", "optimizer", "activations", "inputs, outputs", "peak"]
            .map(String::from)
            .to_vec(),
    ];
    for c in all {
        rows.push(vec![
            c.name.clone(),
            output::thousands(c.parameters),
            output::thousands(c.macs / u128::from(c.tokens.max(1))),
            output::bytes(c.memory.parameters),
            c.memory.optimizer.map_or_else(|| "-".to_owned(), output::bytes),
            output::bytes(c.memory.arena),
            output::bytes(c.memory.ports),
            output::bytes(c.memory.peak()),
        ]);
    }
    output::result(output::table(&rows));
    for c in all {
        output::result(format!("\n{}\n  parameters = {}\n  MACs/token = {}", c.name, c.parameter_formula, c.mac_formula));
        c.scans.iter().for_each(|line| output::result(format!("  {line}")));
        if let Some(details) = &c.details
            && asked.tree
        {
            output::result(format!("\n{}", blocks::table(&details.program, &details.blocks)));
        }
    }
    if let Some(convention) = asked.convention {
        let models = all.iter().filter_map(|c| Some((c.name.as_str(), c.details.as_ref()?.counted.as_slice())));
        output::result(format!("\n{}", convention::table(convention, models)));
    }
    output::note(
        "\nMACs are those of the forward pass; causal attention counts the pairs that are computed. Memory of an experiment is that of a \
         training step (activations include gradients), of a model that of a forward pass of one example.",
    );
    if asked.tree {
        output::note(
            "The tree counts what is computed at once: the batch of an experiment, one example of a model. A block includes those under \
             it, all its applications together. Kept is what the forward pass writes and the backward pass reads.",
        );
    }
    if asked.convention.is_some() {
        output::note(
            "The last table counts one sequence through one application. Beside the paper's numbers stand those that are computed: operations, \
             and numbers that the forward pass writes and the backward pass reads.",
        );
    }
}

fn json(c: &Costed, asked: Asked) -> serde_json::Value {
    let mut value = serde_json::json!({
        "name": c.name,
        "parameters": c.parameters,
        "parameter_formula": c.parameter_formula.to_string(),
        "macs": c.macs.to_string(),
        "tokens": c.tokens,
        "scans": c.scans,
        "macs_per_token_formula": c.mac_formula.to_string(),
        "bytes": {
            "parameters": c.memory.parameters, "optimizer": c.memory.optimizer, "activations": c.memory.arena,
            "ports": c.memory.ports, "peak": c.memory.peak(),
        },
    });
    if let Some(details) = &c.details {
        if asked.tree {
            value["blocks"] = blocks::json(&details.program, &details.blocks);
        }
        if asked.convention.is_some() {
            value["convention"] = convention::json(&details.counted);
        }
    }
    value
}
